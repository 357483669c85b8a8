"""Settings that hold secrets: shown to nobody, referred to by the names allowed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.settings import Settings, SettingsError
from tests.unit.environments import CANARY, POSTGRES, problems


def refusal(environment: dict[str, str]) -> SettingsError | None:
    try:
        Settings.from_env(environment)
    except SettingsError as error:
        return error
    return None


@given(
    variable=st.sampled_from(Settings.variables()),
    text=st.text(alphabet=st.characters(codec="ascii"), max_size=20),
)
def test_no_error_ever_shows_a_value(variable: str, text: str) -> None:
    error = refusal({variable: f"{CANARY}{text}{CANARY}"})

    if error is not None:
        assert CANARY not in str(error)
        assert error.__cause__ is None
        assert error.__context__ is None


def test_the_repr_shows_no_secret() -> None:
    settings = Settings.from_env(
        {
            "LLM_DATABASE_URL": f"postgresql://llm:{CANARY}@db/llm?sslpassword={CANARY}&sslmode=require",
            "LLM_ENCRYPTION_KEY": CANARY,
            "LLM_REDIS_URL": f"rediss://llm:{CANARY}@redis:6380/1",
            "LLM_CREDENTIAL_ENV_ALLOW": "VENDOR_KEY",
            "VENDOR_KEY": CANARY,
        }
    )

    assert CANARY not in repr(settings)
    assert "postgresql+psycopg://llm:***@db/llm?sslpassword=***&sslmode=require" in repr(settings)
    assert "rediss://llm:***@redis:6380/1" in repr(settings)
    assert CANARY in settings.database_url


def test_the_same_key_under_both_names_is_one_key() -> None:
    settings = Settings.from_env({"LLM_ENCRYPTION_KEY": "k", "ENCRYPTION_KEY": "k"})

    assert settings.encryption_key == "k"


@pytest.mark.parametrize("variable", ["LLM_ENCRYPTION_KEY", "ENCRYPTION_KEY"])
def test_a_key_beside_a_key_file_is_refused(variable: str) -> None:
    assert problems({"LLM_KEYRING_FILE": "keys", variable: "k"}).keys() == {variable}


def test_with_sqlite_the_usual_vendor_keys_may_be_referred_to() -> None:
    environment = {"OPENAI_API_KEY": "a", "GROK_API_KEY": "", "OTHER_API_KEY": "b"}

    settings = Settings.from_env(environment)

    assert settings.credential_environment == {"OPENAI_API_KEY": "a"}
    assert "DEEPSEEK_API_KEY" in settings.credential_env_allow


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"LLM_DATABASE_URL": POSTGRES}, id="postgresql"),
        pytest.param({"LLM_CREDENTIAL_ENV_ALLOW": ""}, id="switched-off"),
    ],
)
def test_no_name_is_allowed_unless_the_operator_lists_it(environment: dict[str, str]) -> None:
    settings = Settings.from_env({**environment, "OPENAI_API_KEY": "a"})

    assert settings.credential_env_allow == ()
    assert settings.credential_environment == {}


def test_a_listed_name_replaces_the_usual_ones() -> None:
    environment = {"LLM_CREDENTIAL_ENV_ALLOW": "A_KEY, B_KEY,", "A_KEY": "a", "OPENAI_API_KEY": "o"}

    settings = Settings.from_env(environment)

    assert settings.credential_env_allow == ("A_KEY", "B_KEY")
    assert settings.credential_environment == {"A_KEY": "a"}


@pytest.mark.parametrize("name", Settings.variables())
def test_no_credential_may_refer_to_the_services_own_variables(name: str) -> None:
    found = problems({"LLM_CREDENTIAL_ENV_ALLOW": f"OPENAI_API_KEY,{name}"})

    assert found.keys() == {"LLM_CREDENTIAL_ENV_ALLOW"}


def test_an_allowed_credential_name_is_not_taken_for_a_typo() -> None:
    environment = {"LLM_CREDENTIAL_ENV_ALLOW": "LLM_ENCRYPTION_KEY_2", "LLM_ENCRYPTION_KEY_2": "a"}

    assert Settings.from_env(environment).credential_environment == {"LLM_ENCRYPTION_KEY_2": "a"}


VAULT = {"LLM_VAULT_ADDR": "https://vault.internal:8200", "LLM_VAULT_PATHS": "secret/llm, team"}


def test_a_vault_is_known_by_its_address_its_paths_and_who_asks() -> None:
    by_token = Settings.from_env({**VAULT, "LLM_VAULT_TOKEN_FILE": "/run/token"})
    by_role = Settings.from_env({**VAULT, "LLM_VAULT_KUBERNETES_ROLE": "llm"})

    assert by_token.vault_addr == "https://vault.internal:8200"
    assert by_token.vault_paths == ("secret/llm", "team")
    assert by_role.vault_kubernetes_token_file.name == "token"
    assert by_role.vault_kubernetes_mount == "kubernetes"


@pytest.mark.parametrize(
    "address",
    [
        "https://vault",
        "https://vault.internal:8200/",
        "http://127.0.0.1:8200",
        "http://[::1]:8200",
        "http://localhost:8200",
    ],
)
def test_a_vault_is_called_encrypted_or_on_this_machine(address: str) -> None:
    environment = {**VAULT, "LLM_VAULT_ADDR": address, "LLM_VAULT_TOKEN_FILE": "/run/token"}

    assert Settings.from_env(environment).vault_addr == address.rstrip("/")


@pytest.mark.parametrize(
    ("changes", "variable"),
    [
        ({"LLM_VAULT_ADDR": "http://vault.internal:8200"}, "LLM_VAULT_ADDR"),
        ({"LLM_VAULT_ADDR": "https://user:pass@vault:8200"}, "LLM_VAULT_ADDR"),
        ({"LLM_VAULT_ADDR": "https://vault:8200/v1"}, "LLM_VAULT_ADDR"),
        ({"LLM_VAULT_ADDR": "https://vault:port"}, "LLM_VAULT_ADDR"),
        ({"LLM_VAULT_ADDR": "vault:8200"}, "LLM_VAULT_ADDR"),
        ({"LLM_VAULT_TOKEN_FILE": ""}, "LLM_VAULT_ADDR"),
        ({"LLM_VAULT_KUBERNETES_ROLE": "llm"}, "LLM_VAULT_ADDR"),
        ({"LLM_VAULT_PATHS": ""}, "LLM_VAULT_PATHS"),
    ],
)
def test_a_vault_that_is_half_configured_is_refused(changes: dict[str, str], variable: str) -> None:
    environment = {**VAULT, "LLM_VAULT_TOKEN_FILE": "/run/token", **changes}

    assert problems(environment).keys() == {variable}

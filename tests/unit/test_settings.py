"""The environment is read whole, or refused with every reason at once."""

import re
from dataclasses import FrozenInstanceError, fields
from itertools import pairwise
from pathlib import Path

import pytest

from llm_service.settings import Address, Settings, SettingsError
from tests.unit.environments import CANARY, POSTGRES, problems

EXAMPLE = Path(__file__).parents[2] / ".env.example"


def test_an_empty_environment_gives_the_embedded_default() -> None:
    settings = Settings.from_env({})

    assert settings.embedded
    assert settings.data_dir == Path(".data")
    assert settings.database_url == "sqlite+aiosqlite:///.data/llm-service.db"
    assert str(settings.listen) == "127.0.0.1:50051"
    assert settings.log_format == "text"
    assert settings.max_message_bytes == 32 * 1024 * 1024
    assert settings.encryption_key == ""
    assert settings.keyring_file is None


def test_settings_do_not_change() -> None:
    settings = Settings.from_env({})

    with pytest.raises(FrozenInstanceError):
        settings.log_level = "DEBUG"  # type: ignore[misc]
    with pytest.raises(TypeError):
        settings.credential_environment["A"] = "b"  # type: ignore[index]


def test_variables_of_others_are_left_alone() -> None:
    others = {"PATH": "/bin", "HOME": "/root", "LANG": "C", "OPENAI_BASE_URL": "x"}

    assert Settings.from_env(others) == Settings.from_env({})


def test_a_variable_set_to_nothing_is_not_set() -> None:
    blank = {name: "  " for name in Settings.variables() if name != "LLM_CREDENTIAL_ENV_ALLOW"}

    assert Settings.from_env(blank) == Settings.from_env({})


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("LLM_DEFAULT_MODEL", " gpt-5.2 ", "default_model", "gpt-5.2"),
        (
            "LLM_DEPLOYMENT_ENVIRONMENT",
            "staging (west)",
            "deployment_environment",
            "staging (west)",
        ),
        ("LLM_LOG_LEVEL", "debug", "log_level", "DEBUG"),
        ("LLM_LOG_FORMAT", "json", "log_format", "json"),
        ("LLM_OTLP_ENDPOINT", "http://otel:4317", "otlp_endpoint", "http://otel:4317"),
        ("LLM_PROMETHEUS_LISTEN", "[::]:9090", "prometheus_listen", Address("::", 9090)),
        ("LLM_TRACE_SAMPLE_RATIO", "0.25", "trace_sample_ratio", 0.25),
        ("LLM_MAX_MESSAGE_BYTES", "4096", "max_message_bytes", 4096),
        ("LLM_MAX_CONCURRENT_CALLS", "7", "max_concurrent_calls", 7),
        ("LLM_MAX_CALL_SECONDS", "1200", "max_call_seconds", 1200.0),
        ("LLM_DRAIN_SECONDS", "0", "drain_seconds", 0.0),
        ("LLM_CONNECT_TIMEOUT_SECONDS", "0.5", "connect_timeout_seconds", 0.5),
        ("LLM_FIRST_TOKEN_TIMEOUT_SECONDS", "5", "first_token_timeout_seconds", 5.0),
        ("LLM_IDLE_TIMEOUT_SECONDS", "6.5", "idle_timeout_seconds", 6.5),
        ("LLM_CONFIG_POLL_SECONDS", "0.05", "config_poll_seconds", 0.05),
        ("LLM_EGRESS_CA_FILE", "ca.pem", "egress_ca_file", Path("ca.pem")),
        ("LLM_KEYRING_FILE", "keys", "keyring_file", Path("keys")),
        ("LLM_VOCABULARIES_FILE", "v.json", "vocabularies_file", Path("v.json")),
        ("LLM_ENCRYPTION_KEY", "k", "encryption_key", "k"),
        ("ENCRYPTION_KEY", "k", "encryption_key", "k"),
        ("LLM_ALLOW_WORKLOAD_IDENTITY", "true", "allow_workload_identity", True),
        ("LLM_ALLOW_WORKLOAD_IDENTITY", "false", "allow_workload_identity", False),
    ],
)
def test_a_variable_sets_its_field(variable: str, text: str, field: str, value: object) -> None:
    settings = Settings.from_env({variable: text})

    assert getattr(settings, field) == value


@pytest.mark.parametrize(
    ("variable", "texts"),
    [
        (
            "LLM_MAX_MESSAGE_BYTES",
            ["4095", "1073741825", "32MiB", "-1", "1_000_000", "1e6", "٤٠٩٦"],
        ),
        ("LLM_MAX_CONCURRENT_CALLS", ["0", "100001", "1.5"]),
        ("LLM_MAX_CALL_SECONDS", ["0", "0.9", "86401", "10m", "inf"]),
        ("LLM_DRAIN_SECONDS", ["-1", "86401", "nan"]),
        ("LLM_CONNECT_TIMEOUT_SECONDS", ["0", "301", "3s"]),
        ("LLM_FIRST_TOKEN_TIMEOUT_SECONDS", ["0", "3601"]),
        ("LLM_IDLE_TIMEOUT_SECONDS", ["0.01", "3601"]),
        ("LLM_CONFIG_POLL_SECONDS", ["0", "301"]),
        ("LLM_TRACE_SAMPLE_RATIO", ["1.01", "nan", "-0.1", "half"]),
        ("LLM_LOG_LEVEL", ["verbose", "10"]),
        ("LLM_LOG_FORMAT", ["xml", "JSON"]),
        ("LLM_DEFAULT_MODEL", ["a\nb", "m" * 256]),
        ("LLM_DATA_DIR", ["what?", "a\0b"]),
        ("LLM_ALLOW_WORKLOAD_IDENTITY", ["yes", "1", "True", "on"]),
        ("LLM_ALLOW_INSECURE_REMOTE", ["true", "1", "yes", "YES-I-KNOW"]),
        (
            "LLM_OTLP_ENDPOINT",
            [
                "otel:4317",
                "http://otel",
                "grpc://otel:1",
                "http://u:p@otel:1",
                "http://o:1/?t=k",
                "http://otel:99999",
                "http://[::1:4317",
            ],
        ),
        (
            "LLM_LISTEN",
            [
                "50051",
                ":50051",
                "localhost",
                "localhost:",
                "localhost:65536",
                "::1:50051",
                "[::1]",
                "[localhost]:1",
                "[127.0.0.1]:1",
                "127.1:50051",
                "0x7f000001:1",
                "256.0.0.1:1",
                "a b:1",
                "http://localhost:1",
                "[fe80::1%eth0]:1",
                "-a:1",
                "localhost:+1",
            ],
        ),
        ("LLM_PROMETHEUS_LISTEN", ["9090", "*:9090"]),
        (
            "LLM_EGRESS_ALLOW",
            [
                "gpu.internal",
                "10.0.0.1/8",
                "10.0.0.0/33",
                "127.0.0.1:0",
                "127.0.0.1:65536",
                "http://gpu:80",
                "[::1",
                "[::1]8080",
                "[::1]:",
                "fd00::/8:80 x",
                "127.1:80",
                "*:80",
                "127.0.0.1,gpu",
            ],
        ),
        ("LLM_SECRET_FOLDERS", ["secrets", "/run/../etc", "/run,secrets", "/run\x07"]),
        (
            "LLM_VAULT_PATHS",
            ["/secret", "secret/", "secret//a", "secret/../b", "..", "a b", "secret/ä"],
        ),
        ("LLM_VAULT_NAMESPACE", ["a/../b", "a b"]),
        ("LLM_CREDENTIAL_ENV_ALLOW", ["A-B", "1A", "A B", "OPENAI_API_KEY,$X", "ÄPFEL"]),
        (
            "LLM_DATABASE_URL",
            [
                "llm.db",
                "sqlite://",
                "sqlite:///",
                "sqlite:relative.db",
                "mysql://h/d",
                "postgresql+asyncpg://h/d",
                "postgresql://u:p/w@h/d",
                "postgresql://h:port/d",
                "POSTGRES",
                "postgresql:h/d",
            ],
        ),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(
    variable: str, texts: list[str]
) -> None:
    for text in texts:
        assert problems({variable: text}).keys() == {variable}, text


def test_every_problem_is_reported_at_once_one_line_each() -> None:
    environment = {
        "LLM_LISTEN": "nowhere",
        "LLM_DATABASE_URL": "mysql://root:" + CANARY + "@db/llm",
        "LLM_MAX_CALL_SECONDS": "soon",
        "LLM_TLS_KEY_FILE": "tls.key",
        "LLM_ENCRYPTION_KEY": CANARY,
        "ENCRYPTION_KEY": CANARY + "-other",
        "LLM_EGRES_ALLOW": CANARY,
    }

    with pytest.raises(SettingsError) as caught:
        Settings.from_env(environment)

    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        "LLM_DATABASE_URL",
        "LLM_LISTEN",
        "LLM_MAX_CALL_SECONDS",
        "LLM_TLS_CERT_FILE",
        "ENCRYPTION_KEY",
        "LLM_EGRES_ALLOW",
    ]


@pytest.mark.parametrize(
    ("given_url", "normal"),
    [
        ("sqlite:///llm.db", "sqlite+aiosqlite:///llm.db"),
        ("sqlite:////var/lib/llm.db", "sqlite+aiosqlite:////var/lib/llm.db"),
        ("sqlite+aiosqlite:///llm.db", "sqlite+aiosqlite:///llm.db"),
        ("postgres://u@h/d", "postgresql+psycopg://u@h/d"),
        ("postgresql://u:p%40ss@h:5433/d?x=1", "postgresql+psycopg://u:p%40ss@h:5433/d?x=1"),
        ("postgresql+psycopg://h/d", "postgresql+psycopg://h/d"),
        ("postgresql:///d?host=/run/pg", "postgresql+psycopg:///d?host=/run/pg"),
    ],
)
def test_a_database_url_gets_its_async_driver(given_url: str, normal: str) -> None:
    assert Settings.from_env({"LLM_DATABASE_URL": given_url}).database_url == normal


def test_the_database_lies_in_the_data_folder_unless_it_is_named() -> None:
    absolute = Settings.from_env({"LLM_DATA_DIR": "/var/lib/llm"})
    elsewhere = Settings.from_env({"LLM_DATA_DIR": "/var/lib/llm", "LLM_DATABASE_URL": POSTGRES})

    assert absolute.database_url == "sqlite+aiosqlite:////var/lib/llm/llm-service.db"
    assert elsewhere.database_url.startswith("postgresql+psycopg://")
    assert elsewhere.data_dir == Path("/var/lib/llm")


def test_egress_entries_are_addresses_networks_and_names_with_ports() -> None:
    text = (
        "127.0.0.1, 127.0.0.1:8080,10.0.0.0/8,10.0.0.0/8:443,GPU.internal:8000,"
        "::1,fd00::/8,[::1]:1,[fd00::/8]:65535,[::1]"
    )

    settings = Settings.from_env({"LLM_EGRESS_ALLOW": text})

    assert settings.egress_allow == (
        "127.0.0.1",
        "127.0.0.1:8080",
        "10.0.0.0/8",
        "10.0.0.0/8:443",
        "gpu.internal:8000",
        "::1",
        "fd00::/8",
        "[::1]:1",
        "[fd00::/8]:65535",
        "[::1]",
    )


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("LLM_TLS_CLIENT_CA", "LLM_TLS_CLIENT_CA_FILE"),
        ("LLM_TLS_CERT", "LLM_TLS_CERT_FILE"),
        ("LLM_LISTENS", "LLM_LISTEN"),
        ("LLM_EGRESS_ALLOWLIST", "LLM_EGRESS_ALLOW"),
        ("LLM_ALLOW_INSECURE", "LLM_ALLOW_INSECURE_REMOTE"),
        ("LLM_ENCRYPTON_KEY", "LLM_ENCRYPTION_KEY"),
        ("LLM_KEYRING", "LLM_KEYRING_FILE"),
        ("llm_listen", "LLM_LISTEN"),
    ],
)
def test_a_misspelled_variable_is_an_error_that_names_the_right_one(typo: str, meant: str) -> None:
    found = problems({typo: CANARY})

    assert found[typo].endswith(f"did you mean {meant}?")


def test_unlike_names_are_ignored() -> None:
    environment = {"LLM_TEAM": "search", "LLM_FACTORY_URL": "x"}

    assert Settings.from_env(environment) == Settings.from_env({})


def test_every_field_is_named_after_its_variable() -> None:
    own = {each.name: each.metadata["variable"] for each in fields(Settings) if each.metadata}

    assert own == {name: f"LLM_{name.upper()}" for name in own}
    assert {each.name for each in fields(Settings)} - own.keys() == {
        "encryption_key",
        "credential_environment",
        "default_model_variable",
        "ollama_url",
    }


def test_the_example_file_shows_every_variable_its_default_and_one_comment() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    shown = {}
    for before, line in pairwise(lines):
        if match := re.fullmatch(r"#([A-Z_]+)=(.*)", line):
            assert re.fullmatch(r"# [A-Z].*\.", before), line
            shown[match[1]] = match[2]
    defaults = {name: text for name, text in shown.items() if not text.startswith("<")}

    assert shown.keys() == set(Settings.variables())
    assert Settings.from_env(defaults) == Settings.from_env({})
    for line in lines:
        assert not line or line.startswith("#"), "the example sets nothing by itself"


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        ("redis://localhost:6379/0", True),
        ("rediss://user:secret@redis.internal:6380/1?ssl_ca_certs=/etc/ca.pem", True),
        ("unix:///run/redis.sock?db=1", True),
        ("valkey://localhost", False),
        ("http://localhost:6379", False),
        ("redis://", False),
        ("redis://localhost:port", False),
        ("redis://localhost:6379/0?socket_timeout=9", False),
        ("redis://localhost:6379/0?host", False),
        ("unix://", False),
    ],
)
def test_a_redis_is_named_by_its_address(value, taken) -> None:
    if taken:
        assert Settings.from_env({"LLM_REDIS_URL": value}).redis_url == value
        return
    with pytest.raises(SettingsError, match="LLM_REDIS_URL: must be redis://"):
        Settings.from_env({"LLM_REDIS_URL": value})


def test_limits_of_tenants_keep_their_older_names_and_have_no_default() -> None:
    settings = Settings.from_env({"LLM_RATE_LIMIT_PER_MINUTE": "60", "LLM_RATE_LIMIT_PER_DAY": "9"})

    assert (settings.rate_limit_per_minute, settings.rate_limit_per_day) == (60, 9)
    assert Settings.from_env({}).rate_limit_per_minute is None

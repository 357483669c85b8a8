"""Other machines are served only with TLS and authentication."""

from pathlib import Path

import pytest

from llm_service.settings import Settings
from tests.unit.environments import MUTUAL_TLS, POSTGRES, TLS, problems


@pytest.mark.parametrize(
    "listen",
    ["127.0.0.1:0", "127.8.8.8:1", "[::1]:50051", "localhost:50051", "LOCALHOST:1"],
)
def test_a_loopback_address_needs_no_tls(listen: str) -> None:
    settings = Settings.from_env({"LLM_LISTEN": listen})

    assert settings.is_loopback
    assert str(settings.listen) == listen.lower()


REMOTE = [
    "0.0.0.0:50051",
    "[::]:50051",
    "10.1.2.3:50051",
    "[::ffff:127.0.0.1]:50051",
    "llm.internal:50051",
    "localhost.evil.example:1",
]


@pytest.mark.parametrize("listen", REMOTE)
@pytest.mark.parametrize(
    "lacking",
    [{}, {**TLS, "LLM_AUTH": "open"}, {**MUTUAL_TLS, "LLM_AUTH": "open"}],
    ids=["plain", "open", "open-behind-mutual-tls"],
)
def test_other_machines_are_not_served_without_tls_and_authentication(
    listen: str, lacking: dict[str, str]
) -> None:
    found = problems({"LLM_LISTEN": listen, **lacking})

    assert found.keys() == {"LLM_LISTEN"}
    assert "LLM_TLS_CERT_FILE" in found["LLM_LISTEN"]
    assert "LLM_AUTH=required" in found["LLM_LISTEN"]


@pytest.mark.parametrize("listen", REMOTE)
def test_other_machines_are_served_with_tls_and_authentication_or_the_override(
    listen: str,
) -> None:
    secure = Settings.from_env({"LLM_LISTEN": listen, **TLS})
    mutual = Settings.from_env({"LLM_LISTEN": listen, **MUTUAL_TLS})
    reckless = Settings.from_env({"LLM_LISTEN": listen, "LLM_ALLOW_INSECURE_REMOTE": "yes-i-know"})

    assert not secure.is_loopback
    assert not secure.allow_insecure_remote
    assert {secure.auth, mutual.auth, reckless.auth} == {"required"}
    assert mutual.tls_client_ca_file == Path("ca.crt")
    assert reckless.allow_insecure_remote
    assert not reckless.embedded


@pytest.mark.parametrize(
    ("missing", "reported"),
    [
        ("LLM_TLS_CERT_FILE", {"LLM_TLS_CERT_FILE", "LLM_TLS_CLIENT_CA_FILE"}),
        ("LLM_TLS_KEY_FILE", {"LLM_TLS_KEY_FILE"}),
    ],
)
def test_a_certificate_and_its_key_come_together(missing: str, reported: set[str]) -> None:
    environment = {name: value for name, value in MUTUAL_TLS.items() if name != missing}

    assert problems(environment).keys() == reported


def test_a_client_ca_alone_is_refused() -> None:
    assert problems({"LLM_TLS_CLIENT_CA_FILE": "ca.crt"}).keys() == {"LLM_TLS_CLIENT_CA_FILE"}


@pytest.mark.parametrize(
    ("environment", "embedded", "log_format"),
    [
        pytest.param({}, True, "text", id="sqlite-on-loopback"),
        pytest.param({"LLM_DATABASE_URL": POSTGRES}, False, "json", id="postgresql"),
        pytest.param({"LLM_LISTEN": "0.0.0.0:1", **MUTUAL_TLS}, False, "json", id="remote"),
    ],
)
def test_embedded_is_sqlite_behind_loopback(
    environment: dict[str, str], embedded: object, log_format: str
) -> None:
    settings = Settings.from_env(environment)

    assert settings.embedded is embedded
    assert settings.log_format == log_format


@pytest.mark.parametrize(
    ("environment", "auth", "reflection"),
    [
        pytest.param({}, "open", True, id="embedded"),
        pytest.param({"LLM_AUTH": "required"}, "required", False, id="embedded-with-keys"),
        pytest.param({"LLM_DATABASE_URL": POSTGRES}, "required", False, id="postgresql"),
        pytest.param(
            {"LLM_DATABASE_URL": POSTGRES, "LLM_AUTH": "open"}, "open", True, id="told-open"
        ),
        pytest.param(
            {"LLM_AUTH": "required", "LLM_REFLECTION": "true"}, "required", True, id="told-both"
        ),
        pytest.param({"LLM_REFLECTION": "false"}, "open", False, id="told-not-to-reflect"),
    ],
)
def test_a10_only_the_embedded_default_lets_everybody_in_and_reflects(
    environment: dict[str, str], auth: str, reflection: object
) -> None:
    settings = Settings.from_env(environment)

    assert (settings.auth, settings.reflection) == (auth, reflection)


JWT = {
    "LLM_JWT_ISSUER": "https://issuer.example",
    "LLM_JWT_AUDIENCE": "llm-service",
    "LLM_JWT_KEYS": "https://issuer.example/keys",
    "LLM_AUTH": "required",
}


@pytest.mark.parametrize("missing", ["LLM_JWT_ISSUER", "LLM_JWT_AUDIENCE", "LLM_JWT_KEYS"])
def test_what_tokens_are_checked_by_is_set_whole_or_not_at_all(missing: str) -> None:
    environment = {name: value for name, value in JWT.items() if name != missing}

    assert problems(environment).keys() == {missing}


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"LLM_JWT_KEYS": "http://issuer.example/keys"}, "LLM_JWT_KEYS"),
        ({"LLM_JWT_ALGORITHMS": "none"}, "LLM_JWT_ALGORITHMS"),
        ({"LLM_JWT_ALGORITHMS": "HS256,RS256"}, "LLM_JWT_ALGORITHMS"),
        ({"LLM_AUTH": "open"}, "LLM_AUTH"),
        ({"LLM_AUTH": "on"}, "LLM_AUTH"),
        ({"LLM_AUTH_IDENTITIES_FILE": "ids"}, "LLM_AUTH_IDENTITIES_FILE"),
    ],
)
def test_access_settings_that_would_let_the_wrong_ones_in_are_refused(
    changed: dict[str, str], named: str
) -> None:
    assert problems({**JWT, **changed}).keys() == {named}

"""Environments to read settings from, and what is wrong with them."""

import pytest

from llm_service.settings import Settings, SettingsError

CANARY = "sk-canary-do-not-show"
POSTGRES = "postgresql://llm:secret@db.internal:5432/llm"
TLS = {"LLM_TLS_CERT_FILE": "tls.crt", "LLM_TLS_KEY_FILE": "tls.key"}
MUTUAL_TLS = {**TLS, "LLM_TLS_CLIENT_CA_FILE": "ca.crt"}


def problems(environment: dict[str, str]) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(environment)
    return caught.value.problems

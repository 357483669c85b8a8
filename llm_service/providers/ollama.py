"""Ollama, on one's own machine or in its cloud, by its own API."""

import re
from dataclasses import replace

from llm_service.domain.provider import ProviderKind
from llm_service.providers.account import endpoint, key_headers, settings
from llm_service.providers.base import Account, Adapter
from llm_service.providers.chat.connect import KEY_SOURCES, NO_SETTINGS
from llm_service.providers.egress import Egress
from llm_service.providers.ollama_chat.api import OllamaApi
from llm_service.providers.vendor import VendorAdapter

KIND = ProviderKind(
    kind="ollama",
    display_name="Ollama",
    default_base_uri="http://127.0.0.1:11434",
    settings_schema_json=NO_SETTINGS,
    credential_source_types=KEY_SOURCES,
    discovers_models=True,
    telemetry_name="ollama",
    credential_optional=True,
)

# Addresses are often given with the start of a path: that of this API, or of the compatible one.
_PATH = re.compile(r"/(api|v1)/?$")


def connect(account: Account, egress: Egress) -> Adapter:
    """Open an account with a server; raises as `endpoint` and `key_headers` do."""
    settings(account, [])
    account = replace(account, base_uri=_PATH.sub("", account.base_uri))
    return VendorAdapter(
        OllamaApi(KIND.kind),
        endpoint(account, egress, KIND.default_base_uri),
        egress,
        key_headers(account, KIND.kind, "authorization", "Bearer ", needed=False),
        account.secret,
    )

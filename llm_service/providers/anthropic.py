"""Anthropic, by its Messages API."""

import re

from llm_service import errors
from llm_service.domain.provider import ProviderKind, SourceType
from llm_service.providers.account import endpoint, key_headers, settings
from llm_service.providers.base import Account, Adapter
from llm_service.providers.egress import Egress
from llm_service.providers.messages.api import MessagesApi
from llm_service.providers.messages.profile import Profile
from llm_service.providers.vendor import VendorAdapter

KIND = ProviderKind(
    kind="anthropic",
    display_name="Anthropic",
    default_base_uri="https://api.anthropic.com",
    settings_schema_json=(
        '{"type":"object","properties":{'
        '"anthropic_version":{"type":"string","pattern":"^[0-9]{4}-[0-9]{2}-[0-9]{2}$",'
        '"description":"Version of the API for every call. Default: as each model wants it."},'
        '"beta":{"type":"string","pattern":"^[A-Za-z0-9][A-Za-z0-9_.,-]*$",'
        '"description":"Betas every call takes part in, separated by commas."}'
        '},"additionalProperties":false}'
    ),
    credential_source_types=(
        SourceType.API_KEY,
        SourceType.ENVIRONMENT_VARIABLE,
        SourceType.SECRET_REFERENCE,
    ),
    discovers_models=True,
    telemetry_name="anthropic",
)

_SETTINGS = {
    "anthropic_version": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}"),
    "beta": re.compile(r"[A-Za-z0-9][A-Za-z0-9_.,-]*"),
}


def connect(account: Account, egress: Egress) -> Adapter:
    """Open an account with Anthropic; raises as `endpoint` and `key_headers` do."""
    said = settings(account, [*_SETTINGS])
    for name, value in said.items():
        if not _SETTINGS[name].fullmatch(value):
            raise errors.InvalidField(
                errors.Violation(f"provider.settings.{name}", "is not of the form it must have")
            )
    where = endpoint(account, egress, KIND.default_base_uri)
    profile = Profile(
        KIND.kind,
        # Both forms of the address are about: with the API's first folder, and without.
        prefix="" if where.path.endswith("/v1") else "/v1",
        version=said.get("anthropic_version", ""),
        betas=tuple(name for name in said.get("beta", "").split(",") if name),
    )
    authenticator = key_headers(account, KIND.kind, "x-api-key")
    api = MessagesApi(profile)
    return VendorAdapter(api, where, egress, authenticator, account.secret, api.inquiry)

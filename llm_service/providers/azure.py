"""Azure OpenAI: OpenAI's two APIs, by deployments of a resource, old address and new."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote

from llm_service import errors
from llm_service.domain.completion import ContentFilter
from llm_service.domain.provider import Model, ProviderKind, SourceType
from llm_service.providers.account import endpoint, key_headers, settings
from llm_service.providers.azure_models import read as listed
from llm_service.providers.base import (
    Account,
    Adapter,
    Call,
    Embeddings,
    EmbeddingsCall,
    TokenCount,
)
from llm_service.providers.chat.api import ChatApi
from llm_service.providers.chat.dialect import Dialect, EmbeddingRules
from llm_service.providers.discovery import discovered
from llm_service.providers.egress import Egress, Endpoint
from llm_service.providers.entra_token import ClientSecret, authority
from llm_service.providers.responses import choice, dialect
from llm_service.providers.responses.api import ResponsesApi
from llm_service.providers.vendor import (
    JSON,
    Ask,
    Authenticator,
    Exchange,
    Headers,
    VendorAdapter,
)

KIND = ProviderKind(
    kind="azure",
    display_name="Azure OpenAI",
    default_base_uri="",
    settings_schema_json=(
        '{"type":"object","properties":{'
        '"resource":{"type":"string","pattern":"^[A-Za-z0-9-]{2,64}$","description":'
        '"Name of the resource, if base_uri is empty."},'
        '"region":{"type":"string","pattern":"^[a-z0-9]{2,32}$","description":'
        '"Region whose shared address to call, if base_uri is empty and there is no resource."},'
        '"deployment":{"type":"string","description":'
        '"Deployment that serves every call. Default: the one named like the model."},'
        '"api_version":{"type":"string","pattern":"^(v1|preview|[0-9]{4}-[0-9]{2}-[0-9]{2}'
        '(-preview)?)$","description":"v1, its preview, or the date of an older version.'
        ' Default: v1."},'
        '"auth":{"type":"string","enum":["key","entra-token","entra-client-secret"],'
        '"description":"What the credential is. Default: a key of the resource."},'
        '"tenant_id":{"type":"string","description":"Entra directory, with a client secret."},'
        '"client_id":{"type":"string","description":"Entra application, with a client secret."},'
        '"authority":{"type":"string","description":'
        '"Address of Entra, in another cloud than the public one."},'
        '"scope":{"type":"string","description":'
        '"What tokens are asked for, in another cloud than the public one."},'
        + choice.SETTING
        + '},"additionalProperties":false}'
    ),
    credential_source_types=(
        SourceType.API_KEY,
        SourceType.ENVIRONMENT_VARIABLE,
        SourceType.SECRET_REFERENCE,
    ),
    discovers_models=True,
    telemetry_name="azure.ai.openai",
    address_settings=("resource", "region", "authority"),
)

_SETTINGS = (
    "resource",
    "region",
    "deployment",
    "api_version",
    "auth",
    "tenant_id",
    "client_id",
    "authority",
    "scope",
    "api",
)
_AUTHS = ("key", "entra-token", "entra-client-secret")
_UNDATED = ("v1", "preview")
_VERSION = re.compile(r"v1|preview|\d{4}-\d{2}-\d{2}(-preview)?")
_NAME = re.compile(r"[A-Za-z0-9-]{2,64}")
_SUFFIX = re.compile(r"/openai(/v1)?$")
# The first dated version whose completions know `max_completion_tokens` and `stream_options`.
_MODERN = "2024-09-01"
_EMBEDDINGS = EmbeddingRules(max_inputs=2048, max_tokens=300_000, base64=True)
_RESPONSES = dialect.Dialect(kind=KIND.kind)


@dataclass(frozen=True, slots=True)
class Door:
    """How an account's addresses are made.

    `version` is "v1", "preview" or a date; `deployment` "": the one named like the model.
    """

    version: str
    deployment: str

    @property
    def dated(self) -> bool:
        return self.version not in _UNDATED

    def path(self, path: str, deployment: str) -> str:
        """Where an API's path is: only dated versions name the deployment in it."""
        if self.version == "v1":
            return path
        if self.dated and path in ("/chat/completions", "/embeddings"):
            path = f"/deployments/{quote(deployment, safe='')}{path}"
        return f"{path}?api-version={self.version}"


class AzureApi:
    """OpenAI's APIs at the addresses of a resource."""

    def __init__(self, door: Door, api: str) -> None:
        """`api` as `choice.wanted` gives it; what is known of a model decides by its own name."""
        self._door = door
        chat = ChatApi(_chat_dialect(door.version))
        self._either = choice.EitherApi(KIND.kind, chat, ResponsesApi(_RESPONSES), api)

    def exchange(self, call: Call, *, stream: bool) -> Exchange:
        api = self._either.completes(call.provider_model)
        deployment = self._door.deployment or call.provider_model
        exchange = api.exchange(replace(call, provider_model=deployment), stream=stream)
        return replace(exchange, path=self._door.path(exchange.path, deployment))

    def refusal(
        self, status: int, headers: Mapping[str, str], body: bytes, hide: str
    ) -> errors.GatewayError | ContentFilter:
        return self._either.refusal(status, headers, body, hide)

    async def count_tokens(self, call: Call, ask: Ask) -> TokenCount:
        return await self._either.count_tokens(call, ask)

    async def embed(self, call: EmbeddingsCall, ask: Ask) -> Embeddings:
        deployment = self._door.deployment or call.provider_model
        return await self._either.embed(
            replace(call, provider_model=deployment), self._asking(ask, deployment)
        )

    async def models(self, ask: Ask) -> tuple[Model, ...]:
        """The models of the resource, for its deployments cannot be listed with its key.

        With a deployment for every call, that alone: the rest cannot be called.
        """
        models = listed(KIND.kind, await self._asking(ask, "")("GET", "/models"))
        if self._door.deployment:
            return (discovered(KIND.kind, self._door.deployment),)
        return models

    def _asking(self, ask: Ask, deployment: str) -> Ask:
        async def at_door(
            method: str,
            path: str,
            body: bytes = b"",
            *,
            headers: Headers = JSON,
            endpoint: Endpoint | None = None,
            noted: dict[str, str] | None = None,
        ) -> bytes:
            path = self._door.path(path, deployment)
            return await ask(method, path, body, headers=headers, endpoint=endpoint, noted=noted)

        return at_door


def connect(account: Account, egress: Egress) -> Adapter:
    """Open an account with a resource.

    Raises:
        InvalidField: a setting is not of its form, or does not go with the others.
        EgressDenied: the address is not one this service may dial.
        ProviderCredentialRejected: the secret cannot be sent at all.
    """
    said = settings(account, _SETTINGS)
    version = said.get("api_version", "v1")
    _check("api_version", version, _VERSION, "must be v1, preview or a date")
    door = Door(version, said.get("deployment", ""))
    below = "/openai" if door.dated else "/openai/v1"
    base_uri = _SUFFIX.sub("", _address(account, said).rstrip("/"))
    where = endpoint(replace(account, base_uri=base_uri + below), egress, "")
    api = AzureApi(door, choice.wanted(said))
    return VendorAdapter(api, where, egress, _authenticator(account, said, egress), account.secret)


def _address(account: Account, said: Mapping[str, str]) -> str:
    resource, region = said.get("resource", ""), said.get("region", "")
    if bool(account.base_uri) + bool(resource) + bool(region) != 1:
        violation = errors.Violation(
            "provider.base_uri",
            "or one of the settings resource and region is needed, and only one",
        )
        raise errors.InvalidField(violation)
    if resource:
        _check("resource", resource, _NAME, "must be a resource's name")
        return f"https://{resource}.openai.azure.com"
    if region:
        _check("region", region, _NAME, "must be a region's name")
        return f"https://{region}.api.cognitive.microsoft.com"
    return account.base_uri


def _authenticator(account: Account, said: Mapping[str, str], egress: Egress) -> Authenticator:
    auth = said.get("auth", "key")
    if auth not in _AUTHS:
        why = f"must be one of {', '.join(_AUTHS)}"
        raise errors.InvalidField(errors.Violation("provider.settings.auth", why))
    if auth == "key":
        return key_headers(account, KIND.kind, "api-key")
    bearer = key_headers(account, KIND.kind, "authorization", "Bearer ")
    if auth == "entra-token":
        return bearer
    missing = [
        errors.Violation(f"provider.settings.{name}", "is needed with a client secret")
        for name in ("tenant_id", "client_id")
        if not said.get(name)
    ]
    if missing:
        raise errors.InvalidField(*missing)
    tokens = authority(said.get("authority", ""), egress)
    if not account.secret:
        return bearer  # which says so
    dated = said.get("api_version", "v1") not in _UNDATED
    scope = said.get("scope") or _scope(dated=dated)
    client = (said["client_id"], account.secret)
    return ClientSecret(tokens, said["tenant_id"], client, scope, egress)


def _scope(*, dated: bool) -> str:
    host = "cognitiveservices.azure.com" if dated else "ai.azure.com"
    return f"https://{host}/.default"


def _chat_dialect(version: str) -> Dialect:
    modern = version in _UNDATED or version >= _MODERN
    return Dialect(
        kind=KIND.kind,
        max_tokens_field="max_completion_tokens" if modern else "max_tokens",
        include_usage=modern,
        allowed_tools=modern,
        embeddings=_EMBEDDINGS,
    )


def _check(name: str, value: str, form: re.Pattern[str], why: str) -> None:
    if not form.fullmatch(value):
        raise errors.InvalidField(errors.Violation(f"provider.settings.{name}", why))

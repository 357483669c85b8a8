"""What operators configure: providers, their credentials, their models and prices."""

import json
from collections.abc import Mapping
from dataclasses import astuple, field
from datetime import UTC, datetime
from enum import StrEnum

from llm_service.domain.completion import CallError, GenerationParams
from llm_service.domain.content import Modality
from llm_service.domain.value import value

MOST_TOKENS_PER_SECOND = 10_000.0
"""As much as may be asked of a stream at least."""


@value
class RateLimits:
    """None: no limit. Tokens are input and output together."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    requests_per_day: int | None = None
    concurrent_requests: int | None = None
    tokens_per_day: int | None = None

    @property
    def unlimited(self) -> bool:
        return (
            self.requests_per_minute is None
            and self.tokens_per_minute is None
            and self.requests_per_day is None
            and self.concurrent_requests is None
            and self.tokens_per_day is None
        )

    def within(self, others: "RateLimits") -> bool:
        """Whether each is as tight as the other's, or tighter."""
        return all(
            other is None or (own is not None and own <= other)
            for own, other in zip(astuple(self), astuple(others), strict=True)
        )


@value
class UpstreamTimeouts:
    """When a provider is given up: seconds, and how slowly a stream may come, 0 for any.

    None: the service's default. The caller's deadline always wins.
    """

    connect: float | None = None
    first_token: float | None = None
    idle: float | None = None
    attempt: float | None = None
    min_output_tokens_per_second: float | None = None


class CancelPolicy(StrEnum):
    """What becomes of an upstream call whose caller has gone."""

    CLOSE = "close"
    """Its connection is closed at once: the vendor stops, and bills what it made till then."""
    DRAIN = "drain"
    """It is read on for a while: the vendor bills it whole, and says at its end how much it was."""


@value
class Provider:
    """An account with a vendor.

    `tenant` "" is shared by everyone. `version` grows with each change.
    """

    tenant: str
    provider_id: str
    uid: str
    kind: str
    create_time: datetime
    update_time: datetime
    version: int = 1
    display_name: str = ""
    description: str = ""
    base_uri: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    default_credential: str = ""
    disabled: bool = False
    priority: int | None = None
    weight: int | None = None
    rate_limits: RateLimits = RateLimits()
    timeouts: UpstreamTimeouts = UpstreamTimeouts()
    cancel_policy: CancelPolicy | None = None
    """None: the kind's."""
    labels: Mapping[str, str] = field(default_factory=dict)
    delete_time: datetime | None = None
    purge_time: datetime | None = None
    unreadable: tuple[str, ...] = ()
    """Fields whose stored value cannot be read, and so have their default. Any: quarantined."""

    @property
    def name(self) -> str:
        prefix = f"tenants/{self.tenant}/" if self.tenant else ""
        return f"{prefix}providers/{self.provider_id}"


class SourceType(StrEnum):
    """Where a credential's secret comes from."""

    API_KEY = "api_key"
    AWS_KEY = "aws_key"
    SERVICE_ACCOUNT_JSON = "service_account_json"
    SECRET_REFERENCE = "secret_reference"  # noqa: S105 - a kind of source, not a secret
    ENVIRONMENT_VARIABLE = "environment_variable"
    WORKLOAD_IDENTITY = "workload_identity"


SEALED_SOURCES = frozenset(
    {SourceType.API_KEY, SourceType.AWS_KEY, SourceType.SERVICE_ACCOUNT_JSON}
)


@value
class SecretReference:
    """A place in an external store, in that store's own form.

    `key` "": the secret is one value. `version` "": the latest.
    """

    store: str
    path: str
    key: str = ""
    version: str = ""

    @property
    def text(self) -> str:
        """As it stands in `Credential.reference`."""
        return json.dumps([self.store, self.path, self.key, self.version])

    @classmethod
    def of_text(cls, text: str) -> "SecretReference":
        """Of what `text` gave; of anything else, a place in no store."""
        try:
            return cls(*json.loads(text))
        except (ValueError, TypeError):
            return cls("", "")


@value
class Credential:
    """A way to authenticate with a provider.

    The secret itself is not here: `sealed` is the vault's text, "" for sources that are pointers,
    and `reference` is the pointer (an environment variable's name, a `SecretReference.text`, the
    audience of an identity). `secret_version` grows with
    each new secret and is bound into the ciphertext. `origin` is the address it was entered for,
    and the only one it is sent to; "" in rows older than that rule. `obfuscated_secret` shows at
    most the last four characters.
    """

    provider_uid: str
    provider_name: str
    credential_id: str
    uid: str
    source_type: SourceType
    create_time: datetime
    update_time: datetime
    version: int = 1
    secret_version: int = 1
    sealed: str = field(default="", repr=False)
    reference: str = ""
    origin: str = ""
    obfuscated_secret: str = ""
    display_name: str = ""
    disabled: bool = False
    rejected: bool = False
    weight: int | None = None
    rate_limits: RateLimits = RateLimits()
    expire_time: datetime | None = None
    last_use_time: datetime | None = None
    last_check_time: datetime | None = None
    unreadable: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.provider_name}/credentials/{self.credential_id}"


@value
class ModelCapabilities:
    """None is unknown, and unknown never blocks a call.

    `sampling`: takes temperature, top_p, top_k.
    """

    streaming: bool | None = None
    tools: bool | None = None
    parallel_tools: bool | None = None
    json_object: bool | None = None
    json_schema: bool | None = None
    thinking: bool | None = None
    prompt_caching: bool | None = None
    logprobs: bool | None = None
    seed: bool | None = None
    sampling: bool | None = None


_ALWAYS = datetime.min.replace(tzinfo=UTC)


@value
class PriceItem:
    """Nano-USD per million units of `meter`.

    It holds from `min_input_tokens` input tokens in the request on.
    """

    meter: str
    nano_usd_per_million: int
    min_input_tokens: int = 0


@value
class Price:
    """`version` names the source and is copied into every cost computed with it."""

    version: str
    items: tuple[PriceItem, ...]
    effective_time: datetime | None = None

    @property
    def begins(self) -> datetime:
        """From when it holds; one without an effective time always did."""
        return self.effective_time or _ALWAYS


@value
class EmbeddingInfo:
    """What an embedding model gives.

    `vector_space`: what its vectors can be compared with; "": those of the model of its name.
    """

    dimensions: int = 0
    variable_dimensions: bool = False
    max_inputs: int = 0
    vector_space: str = ""


class ModelStage(StrEnum):
    """Where a model is in its life."""

    PREVIEW = "preview"
    STABLE = "stable"
    DEPRECATED = "deprecated"
    RETIRED = "retired"


class ModelOrigin(StrEnum):
    """How the gateway came to know a model."""

    BUILT_IN = "built_in"
    DISCOVERED = "discovered"
    MANUAL = "manual"


@value
class Model:
    """A model a provider serves.

    `provider_model` is the upstream's exact id; 0 tokens means unknown. `dated_prices` each have an
    effective time that no other price of the model has.
    """

    provider_name: str
    model_id: str
    provider_model: str
    origin: ModelOrigin
    aliases: tuple[str, ...] = ()
    display_name: str = ""
    description: str = ""
    input_modalities: tuple[Modality, ...] = ()
    output_modalities: tuple[Modality, ...] = ()
    capabilities: ModelCapabilities = ModelCapabilities()
    context_window_tokens: int = 0
    max_output_tokens: int = 0
    price: Price | None = None
    dated_prices: tuple[Price, ...] = ()
    rate_limits: RateLimits = RateLimits()
    embedding: EmbeddingInfo | None = None
    default_params: GenerationParams = GenerationParams()
    disabled: bool = False
    stage: ModelStage | None = None
    retire_time: datetime | None = None
    replacement_model: str = ""
    sync_time: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    priority: int | None = None
    version: int = 1
    unreadable: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.provider_name}/models/{self.model_id}"

    def price_at(self, when: datetime) -> Price | None:
        """Of its own prices the one in force: the latest that holds by then."""
        given = (*self.dated_prices, self.price) if self.price else self.dated_prices
        begun = [price for price in given if price.begins <= when]
        return max(begun, key=lambda price: price.begins, default=None)


@value
class ProviderKind:
    """A vendor this service speaks to.

    `settings_schema_json` is the JSON Schema of `Provider.settings`.
    """

    kind: str
    display_name: str
    default_base_uri: str
    settings_schema_json: str
    credential_source_types: tuple[SourceType, ...]
    discovers_models: bool
    telemetry_name: str
    """The value of OpenTelemetry's `gen_ai.provider.name`."""
    credential_optional: bool = False
    """Takes a credential and also works without one, as local servers do."""
    address_settings: tuple[str, ...] = ()
    """The settings that decide, beside the base URI, which host a credential is sent to."""
    cancel_policy: CancelPolicy = CancelPolicy.CLOSE
    """Of its providers that say nothing else; by whether the vendor stops billing on an abort."""

    @property
    def needs_credential(self) -> bool:
        return bool(self.credential_source_types) and not self.credential_optional


@value
class ProviderCheck:
    """The result of calling a provider now. `error` None: it works. `duration` in seconds."""

    duration: float
    error: CallError | None = None
    model_count: int = 0

"""A completion: what is asked, what comes back whole, and what comes back piece by piece."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from llm_service.domain.content import (
    Citation,
    Message,
    Modality,
    Part,
    ProviderState,
    ProviderToolUse,
    ResponseFormat,
    TokenLogprob,
    Tool,
    ToolChoice,
)
from llm_service.domain.value import value


class Effort(StrEnum):
    """How hard to reason."""

    NONE = "none"
    MINIMAL = "minimal"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    MAX = "max"


@value
class Reasoning:
    """Unset fields inherit."""

    effort: Effort | None = None
    budget_tokens: int | None = None
    include_thoughts: bool | None = None


@value
class GenerationParams:
    """None and () inherit: from a stored default, else from the provider."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_output_tokens: int | None = None
    stop_sequences: tuple[str, ...] = ()
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    reasoning: Reasoning | None = None
    top_logprobs: int | None = None


class Preference(StrEnum):
    """What to order the targets of one name by."""

    PRIORITY = "priority"
    COST = "cost"
    LATENCY = "latency"
    THROUGHPUT = "throughput"


@value
class RoutingOptions:
    """Durations in seconds, least speeds 0 for any. None and () inherit."""

    fallback_models: tuple[str, ...] = ()
    disable_fallback: bool | None = None
    allowed_providers: tuple[str, ...] = ()
    excluded_providers: tuple[str, ...] = ()
    preference: Preference | None = None
    max_attempts: int | None = None
    attempt_timeout: float | None = None
    first_token_timeout: float | None = None
    max_cost_nano_usd: int | None = None
    affinity_key: str | None = None
    min_output_tokens_per_second: float | None = None


@value
class Attribution:
    """Who a call is for. `tenant` is the bare id, never "tenants/..."."""

    tenant: str
    agent: str = ""
    user: str = ""
    interaction: str = ""
    session: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


class MidStreamFailure(StrEnum):
    """What happens when a stream breaks after its first content."""

    ABORT = "abort"
    RESTART = "restart"


@value
class CompletionRequest:
    """A call as the caller made it.

    `provider_options_json` maps a provider kind to JSON object text. `strict_params`: refuse what
    would be left out of `params` with a warning. `completion_id`: where it was chosen before.
    """

    model: str
    messages: tuple[Message, ...]
    params: GenerationParams
    attribution: Attribution
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    response_format: ResponseFormat | None = None
    routing: RoutingOptions = RoutingOptions()
    completion_id: str = ""
    heartbeat_seconds: float | None = None
    include_completion: bool = False
    mid_stream_failure: MidStreamFailure = MidStreamFailure.ABORT
    provider_options_json: Mapping[str, str] = field(default_factory=dict)
    response_cache: bool = False
    strict_params: bool = False


class FinishReason(StrEnum):
    """Why the model stopped."""

    STOP = "stop"
    STOP_SEQUENCE = "stop_sequence"
    MAX_OUTPUT_TOKENS = "max_output_tokens"
    CONTEXT_WINDOW = "context_window"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"
    MALFORMED_TOOL_CALL = "malformed_tool_call"
    PAUSED = "paused"
    OTHER = "other"


class FilterStage(StrEnum):
    """Where a content filter struck."""

    INPUT = "input"
    OUTPUT = "output"


@value
class ContentFilter:
    """What was filtered; categories in the provider's vocabulary."""

    stage: FilterStage | None = None
    categories: tuple[str, ...] = ()


@value
class Warning:
    """Something done otherwise than asked, e.g. PARAMETER_DROPPED; `field` is a request path."""

    reason: str
    field: str
    message: str


@value
class ModalityTokens:
    """Tokens of one modality, subsets of the totals."""

    modality: Modality
    input_tokens: int = 0
    output_tokens: int = 0


@value
class TokenUsage:
    """Inclusive totals, subsets of them, and what is charged beside tokens.

    `cache_write_input_tokens` are all writes; `cache_write_1h_input_tokens` are those of them kept
    for an hour. `estimated`: counted by the gateway, not reported by the provider.
    `reported_nano_usd`: what the provider says it charges, if it does.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_write_input_tokens: int = 0
    reasoning_output_tokens: int = 0
    modality_tokens: tuple[ModalityTokens, ...] = ()
    estimated: bool = False
    cache_write_1h_input_tokens: int = 0
    provider_tool_uses: tuple[ProviderToolUse, ...] = ()
    reported_nano_usd: int | None = None


@value
class CostItem:
    """What one meter cost by the price of a version: nano-USD for `quantity` units."""

    meter: str
    quantity: int
    nano_usd: int
    price_version: str = ""


@value
class Cost:
    """Nano-USD. `incomplete`: some meter has no known price and `total_nano_usd` leaves it out.

    `reported_nano_usd`: what the provider says. `price_effective_time`: from when the price holds.
    """

    total_nano_usd: int
    items: tuple[CostItem, ...] = ()
    price_version: str = ""
    estimated: bool = False
    incomplete: bool = False
    reported_nano_usd: int | None = None
    price_effective_time: datetime | None = None


@value
class ServedBy:
    """Resource names of what served, and what the provider said about itself."""

    provider: str
    model: str
    credential: str = ""
    provider_model: str = ""
    provider_request_id: str = ""
    model_config: str = ""


@value
class CallError:
    """A failure as data.

    `reason` is an `ErrorReason`; `retry_delay` in seconds, None: will not help.
    """

    reason: str
    message: str
    retry_delay: float | None = None
    http_status: int = 0
    provider_code: str = ""


@value
class Attempt:
    """One upstream call.

    `error` None: it served. `duration` in seconds. `cost` None: nothing was billed.
    """

    target: ServedBy
    start_time: datetime
    duration: float
    error: CallError | None = None
    usage: TokenUsage | None = None
    cost: Cost | None = None


@value
class Timings:
    """Seconds. `first_token` None: there was no content."""

    queue: float
    first_token: float | None
    total: float


@value
class Completion:
    """A whole answer. `provider_finish_message` is the vendor's text, for the caller alone."""

    id: str
    message: Message
    finish_reason: FinishReason
    provider_finish_reason: str
    usage: TokenUsage
    cost: Cost
    served_by: ServedBy
    attempts: tuple[Attempt, ...]
    timings: Timings
    create_time: datetime
    content_filter: ContentFilter | None = None
    warnings: tuple[Warning, ...] = ()
    provider_finish_message: str = field(default="", repr=False)


@value
class FailedCompletion:
    """What is known of a call that failed after routing; `dials`: attempts that were dialled."""

    id: str
    attempts: tuple[Attempt, ...]
    usage: TokenUsage | None = None
    cost: Cost | None = None
    content_sent: bool = False
    dials: int = 0


class DeltaKind(StrEnum):
    """Which text of a part grows."""

    TEXT = "text"
    THINKING = "thinking"
    ARGUMENTS_JSON = "arguments_json"
    REFUSAL = "refusal"


@dataclass(slots=True)
class PartStarted:
    """A part begins: its kind with empty text; a tool call has its id and name."""

    index: int
    part: Part


@dataclass(slots=True)
class PartDelta:
    """A part grows by `text`. Not frozen: one is made per chunk, and freezing triples its cost."""

    index: int
    kind: DeltaKind
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(slots=True)
class AudioDelta:
    """An audio part grows."""

    index: int
    data: bytes


@dataclass(slots=True)
class CitationDelta:
    """A part gains a citation."""

    index: int
    citation: Citation


@dataclass(slots=True)
class PartFinished:
    """A part is complete."""

    index: int
    provider_state: ProviderState | None = None


@dataclass(slots=True)
class UsageUpdate:
    """Cumulative counts so far."""

    usage: TokenUsage


PartEvent = PartStarted | PartDelta | AudioDelta | CitationDelta | PartFinished


@dataclass(slots=True)
class CompletionStarted:
    """A target accepted the call."""

    id: str
    served_by: ServedBy
    failed_attempts: tuple[Attempt, ...]
    create_time: datetime


@dataclass(slots=True)
class Fallback:
    """Only with `MidStreamFailure.RESTART`: forget every part; another target starts over."""

    failed_attempt: Attempt
    served_by: ServedBy


@dataclass(slots=True)
class Heartbeat:
    """Nothing has happened for a while, and all is well."""


@dataclass(slots=True)
class CompletionFinished:
    """The last event. `completion.message` is empty unless the whole completion was asked for."""

    completion: Completion
    include_completion: bool


StreamEvent = (
    CompletionStarted | PartEvent | UsageUpdate | Fallback | Heartbeat | CompletionFinished
)

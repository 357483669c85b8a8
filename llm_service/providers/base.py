"""The seam between the gateway and a vendor: what an adapter is given and what it gives back."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from llm_service.domain.completion import (
    CompletionRequest,
    ContentFilter,
    FinishReason,
    GenerationParams,
    PartEvent,
    TokenUsage,
    UsageUpdate,
    Warning,
)
from llm_service.domain.content import Media, Part, Text
from llm_service.domain.provider import Model, ModelCapabilities, SourceType
from llm_service.domain.secrecy import NeverPickled
from llm_service.domain.value import value
from llm_service.providers.egress import Egress
from llm_service.providers.lenient import MOST_TOKENS


def _nobody() -> None:
    """Hears nothing."""


@value
class Deadlines:
    """Seconds left for each stage of one attempt, all derived from the caller's deadline.

    `connect`: DNS, TCP and TLS. `first_token`: from now to the first content. `idle`: between two
    reads afterwards. `total`: from now to the end.
    """

    connect: float
    first_token: float
    idle: float
    total: float


@value
class Call:
    """One attempt: the caller's request, and what was decided for this target.

    `params` are merged (request first, then stored defaults). `options` are the caller's
    `provider_options_json` for this adapter's kind, "" if none. `on_send` is told when a connection
    is there and the request goes out.
    """

    request: CompletionRequest
    provider_model: str
    params: GenerationParams
    capabilities: ModelCapabilities
    deadlines: Deadlines
    options_json: str = ""
    on_send: Callable[[], None] = _nobody


@value
class Answer:
    """A whole answer. `usage` None: the vendor did not say."""

    parts: tuple[Part, ...]
    finish_reason: FinishReason
    provider_finish_reason: str
    usage: TokenUsage | None
    provider_model: str = ""
    provider_request_id: str = ""
    content_filter: ContentFilter | None = None
    warnings: tuple[Warning, ...] = ()
    provider_finish_message: str = field(default="", repr=False)


@dataclass(slots=True)
class TokensShown:
    """How many tokens of a stream its vendor has shown one by one; it grows as they come.

    Attributes:
        input_tokens: 0: it showed none.
        output_tokens: of all that came; of no meaning once some of that came without its tokens.
        complete: all that came, came with its tokens.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    complete: bool = True


@dataclass(slots=True)
class Accepted:
    """The vendor took the call: always the first event of a stream.

    `shown`: what the stream will have shown of its tokens; None: it is not looked for.
    """

    provider_model: str = ""
    provider_request_id: str = ""
    warnings: tuple[Warning, ...] = ()
    shown: TokensShown | None = field(default=None, compare=False)


MOST_FINISH_MESSAGE = 4096
"""Characters of a vendor's own explanation that a caller gets."""


@dataclass(slots=True)
class Ended:
    """The vendor ended the answer properly: always the last event of a stream.

    `usage` None: not said. `provider_model` repeats or completes what `Accepted` said; "" adds
    nothing. `provider_finish_message` is the vendor's text, for the caller alone.
    """

    finish_reason: FinishReason
    provider_finish_reason: str
    usage: TokenUsage | None
    provider_model: str = ""
    content_filter: ContentFilter | None = None
    provider_finish_message: str = field(default="", repr=False)


AdapterEvent = Accepted | PartEvent | UsageUpdate | Ended


@value
class TokenCount:
    """`estimated`: a local heuristic counted, not the vendor."""

    input_tokens: int
    estimated: bool


@value
class BrokenOff:
    """What is known of a streamed answer that did not end.

    Attributes:
        provider_request_id: as of `Accepted`.
        usage: what the vendor had said; without a word of it, our estimate of the input alone.
        text: what came after the vendor's latest count, as it came.
        is_text: the whole answer is text, all of which was shown; else more was made, and billed.
        counted: output tokens beside those of the text.
    """

    provider_request_id: str
    usage: TokenUsage
    text: str = field(repr=False)
    is_text: bool
    counted: int = 0

    def measured(self, text_tokens: int, input_tokens: int | None = None) -> TokenUsage:
        """The usage, now that the vendor has measured the text, and perhaps the input."""
        said, output = self.usage, self.counted + text_tokens
        return replace(
            said,
            input_tokens=said.input_tokens if input_tokens is None else input_tokens,
            output_tokens=min(max(said.output_tokens, output), MOST_TOKENS),
            estimated=not self.is_text or (said.estimated and input_tokens is None),
        )


Inquiry = Callable[[], Awaitable[TokenUsage]]
"""Asks a vendor what an answer that broke off has used; raises GatewayError if it does not say."""


@value
class EmbeddingsCall:
    """Inputs to turn into vectors.

    `dimensions` None: as many as the model gives. `task` is one of "query", "document",
    "similarity", "classification", "clustering", "" unknown. `truncate`: cut inputs that are too
    long instead of refusing them. `max_inputs`: of one request to the model; 0: unknown. `on_send`:
    as of `Call`, for each request.
    """

    inputs: tuple[Text | Media, ...]
    provider_model: str
    deadlines: Deadlines
    dimensions: int | None = None
    task: str = ""
    truncate: bool = False
    max_inputs: int = 0
    on_send: Callable[[], None] = _nobody


@value
class Embeddings:
    """One vector for each input, in order. `usage` None: the vendor did not say."""

    vectors: tuple[Sequence[float], ...]
    usage: TokenUsage | None
    provider_model: str = ""
    warnings: tuple[Warning, ...] = ()


@value
class Account(NeverPickled):
    """What an adapter needs to reach one account. The secret's repr is hidden.

    `base_uri` "" means the kind's public endpoint; `secret` "" means none is configured. `source`
    is where the secret comes from and so what it is: of `AWS_KEY` a JSON object with
    `access_key_id`, `secret_access_key` and `session_token`, of `SERVICE_ACCOUNT_JSON` the file.
    """

    base_uri: str
    settings: Mapping[str, str] = field(default_factory=dict)
    secret: str = field(default="", repr=False)
    source: SourceType | None = None


class Adapter(Protocol):
    """A live connection to one account with a vendor.

    Domain values in and out; raises only `errors.GatewayError` (and re-raises `CancelledError`);
    safe to share between concurrent calls; never retries: retry and fallback are the gateway's.
    """

    async def complete(self, call: Call) -> Answer:
        """Answer whole."""
        ...

    def stream(self, call: Call) -> AsyncGenerator[Sequence[AdapterEvent]]:
        """Answer piece by piece.

        Yields batches: the events of what had arrived. First event `Accepted`, last `Ended`; part
        indexes count from 0; each `PartStarted` has its `PartFinished`. A stream the vendor did not
        end properly raises; it never just stops. Closing the generator closes the upstream
        connection at once.
        """
        ...

    async def count_tokens(self, call: Call) -> TokenCount:
        """Count the input tokens of the call without making it."""
        ...

    def inquiry(self, call: Call, answer: BrokenOff) -> Inquiry | None:
        """How to have the vendor say what a broken off answer to the call used; None: no way.

        Costs nothing with the vendor. Bounded by the call's deadlines, from now on.
        """
        ...

    async def embed(self, call: EmbeddingsCall) -> Embeddings:
        """Turn each input into a vector.

        Raises CapabilityNotSupported where the kind or the model does not embed.
        """
        ...

    async def models(self, deadline: float) -> tuple[Model, ...]:
        """List what the account may use, within `deadline` seconds.

        `provider_name` is left "" for the gateway.
        """
        ...

    async def aclose(self) -> None:
        """Give up pooled connections. No call is running any more."""
        ...


class Connect(Protocol):
    """The `connect` function each module here has beside its `KIND` (a `ProviderKind`)."""

    def __call__(self, account: Account, egress: Egress) -> Adapter: ...

"""The Responses API."""

from collections.abc import Mapping
from functools import partial

from llm_service import errors
from llm_service.domain import estimates
from llm_service.domain.completion import ContentFilter
from llm_service.domain.provider import Model
from llm_service.providers import checks, token_counts
from llm_service.providers.base import Call, Embeddings, EmbeddingsCall, TokenCount
from llm_service.providers.chat.models import read as listed
from llm_service.providers.responses import failures, request
from llm_service.providers.responses.decoder import ResponsesDecoder
from llm_service.providers.responses.dialect import Dialect
from llm_service.providers.vendor import EVENT_STREAM, JSON, Ask, Exchange


class ResponsesApi:
    """The Responses API in one kind's dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def exchange(self, call: Call, *, stream: bool) -> Exchange:
        shaped = request.body(call, self._dialect, stream=stream)
        return Exchange(
            "/responses",
            shaped.encoded(),
            partial(ResponsesDecoder, self._dialect.kind, shaped.format_tool),
            shaped.warnings,
            EVENT_STREAM if stream else JSON,
        )

    def refusal(
        self, status: int, headers: Mapping[str, str], body: bytes, hide: str
    ) -> errors.GatewayError | ContentFilter:
        return failures.refusal(status, headers, body, hide)

    async def count_tokens(self, call: Call, ask: Ask) -> TokenCount:  # noqa: ARG002
        """Counted here: with OpenAI's vocabularies where they are the model's, else by length."""
        if self._dialect.vocabulary:
            return await token_counts.count(call)
        return TokenCount(estimates.input_tokens(call.request), estimated=True)

    async def embed(self, call: EmbeddingsCall, ask: Ask) -> Embeddings:  # noqa: ARG002
        raise checks.not_supported(self._dialect.kind, call.provider_model, "model", "embeds not")

    async def models(self, ask: Ask) -> tuple[Model, ...]:
        """What `GET /models` lists, with what the catalogue knows of each."""
        return listed(self._dialect.kind, await ask("GET", "/models"))

"""The Chat Completions API."""

from collections.abc import Callable, Mapping
from functools import partial

from llm_service import errors
from llm_service.domain import estimates
from llm_service.domain.completion import ContentFilter, FilterStage
from llm_service.domain.provider import Model
from llm_service.providers.base import Call, Embeddings, EmbeddingsCall, TokenCount
from llm_service.providers.chat import embedding, failures, models, request, shown, structured
from llm_service.providers.chat.decoder import ChatDecoder
from llm_service.providers.chat.dialect import Dialect, Thoughts
from llm_service.providers.vendor import EVENT_STREAM, JSON, Ask, Exchange


class ChatApi:
    """Chat Completions in one kind's dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def exchange(self, call: Call, *, stream: bool) -> Exchange:
        body, warnings = request.body(call, self._dialect, stream=stream)
        decoder: Callable[..., ChatDecoder] = ChatDecoder
        if stream and shown.may_show(self._dialect, call):
            decoder = partial(shown.ShowingDecoder, reads_input=shown.is_text(call))
        return Exchange(
            "/chat/completions",
            body,
            partial(
                decoder,
                self._dialect.kind,
                marks_end=self._dialect.marks_end,
                keeps_thoughts=self._dialect.thoughts is not Thoughts.DROPPED,
                emulating_tool=structured.emulating_tool(call, self._dialect),
            ),
            warnings,
            EVENT_STREAM if stream else JSON,
        )

    def refusal(
        self, status: int, headers: Mapping[str, str], body: bytes, hide: str
    ) -> errors.GatewayError | ContentFilter:
        error = failures.read_error(status, body)
        struck = failures.content_filter(error, FilterStage.INPUT)
        return struck or failures.failure(error, headers, hide=hide)

    async def count_tokens(self, call: Call, ask: Ask) -> TokenCount:  # noqa: ARG002
        """A guess from the length of the text: this API has no way to ask."""
        return TokenCount(estimates.input_tokens(call.request), estimated=True)

    async def embed(self, call: EmbeddingsCall, ask: Ask) -> Embeddings:
        return await embedding.embed(call, self._dialect, ask)

    async def models(self, ask: Ask) -> tuple[Model, ...]:
        """What `GET /models` lists, with what the catalogue knows of each."""
        return models.read(self._dialect.kind, await ask("GET", "/models"))

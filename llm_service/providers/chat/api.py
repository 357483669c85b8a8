"""The Chat Completions API."""

from collections.abc import Mapping
from functools import partial

import msgspec

from llm_service import errors
from llm_service.domain import estimates
from llm_service.domain.completion import ContentFilter, FilterStage
from llm_service.domain.provider import Model
from llm_service.providers.base import Call, Embeddings, EmbeddingsCall, TokenCount
from llm_service.providers.chat import failures, request
from llm_service.providers.chat.decoder import ChatDecoder
from llm_service.providers.chat.dialect import Dialect
from llm_service.providers.discovery import discovered
from llm_service.providers.vendor import EVENT_STREAM, JSON, Ask, Exchange


class _ListedModel(msgspec.Struct):
    """A model in the answer of `GET /models`."""

    id: str


class _ModelList(msgspec.Struct):
    """The answer of `GET /models`."""

    data: list[_ListedModel]


class ChatApi:
    """Chat Completions in one kind's dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def exchange(self, call: Call, *, stream: bool) -> Exchange:
        body, warnings = request.body(call, self._dialect, stream=stream)
        return Exchange(
            "/chat/completions",
            body,
            partial(ChatDecoder, self._dialect.kind),
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

    async def embed(self, call: EmbeddingsCall, ask: Ask) -> Embeddings:  # noqa: ARG002
        raise errors.CapabilityNotSupported(
            f"{self._dialect.kind} does not embed here (model {call.provider_model})",
            metadata={"field": "model", "model": call.provider_model},
        )

    async def models(self, ask: Ask) -> tuple[Model, ...]:
        """What `GET /models` lists, with what the catalogue knows of each."""
        body = await ask("GET", "/models")
        try:
            listed = msgspec.json.decode(body, type=_ModelList)
        except (ValueError, RecursionError) as error:
            raise errors.ProviderProtocolError("the provider's list of models is none") from error
        return tuple(discovered(self._dialect.kind, model.id) for model in listed.data)

"""The generateContent API."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from llm_service import errors
from llm_service.domain.completion import ContentFilter
from llm_service.domain.provider import Model
from llm_service.providers.base import Call, Embeddings, EmbeddingsCall, TokenCount
from llm_service.providers.egress import Endpoint
from llm_service.providers.gemini import embeddings, failures, listing, request
from llm_service.providers.gemini.decoder import GeminiDecoder
from llm_service.providers.gemini.door import KIND, Door
from llm_service.providers.lenient import count
from llm_service.providers.vendor import EVENT_STREAM, JSON, Ask, Exchange

# What Vertex AI counts of a request; the rest it refuses to be asked about.
_COUNTED = ("contents", "systemInstruction", "tools", "generationConfig")


class GeminiApi:
    """generateContent and its sisters, behind one of the two doors."""

    def __init__(self, door: Door, endpoint: Endpoint) -> None:
        """`endpoint` is the account's: some paths lie beside it."""
        self._door = door
        self._endpoint = endpoint

    def exchange(self, call: Call, *, stream: bool) -> Exchange:
        body = request.body(call, self._door)
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return Exchange(
            self._door.path(call.provider_model, method),
            body.encoded(),
            partial(GeminiDecoder, KIND, body.answer_tool, model=call.provider_model),
            body.warnings,
            EVENT_STREAM if stream else JSON,
        )

    def refusal(
        self, status: int, headers: Mapping[str, str], body: bytes, hide: str
    ) -> errors.GatewayError | ContentFilter:
        return failures.failure(failures.read_error(status, body), headers, hide=hide)

    async def count_tokens(self, call: Call, ask: Ask) -> TokenCount:
        """Counted by Google, instructions and tools included."""
        fields = request.body(call, self._door).fields
        if self._door.is_vertex:
            asked: dict[str, Any] = {name: fields[name] for name in _COUNTED if name in fields}
        else:
            model = self._door.resource(call.provider_model)
            asked = {"generateContentRequest": {"model": model, **fields}}
        path = self._door.path(call.provider_model, "countTokens")
        said = await ask("POST", path, msgspec.json.encode(asked))
        try:
            tokens = count(msgspec.json.decode(said, type=dict[str, Any]).get("totalTokens", 0))
        except (ValueError, RecursionError) as error:
            raise errors.ProviderProtocolError("the provider's count cannot be read") from error
        if tokens is None:
            raise errors.ProviderProtocolError("the provider's count is none")
        return TokenCount(tokens, estimated=False)

    async def embed(self, call: EmbeddingsCall, ask: Ask) -> Embeddings:
        return await embeddings.embed(call, self._door, ask)

    async def models(self, ask: Ask) -> tuple[Model, ...]:
        return await listing.models(self._door, self._endpoint, ask)

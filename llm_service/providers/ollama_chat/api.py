"""Ollama's own API."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from llm_service import errors
from llm_service.domain import estimates
from llm_service.domain.completion import ContentFilter
from llm_service.domain.provider import Model
from llm_service.providers import embeddings
from llm_service.providers.base import Call, Embeddings, EmbeddingsCall, TokenCount
from llm_service.providers.embeddings import Batch
from llm_service.providers.lenient import count, items, mapping, text
from llm_service.providers.ollama_chat import failures, models, request
from llm_service.providers.ollama_chat.decoder import OllamaDecoder
from llm_service.providers.vendor import JSON, Ask, Exchange, Headers

_LINES: Headers = (("accept", "application/x-ndjson"), ("content-type", "application/json"))


class OllamaApi:
    """`/api/chat`, `/api/embed`, `/api/tags` and `/api/show`."""

    def __init__(self, kind: str) -> None:
        """`kind` stamps provider state."""
        self._kind = kind

    def exchange(self, call: Call, *, stream: bool) -> Exchange:
        body, warnings = request.body(call, self._kind, stream=stream)
        decoder = partial(OllamaDecoder, self._kind)
        return Exchange("/api/chat", body, decoder, warnings, _LINES if stream else JSON)

    def refusal(
        self, status: int, headers: Mapping[str, str], body: bytes, hide: str
    ) -> errors.GatewayError | ContentFilter:
        return failures.failure(failures.read_error(status, body), headers, hide=hide)

    async def count_tokens(self, call: Call, ask: Ask) -> TokenCount:  # noqa: ARG002
        """A guess from the length of the text: Ollama has no way to ask."""
        return TokenCount(estimates.input_tokens(call.request), estimated=True)

    async def embed(self, call: EmbeddingsCall, ask: Ask) -> Embeddings:
        """Embed by `/api/embed`, which cuts inputs that are too long when told to."""

        async def ask_one(group: tuple[str, ...]) -> Batch:
            body: dict[str, Any] = {
                "model": call.provider_model,
                "input": group,
                "truncate": call.truncate,
            }
            if call.dimensions is not None:
                body["dimensions"] = call.dimensions
            return _read(await ask("POST", "/api/embed", msgspec.json.encode(body)))

        groups = embeddings.split(embeddings.texts(call, self._kind), call.max_inputs)
        warnings = embeddings.left_out(call, truncate=True)
        return await embeddings.embed(groups, ask_one, tuple(warnings))

    async def models(self, ask: Ask) -> tuple[Model, ...]:
        """What the server has pulled, with the context length and abilities of each."""
        return await models.listed(self._kind, ask)


def _read(body: bytes) -> Batch:
    try:
        said = mapping(msgspec.json.decode(body))
    except (ValueError, RecursionError) as error:
        raise errors.ProviderProtocolError("the provider's answer holds no vectors") from error
    vectors = tuple(embeddings.vector(one) for one in items(said.get("embeddings")))
    return Batch(vectors, count(said.get("prompt_eval_count")), text(said.get("model")))

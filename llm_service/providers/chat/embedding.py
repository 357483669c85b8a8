"""`POST /embeddings`: one request, and its answer."""

from typing import Any

import msgspec

from llm_service import errors
from llm_service.domain.completion import Warning
from llm_service.providers import checks, embeddings
from llm_service.providers.base import Embeddings, EmbeddingsCall
from llm_service.providers.chat.dialect import Dialect
from llm_service.providers.embeddings import Batch
from llm_service.providers.lenient import count, mapping, text
from llm_service.providers.vendor import Ask

_NO_VECTORS = "the provider's answer holds no vectors"


async def embed(call: EmbeddingsCall, dialect: Dialect, ask: Ask) -> Embeddings:
    """Embed every input.

    Raises:
        CapabilityNotSupported: the vendor does not embed, or not this.
    """
    rules = dialect.embeddings
    if rules is None:
        raise checks.not_supported(dialect.kind, call.provider_model, "model", "does not embed")

    async def ask_one(group: tuple[str, ...]) -> Batch:
        body: dict[str, Any] = {"model": call.provider_model, "input": group}
        if rules.base64:
            body["encoding_format"] = "base64"
        if call.dimensions is not None:
            body[rules.dimensions_field] = call.dimensions
        return _read(await ask("POST", "/embeddings", msgspec.json.encode(body)))

    inputs = embeddings.texts(call, dialect.kind)
    most = min(filter(None, (call.max_inputs, rules.max_inputs)), default=0)
    groups = embeddings.split(inputs, most, rules.max_tokens)
    warnings: list[Warning] = embeddings.left_out(call)
    return await embeddings.embed(groups, ask_one, tuple(warnings))


class _Vector(msgspec.Struct):
    embedding: Any = None
    index: Any = None


class _Answer(msgspec.Struct):
    data: list[_Vector]
    usage: Any = None
    model: Any = None


def _read(body: bytes) -> Batch:
    try:
        said = msgspec.json.decode(body, type=_Answer)
    except (ValueError, RecursionError) as error:
        raise errors.ProviderProtocolError(_NO_VECTORS) from error
    usage = mapping(said.usage)
    tokens = count(usage.get("prompt_tokens"))
    if tokens is None:
        tokens = count(usage.get("total_tokens"))
    vectors = tuple(embeddings.vector(one.embedding) for one in _in_order(said.data))
    return Batch(vectors, tokens, text(said.model))


def _in_order(data: list[_Vector]) -> list[_Vector]:
    """By index, where every vector has its own; else as they came."""
    if all(type(one.index) is int for one in data):
        by_index = {one.index: one for one in data}
        if len(by_index) == len(data):
            return [by_index[index] for index in sorted(by_index)]
    return data

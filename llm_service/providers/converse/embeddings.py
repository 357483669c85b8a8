"""Vectors from Bedrock's models, each family of which has a form of request of its own."""

import asyncio
import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from llm_service.domain.completion import Warning
from llm_service.domain.content import Media, Modality, Text
from llm_service.errors import CapabilityNotSupported, ProviderProtocolError
from llm_service.providers import checks
from llm_service.providers.base import Embeddings, EmbeddingsCall
from llm_service.providers.converse.families import base_model
from llm_service.providers.converse.media import MediaBlocks
from llm_service.providers.converse.paths import model_path
from llm_service.providers.embeddings import charged, usage
from llm_service.providers.lenient import count, items, mapping
from llm_service.providers.vendor import Ask

Json = dict[str, Any]
Input = Text | Media

_COHERE_BATCH = 96
_AT_ONCE = 8  # requests of one call under way, where a request has one input
_COHERE_TASKS = {
    "query": "search_query",
    "document": "search_document",
    "similarity": "clustering",
    "classification": "classification",
    "clustering": "clustering",
    "": "search_document",
}
_NOVA_TASKS = {
    "query": "GENERIC_RETRIEVAL",
    "document": "GENERIC_INDEX",
    "similarity": "CLUSTERING",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
    "": "GENERIC_INDEX",
}
_NOVA_DIMENSIONS = 1024
_COUNT = "x-amzn-bedrock-input-token-count"  # a header of InvokeModel's response
_NUMBER = re.compile(r"[0-9]{1,10}")
_NO_TRUNCATION = Warning(
    "PARAMETER_DROPPED", "truncate", "truncate was left out: this model refuses what is too long"
)


@dataclass(frozen=True, slots=True)
class _Answer:
    """Of one request. `tokens` None: the vendor did not say."""

    vectors: list[list[float]]
    tokens: int | None


async def embed(kind: str, call: EmbeddingsCall, ask: Ask) -> Embeddings:
    """Every input's vector, in order, in as many requests as the model wants.

    Raises:
        CapabilityNotSupported: the model does not embed, or not this kind of input.
        ProviderProtocolError: an answer has too few vectors, or none.
    """
    base = base_model(call.provider_model)
    warnings: tuple[Warning, ...] = ()
    if base.startswith("cohere.embed"):
        size = min(_COHERE_BATCH, call.max_inputs or _COHERE_BATCH)
        bodies = [
            _cohere(kind, call, base, call.inputs[at : at + size], at)
            for at in range(0, len(call.inputs), size)
        ]
    else:
        size = 1
        bodies = [_single(kind, call, base, given, n) for n, given in enumerate(call.inputs)]
        warnings = (_NO_TRUNCATION,) if call.truncate and "titan" in base else ()
    answers = await _ask_all(call, ask, bodies)
    vectors = [vector for answer in answers for vector in answer.vectors]
    if [len(answer.vectors) for answer in answers] != _sizes(len(call.inputs), size):
        raise ProviderProtocolError("the provider's answer lacks vectors")
    return Embeddings(
        tuple(vectors), usage([answer.tokens for answer in answers]), call.provider_model, warnings
    )


def _sizes(total: int, size: int) -> list[int]:
    return [min(size, total - at) for at in range(0, total, size)]


async def _ask_all(call: EmbeddingsCall, ask: Ask, bodies: Sequence[Json]) -> list[_Answer]:
    path = model_path(call.provider_model, "invoke")
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(body: Json) -> _Answer:
        async with gate:
            noted: dict[str, str] = {}
            said = await ask("POST", path, msgspec.json.encode(body), noted=noted)
            return _answer(said, noted.get(_COUNT, ""))

    tasks = [asyncio.create_task(one(body)) for body in bodies]
    try:
        with charged(task.result().tokens for task in tasks if _answered(task)):
            return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _answered(task: "asyncio.Task[_Answer]") -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _single(kind: str, call: EmbeddingsCall, base: str, given: Input, number: int) -> Json:
    path = f"inputs[{number}]"
    if base.startswith("amazon.titan-embed-image"):
        return _titan_image(kind, call, given, path)
    if base.startswith("amazon.titan-embed"):
        return _titan_text(kind, call, base, given, path)
    if base.startswith("amazon.nova") and "embed" in base:
        return _nova(kind, call, given, path)
    raise checks.not_supported(kind, call.provider_model, "model", "does not embed with this model")


def _titan_text(kind: str, call: EmbeddingsCall, base: str, given: Input, path: str) -> Json:
    body: Json = {"inputText": _text(kind, call, given, path)}
    if call.dimensions is not None:
        if "text-v2" not in base:
            raise _fixed_dimensions(kind, call)
        body["dimensions"] = call.dimensions
    return body


def _titan_image(kind: str, call: EmbeddingsCall, given: Input, path: str) -> Json:
    body: Json = {}
    if isinstance(given, Text):
        body["inputText"] = given.text
    elif given.modality is Modality.IMAGE and given.data:
        body["inputImage"] = base64.b64encode(given.data).decode()
    else:
        raise checks.not_supported(kind, call.provider_model, path, "embeds text and image bytes")
    if call.dimensions is not None:
        body["embeddingConfig"] = {"outputEmbeddingLength": call.dimensions}
    return body


def _nova(kind: str, call: EmbeddingsCall, given: Input, path: str) -> Json:
    params: Json = {
        "embeddingPurpose": _NOVA_TASKS.get(call.task, _NOVA_TASKS[""]),
        "embeddingDimension": call.dimensions or _NOVA_DIMENSIONS,
    }
    if isinstance(given, Text):
        mode = "END" if call.truncate else "NONE"
        params["text"] = {"truncationMode": mode, "value": given.text}
    elif given.modality is Modality.IMAGE:
        image = MediaBlocks(kind, call.provider_model).shape(given, path)["image"]
        params["image"] = {**image, "detailLevel": "STANDARD_IMAGE"}
    else:
        raise checks.not_supported(kind, call.provider_model, path, "embeds text and images")
    return {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": params}


def _cohere(kind: str, call: EmbeddingsCall, base: str, given: Sequence[Input], at: int) -> Json:
    is_third = "-v3" in base or "english" in base or "multilingual" in base
    body: Json = {
        "input_type": _COHERE_TASKS.get(call.task, _COHERE_TASKS[""]),
        "embedding_types": ["float"],
        "truncate": ("END" if is_third else "RIGHT") if call.truncate else "NONE",
    }
    paths = [f"inputs[{at + n}]" for n in range(len(given))]
    if is_third or all(isinstance(one, Text) for one in given):
        pairs = zip(given, paths, strict=True)
        body["texts"] = [_text(kind, call, one, path) for one, path in pairs]
    else:
        pairs = zip(given, paths, strict=True)
        body["inputs"] = [{"content": [_cohere_part(kind, call, *pair)]} for pair in pairs]
    if call.dimensions is not None:
        if is_third:
            raise _fixed_dimensions(kind, call)
        body["output_dimension"] = call.dimensions
    return body


def _cohere_part(kind: str, call: EmbeddingsCall, given: Input, path: str) -> Json:
    if isinstance(given, Text):
        return {"type": "text", "text": given.text}
    if given.modality is not Modality.IMAGE or not given.data:
        raise checks.not_supported(kind, call.provider_model, path, "embeds text and image bytes")
    url = checks.data_url(given.data, given.mime_type, f"{path}.image")
    return {"type": "image_url", "image_url": url}


def _text(kind: str, call: EmbeddingsCall, given: Input, path: str) -> str:
    if isinstance(given, Text):
        return given.text
    raise checks.not_supported(kind, call.provider_model, path, "embeds only text with this model")


def _fixed_dimensions(kind: str, call: EmbeddingsCall) -> CapabilityNotSupported:
    return checks.not_supported(
        kind, call.provider_model, "dimensions", "gives a fixed number with this model"
    )


def _answer(body: bytes, counted: str) -> _Answer:
    """Titan gives one vector, Nova a list of objects, Cohere a list of vectors or one by type.

    `counted`: the tokens as Bedrock says them beside the body, where Cohere says none in it.
    """
    try:
        said = mapping(msgspec.json.decode(body))
        found = said.get("embeddings")
        if type(found) is dict:
            found = found.get("float")
        vectors = [said["embedding"]] if "embedding" in said else items(found)
        plain = [one.get("embedding") if type(one) is dict else one for one in vectors]
        read = msgspec.convert(plain, list[list[float]])
    except (ValueError, RecursionError) as error:
        raise ProviderProtocolError("the provider's answer holds no vectors") from error
    beside = int(counted) if _NUMBER.fullmatch(counted) else None
    told = (said.get("inputTextTokenCount"), said.get("inputTokenCount"), beside)
    return _Answer(read, next((tokens for one in told if (tokens := count(one)) is not None), None))

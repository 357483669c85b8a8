"""Vectors by Google's embedding models, in batches of what the vendor takes at once."""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from llm_service.domain.content import Media, Text
from llm_service.errors import ProviderProtocolError
from llm_service.providers import checks
from llm_service.providers.base import Embeddings, EmbeddingsCall
from llm_service.providers.dropped import Dropped
from llm_service.providers.embeddings import charged, split, usage
from llm_service.providers.gemini.door import KIND, Door
from llm_service.providers.gemini.media import Json, MediaShaper
from llm_service.providers.gemini.usage import token_usage
from llm_service.providers.lenient import count, mapping
from llm_service.providers.vendor import Ask

MAX_INPUTS = 100
_MAX_INSTANCES, _MAX_TOKENS = 250, 20_000  # of one `:predict`
_TASKS = {
    "query": "RETRIEVAL_QUERY",
    "document": "RETRIEVAL_DOCUMENT",
    "similarity": "SEMANTIC_SIMILARITY",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
}
_TEXT_ONLY = ("gemini-embedding-001", "gemini-embedding-exp")


class _Vector(msgspec.Struct):
    """A vector; `statistics` only of `:predict`."""

    values: list[float]
    statistics: Any = None


class _Batch(msgspec.Struct):
    """The answer of `:batchEmbedContents`."""

    embeddings: list[_Vector]
    usageMetadata: Any = None  # noqa: N815 - the wire's name


class _Prediction(msgspec.Struct):
    """One of the answers of `:predict`."""

    embeddings: _Vector


class _Predictions(msgspec.Struct):
    """The answer of `:predict`."""

    predictions: list[_Prediction]


_Answer = TypeVar("_Answer", _Batch, _Predictions)


async def embed(call: EmbeddingsCall, door: Door, ask: Ask) -> Embeddings:
    """One vector for each input, in order.

    Raises:
        CapabilityNotSupported: the model takes text only.
    """
    predicts = door.is_vertex and "gemini" not in call.provider_model
    contents = [_content(call, door, number) for number in range(len(call.inputs))]
    vectors: list[Sequence[float]] = []
    tokens: list[int | None] = []
    for batch in _batches(contents, call.max_inputs, predicts=predicts):
        once = _predict if predicts else _batch
        with charged(tokens):
            made, used = await once(call, door, ask, batch)
        if len(made) != len(batch):
            raise ProviderProtocolError("the provider gave another number of vectors than asked")
        vectors += made
        tokens.append(used)
    return Embeddings(tuple(vectors), usage(tokens), call.provider_model)


def _batches(contents: list[Json], most: int, *, predicts: bool) -> list[list[Json]]:
    """What one request takes; `most`: inputs of one request to the model, 0: unknown."""
    if predicts:
        said = [content["text"] for content in contents]
        groups = split(said, min(most or _MAX_INSTANCES, _MAX_INSTANCES), _MAX_TOKENS)
        return [[{"text": text} for text in group] for group in groups]
    size = min(most or MAX_INPUTS, MAX_INPUTS)
    return [contents[start : start + size] for start in range(0, len(contents), size)]


def _content(call: EmbeddingsCall, door: Door, number: int) -> Json:
    match call.inputs[number]:
        case Text(text):
            return {"text": text}
        case Media() as media:
            path, model = f"inputs[{number}]", call.provider_model
            if "gemini" not in model or model.rpartition("/")[2].startswith(_TEXT_ONLY):
                raise checks.not_supported(
                    KIND, model, path, f"embeds no {media.modality.value} with this model"
                )
            return MediaShaper(door, model, Dropped()).source(media, path)


async def _batch(
    call: EmbeddingsCall, door: Door, ask: Ask, parts: list[Json]
) -> tuple[list[Sequence[float]], int | None]:
    settings: Json = {"outputDimensionality": call.dimensions, "taskType": _TASKS.get(call.task)}
    if door.is_vertex:
        settings["autoTruncate"] = call.truncate
    settings = {name: value for name, value in settings.items() if value is not None}
    if door.is_vertex:
        settings = {"embedContentConfig": settings}
    else:
        settings["model"] = door.resource(call.provider_model)
    requests = [{"content": {"parts": [part]}, **settings} for part in parts]
    path = door.path(call.provider_model, "batchEmbedContents")
    said = _read(await ask("POST", path, msgspec.json.encode({"requests": requests})), _Batch)
    told = token_usage(said.usageMetadata)
    return [
        vector.values for vector in said.embeddings
    ], None if told is None else told.input_tokens


async def _predict(
    call: EmbeddingsCall, door: Door, ask: Ask, parts: list[Json]
) -> tuple[list[Sequence[float]], int | None]:
    task = {"task_type": _TASKS[call.task]} if call.task in _TASKS else {}
    parameters: Json = {"autoTruncate": call.truncate}
    if call.dimensions is not None:
        parameters["outputDimensionality"] = call.dimensions
    body = {
        "instances": [{"content": part["text"], **task} for part in parts],
        "parameters": parameters,
    }
    path = door.path(call.provider_model, "predict")
    said = _read(await ask("POST", path, msgspec.json.encode(body)), _Predictions)
    vectors = [prediction.embeddings for prediction in said.predictions]
    counts = [count(mapping(vector.statistics).get("token_count")) for vector in vectors]
    used = None if None in counts else sum(number or 0 for number in counts)
    return [vector.values for vector in vectors], used


def _read(data: bytes, shape: type[_Answer]) -> _Answer:
    try:
        return msgspec.json.decode(data, type=shape)
    except (ValueError, RecursionError) as error:
        raise ProviderProtocolError("the provider's vectors cannot be read") from error

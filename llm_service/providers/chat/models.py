"""The models a Chat Completions vendor lists, each vendor with other facts."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from llm_service import errors
from llm_service.domain.content import Modality
from llm_service.domain.provider import Model, ModelCapabilities, ModelStage
from llm_service.providers.discovery import discovered
from llm_service.providers.lenient import count, items, mapping, text

Json = dict[str, Any]

_CONTEXT = ("context_length", "context_window", "max_context_length", "max_model_len")
_OUTPUT = ("max_completion_tokens", "max_output_tokens", "max_output_length")
_MODALITIES = {
    "text": Modality.TEXT,
    "image": Modality.IMAGE,
    "audio": Modality.AUDIO,
    "video": Modality.VIDEO,
    "file": Modality.DOCUMENT,
    "embeddings": Modality.EMBEDDING,
    "embedding": Modality.EMBEDDING,
}
# What OpenRouter lists of each model's parameters, and what follows from it.
_BY_PARAMETER = {
    "tools": "tools",
    "structured_outputs": "json_schema",
    "response_format": "json_object",
    "reasoning": "thinking",
    "logprobs": "logprobs",
    "seed": "seed",
    "temperature": "sampling",
}


def read(kind: str, body: bytes) -> tuple[Model, ...]:
    """The list, whatever surrounds it, with what the catalogue knows of each model.

    Raises:
        ProviderProtocolError: it is no list of models.
    """
    try:
        said = msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        raise _no_list() from error
    listed = said if type(said) is list else None
    for name in ("data", "models"):
        if listed is None:
            listed = mapping(said).get(name)
    if type(listed) is not list:
        raise _no_list()
    return tuple(_model(kind, one) for one in _unique(listed))


def _no_list() -> errors.ProviderProtocolError:
    return errors.ProviderProtocolError("the provider's list of models is none")


def _unique(listed: list[Any]) -> Iterable[Json]:
    """Those with an id, once each."""
    by_id = {one["id"]: one for one in listed if type(one) is dict and text(one.get("id"))}
    return by_id.values()


def _model(kind: str, said: Json) -> Model:
    model = discovered(kind, said["id"])
    taken, given = _modalities(said)
    retired = _moment(said.get("deprecation") or said.get("expiration_date"))
    return replace(
        model,
        display_name=_name(said) or model.display_name,
        description=text(said.get("description"))[:1000] or model.description,
        input_modalities=taken or model.input_modalities,
        output_modalities=given or model.output_modalities,
        capabilities=_capabilities(said, model.capabilities),
        context_window_tokens=_context(said) or model.context_window_tokens,
        max_output_tokens=_output(said) or model.max_output_tokens,
        stage=model.stage if retired is None else ModelStage.DEPRECATED,
        retire_time=retired or model.retire_time,
        replacement_model=text(said.get("deprecation_replacement_model"))
        or model.replacement_model,
    )


def _name(said: Json) -> str:
    name = text(said.get("display_name")) or text(said.get("name"))
    return "" if name == said["id"] else name[:200]


def _context(said: Json) -> int:
    trained = mapping(said.get("meta")).get("n_ctx_train")  # llama.cpp
    return _first(said, _CONTEXT) or count(trained) or 0


def _output(said: Json) -> int:
    return _first(said, _OUTPUT) or _first(mapping(said.get("top_provider")), _OUTPUT)


def _first(said: Json, names: Iterable[str]) -> int:
    return next((number for name in names if (number := count(said.get(name)))), 0)


def _modalities(said: Json) -> tuple[tuple[Modality, ...], tuple[Modality, ...]]:
    """What the model takes and gives; (): not said."""
    about = {**said, **mapping(said.get("architecture"))}
    taken = _known(about.get("input_modalities"))
    given = _known(about.get("output_modalities"))
    sees = mapping(said.get("capabilities")).get("vision") or said.get("supports_image_input")
    if not taken and sees is True:
        taken = (Modality.TEXT, Modality.IMAGE)
    if not given and said.get("type") == "embedding":
        given = (Modality.EMBEDDING,)
    return taken, given


def _known(said: Any) -> tuple[Modality, ...]:  # noqa: ANN401 - as it lies on the wire
    names = (name for name in items(said) if type(name) is str)
    return tuple(dict.fromkeys(_MODALITIES[name] for name in names if name in _MODALITIES))


def _capabilities(said: Json, known: ModelCapabilities) -> ModelCapabilities:
    told: dict[str, bool] = {}
    parameters = said.get("supported_parameters")
    if type(parameters) is list and parameters:
        told = {able: name in parameters for name, able in _BY_PARAMETER.items()}
    able = mapping(said.get("capabilities"))
    calls = able.get("function_calling", said.get("supports_tools"))
    if type(calls) is bool:
        told["tools"] = calls
    if items(able.get("reasoning_effort")):
        told["thinking"] = True
    return replace(known, **told)


def _moment(said: Any) -> datetime | None:  # noqa: ANN401
    try:
        moment = datetime.fromisoformat(text(said))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

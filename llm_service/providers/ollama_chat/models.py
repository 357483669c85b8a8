"""The models a server has, and what it tells of each."""

from dataclasses import replace
from typing import Any

import msgspec

from llm_service import errors
from llm_service.domain.content import Modality
from llm_service.domain.provider import EmbeddingInfo, Model
from llm_service.providers.discovery import discovered
from llm_service.providers.lenient import count, items, mapping, text
from llm_service.providers.vendor import Ask

Json = dict[str, Any]

# Each takes a request; a server with more tells of the rest when they are used.
_MOST_SHOWN = 200


async def listed(kind: str, ask: Ask) -> tuple[Model, ...]:
    """What `/api/tags` lists, with what `/api/show` tells; a model it fails to show is listed bare.

    Raises:
        GatewayError: there is no list.
    """
    try:
        said = msgspec.json.decode(await ask("GET", "/api/tags"))
    except (ValueError, RecursionError) as error:
        raise _no_list() from error
    tags = mapping(said).get("models")
    if type(tags) is not list:
        raise _no_list()
    names = dict.fromkeys(name for tag in tags if (name := _name(mapping(tag))))
    models = []
    for number, name in enumerate(names):
        shown = await _show(name, ask) if number < _MOST_SHOWN else {}
        models.append(_model(discovered(kind, name), shown))
    return tuple(models)


def _no_list() -> errors.ProviderProtocolError:
    return errors.ProviderProtocolError("the provider's list of models is none")


def _name(tag: Json) -> str:
    return text(tag.get("model")) or text(tag.get("name"))


async def _show(name: str, ask: Ask) -> Json:
    try:
        body = await ask("POST", "/api/show", msgspec.json.encode({"model": name}))
        return mapping(msgspec.json.decode(body))
    except (errors.GatewayError, ValueError, RecursionError):
        return {}


def _model(model: Model, shown: Json) -> Model:
    about = mapping(shown.get("model_info"))
    family = text(about.get("general.architecture"))
    context = count(about.get(f"{family}.context_length"))
    model = replace(model, context_window_tokens=context or model.context_window_tokens)
    able = items(shown.get("capabilities"))
    if not able:
        return model
    if "embedding" in able:
        width = count(about.get(f"{family}.embedding_length")) or 0
        return replace(
            model,
            input_modalities=(Modality.TEXT,),
            output_modalities=(Modality.EMBEDDING,),
            embedding=EmbeddingInfo(dimensions=width),
        )
    sees = (Modality.TEXT, Modality.IMAGE) if "vision" in able else (Modality.TEXT,)
    return replace(
        model,
        input_modalities=sees,
        output_modalities=(Modality.TEXT,),
        capabilities=replace(
            model.capabilities, tools="tools" in able, thinking="thinking" in able
        ),
    )

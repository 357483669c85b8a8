"""The models of an account: foundation models, and the profiles through which others are called."""

import re
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec

from llm_service import catalog, errors
from llm_service.domain.content import Modality
from llm_service.domain.provider import EmbeddingInfo, Model, ModelStage
from llm_service.providers.converse.families import base_model
from llm_service.providers.discovery import discovered
from llm_service.providers.egress import Endpoint
from llm_service.providers.lenient import items, mapping, text
from llm_service.providers.vendor import Ask

_MODALITIES = {
    "TEXT": Modality.TEXT,
    "IMAGE": Modality.IMAGE,
    "VIDEO": Modality.VIDEO,
    "AUDIO": Modality.AUDIO,
    "SPEECH": Modality.AUDIO,
    "EMBEDDING": Modality.EMBEDDING,
}
_STAGES = {"ACTIVE": ModelStage.STABLE, "LEGACY": ModelStage.DEPRECATED}
_KINDS_OF_PROFILE = ("SYSTEM_DEFINED", "APPLICATION")
_MOST_PAGES = 50
_DIGITS = re.compile(r"[0-9]{1,11}(\.[0-9]+)?")

_Json = dict[str, Any]


async def models(kind: str, ask: Ask, control: Endpoint | None) -> tuple[Model, ...]:
    """What can be called, under the id to call it by.

    A model that is served only through profiles is listed as those. An account that may not list
    profiles has none.
    """
    answer = _object(await ask("GET", "/foundation-models", endpoint=control))
    if "modelSummaries" not in answer:
        raise errors.ProviderProtocolError("the provider's list of models is none")
    summaries = [mapping(said) for said in items(answer["modelSummaries"])]
    known = {name: _model(kind, name, said) for said in summaries if (name := _id(said))}
    found = [known[_id(said)] for said in summaries if _id(said) and _is_on_demand(said)]
    with suppress(errors.ProviderPermissionDenied):
        found += [profile async for profile in _profiles(kind, ask, control, known)]
    return tuple({model.provider_model: model for model in found}.values())


async def _profiles(
    kind: str, ask: Ask, control: Endpoint | None, known: dict[str, Model]
) -> AsyncIterator[Model]:
    for sort in _KINDS_OF_PROFILE:
        query = f"/inference-profiles?maxResults=1000&type={sort}"
        path = query
        for _ in range(_MOST_PAGES):
            answer = _object(await ask("GET", path, endpoint=control))
            for said in map(mapping, items(answer.get("inferenceProfileSummaries"))):
                if profile := _profile(kind, said, known):
                    yield profile
            token = text(answer.get("nextToken"))
            if not token:
                break
            path = f"{query}&nextToken={quote(token, safe='')}"


def _profile(kind: str, said: _Json, known: dict[str, Model]) -> Model | None:
    """A profile has the facts of the model behind it; one of the account's own goes by its ARN."""
    own = said.get("type") == "APPLICATION"
    provider_model = text(said.get("inferenceProfileArn" if own else "inferenceProfileId"))
    if not provider_model:
        return None
    arns = (text(mapping(model).get("modelArn")) for model in items(said.get("models")))
    base = next((name for arn in arns if (name := base_model(arn))), "") or base_model(
        provider_model
    )
    model = known.get(base) or discovered(kind, base or provider_model)
    name = text(said.get("inferenceProfileName"))
    return replace(
        model,
        model_id=catalog.model_id(name if own and name else provider_model),
        provider_model=provider_model,
        display_name=name or model.display_name,
        description=text(said.get("description")) or model.description,
    )


def _model(kind: str, name: str, said: _Json) -> Model:
    model = discovered(kind, name)
    life = mapping(said.get("modelLifecycle"))
    streams = said.get("responseStreamingSupported")
    capabilities = model.capabilities
    if type(streams) is bool:
        capabilities = replace(capabilities, streaming=streams)
    given = _modalities(said.get("outputModalities")) or model.output_modalities
    embedding = model.embedding
    if embedding is None and Modality.EMBEDDING in given:
        embedding = EmbeddingInfo()
    return replace(
        model,
        display_name=text(said.get("modelName")) or model.display_name,
        input_modalities=_modalities(said.get("inputModalities")) or model.input_modalities,
        output_modalities=given,
        capabilities=capabilities,
        embedding=embedding,
        stage=_STAGES.get(text(life.get("status"))) or model.stage,
        retire_time=_moment(life.get("endOfLifeTime")) or model.retire_time,
    )


def _id(said: _Json) -> str:
    return text(said.get("modelId"))


def _is_on_demand(said: _Json) -> bool:
    how = items(said.get("inferenceTypesSupported"))
    return not how or "ON_DEMAND" in how


def _modalities(said: Any) -> tuple[Modality, ...]:  # noqa: ANN401 - as it lies on the wire
    names: Iterable[str] = map(text, items(said))
    return tuple(dict.fromkeys(_MODALITIES[name] for name in names if name in _MODALITIES))


def _moment(said: Any) -> datetime | None:  # noqa: ANN401
    """A time as text, or as seconds since 1970."""
    try:
        if type(said) in (int, float) or _DIGITS.fullmatch(text(said)):
            return datetime.fromtimestamp(float(said), UTC)
        moment = datetime.fromisoformat(text(said))
    except (ValueError, OverflowError, OSError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _object(body: bytes) -> _Json:
    try:
        return mapping(msgspec.json.decode(body))
    except (ValueError, RecursionError) as error:
        raise errors.ProviderProtocolError("the provider's list of models is none") from error

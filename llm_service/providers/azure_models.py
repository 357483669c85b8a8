"""The models an Azure resource lists."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from llm_service.domain.provider import Model, ModelStage
from llm_service.providers.chat import models
from llm_service.providers.lenient import items, mapping, text

_STAGES = {
    "preview": ModelStage.PREVIEW,
    "generally-available": ModelStage.STABLE,
    "stable": ModelStage.STABLE,
    "deprecating": ModelStage.DEPRECATED,
    "deprecated": ModelStage.DEPRECATED,
}


def read(kind: str, body: bytes) -> tuple[Model, ...]:
    """Those that can be called, each with its stage and when it ends.

    Raises:
        ProviderProtocolError: it is no list of models.
    """
    known = models.read(kind, body)
    said = {text(one.get("id")): one for one in map(mapping, _listed(body))}
    return tuple(
        _completed(model, said.get(model.provider_model, {}))
        for model in known
        if _serves(said.get(model.provider_model, {}))
    )


def _listed(body: bytes) -> list[Any]:
    decoded = msgspec.json.decode(body)
    return decoded if type(decoded) is list else items(mapping(decoded).get("data"))


def _serves(said: Mapping[str, Any]) -> bool:
    """Whether it answers or embeds; what is not said does not speak against it."""
    able = mapping(said.get("capabilities"))
    if able.get("inference") is False:
        return False
    uses = [able[name] for name in ("chat_completion", "embeddings", "responses") if name in able]
    return not uses or any(use is True for use in uses)


def _completed(model: Model, said: Mapping[str, Any]) -> Model:
    ends = mapping(said.get("deprecation")).get("inference")
    return replace(
        model,
        stage=_STAGES.get(text(said.get("lifecycle_status")), model.stage),
        retire_time=_moment(ends) or model.retire_time,
    )


def _moment(seconds: Any) -> datetime | None:  # noqa: ANN401 - as it lies on the wire
    if type(seconds) is not int:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None

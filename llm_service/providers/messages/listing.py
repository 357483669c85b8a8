"""The models an account may use, as the vendor lists them."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec

from llm_service.domain.content import Modality
from llm_service.domain.provider import Model, ModelStage
from llm_service.errors import ProviderProtocolError
from llm_service.providers.discovery import discovered
from llm_service.providers.lenient import count, mapping, text
from llm_service.providers.vendor import Ask

_MOST_PAGES = 50
_STAGES = {
    "active": ModelStage.STABLE,
    "deprecated": ModelStage.DEPRECATED,
    "retired": ModelStage.RETIRED,
}


class _Page(msgspec.Struct):
    """An answer of `GET /models`."""

    data: list[dict[str, Any]]
    has_more: Any = None
    last_id: Any = None


async def models(ask: Ask, kind: str, path: str, headers: list[tuple[str, str]]) -> list[Model]:
    """Every page of the list, with what it tells of each model over what the catalogue knows.

    Raises:
        ProviderProtocolError: what came is no list, or it has no end.
    """
    found: list[Model] = []
    after = ""
    for _ in range(_MOST_PAGES):
        page = _read(await ask("GET", f"{path}?limit=1000{after}", headers=headers))
        found += [_model(kind, said) for said in page.data if text(said.get("id"))]
        last = text(page.last_id)
        if page.has_more is not True or not last:
            return found
        after = f"&after_id={quote(last, safe='')}"
    raise ProviderProtocolError("the provider's list of models has no end")


def _read(body: bytes) -> _Page:
    try:
        return msgspec.json.decode(body, type=_Page)
    except (ValueError, RecursionError) as error:
        raise ProviderProtocolError("the provider's list of models is none") from error


def _model(kind: str, said: dict[str, Any]) -> Model:
    model = discovered(kind, said["id"])
    able = mapping(said.get("capabilities"))
    return replace(
        model,
        display_name=text(said.get("display_name")) or model.display_name,
        context_window_tokens=count(said.get("max_input_tokens")) or model.context_window_tokens,
        max_output_tokens=count(said.get("max_tokens")) or model.max_output_tokens,
        input_modalities=_modalities(able) or model.input_modalities,
        capabilities=replace(
            model.capabilities,
            json_schema=_supported(able, "structured_outputs", model.capabilities.json_schema),
            thinking=_supported(able, "thinking", model.capabilities.thinking),
        ),
        stage=_STAGES.get(text(said.get("lifecycle"))) or model.stage,
        retire_time=_moment(said.get("retires_at")) or model.retire_time,
    )


def _supported(able: dict[str, Any], name: str, known: bool | None) -> bool | None:  # noqa: FBT001
    said = mapping(able.get(name)).get("supported")
    return said if type(said) is bool else known


def _modalities(able: dict[str, Any]) -> tuple[Modality, ...]:
    """() when the vendor does not say."""
    said = {
        Modality.IMAGE: _supported(able, "image_input", None),
        Modality.DOCUMENT: _supported(able, "pdf_input", None),
    }
    if None in said.values():
        return ()
    return (Modality.TEXT, *(modality for modality, takes in said.items() if takes))


def _moment(said: Any) -> datetime | None:  # noqa: ANN401 - as it lies on the wire
    try:
        at = datetime.fromisoformat(text(said))
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)

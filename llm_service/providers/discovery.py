"""Models as a vendor lists them."""

from dataclasses import replace

from llm_service import catalog
from llm_service.domain.provider import Model, ModelOrigin


def discovered(kind: str, provider_model: str) -> Model:
    """A model a vendor listed, with what the catalogue knows of it."""
    known = catalog.facts(kind, provider_model)
    model_id = catalog.model_id(provider_model)
    if known is None:
        return Model("", model_id, provider_model, ModelOrigin.DISCOVERED)
    return replace(
        known,
        model_id=model_id,
        provider_model=provider_model,
        origin=ModelOrigin.DISCOVERED,
    )

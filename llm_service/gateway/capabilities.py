"""What a request needs, held against what a model is known to do. Unknown never blocks a call."""

from collections.abc import Iterable, Iterator

from llm_service.domain.completion import CompletionRequest
from llm_service.domain.content import (
    Content,
    JsonObjectFormat,
    JsonSchemaFormat,
    Media,
    Modality,
    ResponseFormat,
    Role,
    ToolResult,
)
from llm_service.domain.embedding import EmbeddingRequest
from llm_service.domain.provider import Model, ModelCapabilities
from llm_service.errors import CapabilityNotSupported


def require(request: CompletionRequest, model: Model) -> None:
    """Refuse a completion before anybody is dialled.

    Raises:
        CapabilityNotSupported: names the part of the request, and the model.
    """
    can = model.capabilities
    if request.tools and can.tools is False:
        raise _lacking("tools", "tools", model)
    # Adapters emulate a format by a tool, so it takes both to be out of reach.
    if can.tools is False and _format_is_lacking(request.response_format, can):
        raise _lacking("response_format", "JSON", model)
    if model.input_modalities:
        _require_modalities(_asked_media(request), model)


def require_embedding(request: EmbeddingRequest, model: Model) -> None:
    """The same for embeddings: the kind of each input, and the length of the vectors.

    Raises:
        CapabilityNotSupported: names the part of the request, and the model.
    """
    if model.input_modalities:
        media = ((f"inputs[{n}].image", one) for n, one in enumerate(request.inputs))
        _require_modalities(((path, one) for path, one in media if isinstance(one, Media)), model)
    known = model.embedding
    if request.dimensions is None or known is None or known.variable_dimensions:
        return
    if known.dimensions and request.dimensions != known.dimensions:
        raise _lacking("dimensions", f"vectors of {request.dimensions} numbers", model)


def _format_is_lacking(asked: ResponseFormat | None, can: ModelCapabilities) -> bool:
    if isinstance(asked, JsonSchemaFormat):
        return can.json_schema is False
    if isinstance(asked, JsonObjectFormat):
        return can.json_object is False and can.json_schema is False
    return False


def _require_modalities(media: Iterable[tuple[str, Media]], model: Model) -> None:
    for path, one in media:
        if not _takes(model, one):
            raise _lacking(path, one.modality.value, model)


def _takes(model: Model, media: Media) -> bool:
    if media.modality in model.input_modalities:
        return True
    if media.modality is not Modality.DOCUMENT:
        return False
    # A text document is text, and vendors show the pages of others to models that see.
    return media.mime_type.startswith("text/") or Modality.IMAGE in model.input_modalities


def _asked_media(request: CompletionRequest) -> Iterator[tuple[str, Media]]:
    """Media the caller adds. What a model has said in its turn is the adapter's to leave out."""
    for m, message in enumerate(request.messages):
        if message.role is Role.ASSISTANT:
            continue
        for p, part in enumerate(message.parts):
            yield from _media(f"messages[{m}].parts[{p}]", part.content)


def _media(path: str, content: Content) -> Iterator[tuple[str, Media]]:
    if isinstance(content, Media):
        yield f"{path}.{content.modality.value}", content
    elif isinstance(content, ToolResult):
        for n, part in enumerate(content.content):
            yield from _media(f"{path}.tool_result.content[{n}]", part.content)


def _lacking(field: str, what: str, model: Model) -> CapabilityNotSupported:
    return CapabilityNotSupported(
        f"{field}: the model {model.name} does not take {what}",
        metadata={"field": field, "model": model.name},
    )

"""Media of a conversation in Google's words."""

import mimetypes
from typing import Any

from llm_service.domain.content import Media
from llm_service.errors import InvalidField, Violation
from llm_service.providers import checks
from llm_service.providers.dropped import Dropped
from llm_service.providers.gemini.door import KIND, Door, is_third

Json = dict[str, Any]

_FILES = "https://generativelanguage.googleapis.com/v1beta/"
_SCHEMES = ("https://", "http://", "gs://")


class MediaShaper:
    """Shapes the media of one call.

    Raises from its methods:
        CapabilityNotSupported: the door or the model does not take it so.
        InvalidField: it is not whole.
    """

    def __init__(self, door: Door, model: str, dropped: Dropped) -> None:
        self._door = door
        self._model = model
        self._dropped = dropped

    def part(self, media: Media, path: str) -> Json:
        """A part of content."""
        shaped = self.source(media, path)
        if media.resolution is None:
            return shaped
        if not is_third(self._model):
            self._dropped.content(
                f"{path}.{media.modality.value}.resolution",
                "the resolution of one part",
                "this model has one for all",
            )
            return shaped
        level = f"MEDIA_RESOLUTION_{media.resolution.value.upper()}"
        return {**shaped, "mediaResolution": {"level": level}}

    def source(self, media: Media, path: str) -> Json:
        """Where its bytes are."""
        at = f"{path}.{media.modality.value}"
        if media.data is not None:
            data = checks.encoded(media.data, media.mime_type, at)
            return {"inlineData": {"mimeType": media.mime_type, "data": data}}
        uri = media.uri if media.uri is not None else self._file(media.file_id or "", path)
        if not uri.startswith(_SCHEMES):
            raise checks.not_supported(
                KIND, self._model, path, "takes media as bytes, or by an https or gs URI"
            )
        mime_type = media.mime_type or mimetypes.guess_type(uri)[0] or ""
        if self._door.is_vertex and not mime_type:
            raise InvalidField(Violation(f"{at}.mime_type", "is needed with this URI"))
        return {"fileData": {"fileUri": uri, **({"mimeType": mime_type} if mime_type else {})}}

    def _file(self, file_id: str, path: str) -> str:
        if file_id.startswith(_SCHEMES):
            return file_id
        if self._door.is_vertex:
            raise checks.not_supported(KIND, self._model, path, "keeps no files on Vertex AI")
        return f"{_FILES}files/{file_id.removeprefix('files/')}"

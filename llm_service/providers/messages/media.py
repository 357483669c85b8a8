"""Images and documents as blocks of the API."""

from typing import Any

from llm_service.domain.content import Media, Modality
from llm_service.errors import CapabilityNotSupported, InvalidField, Violation
from llm_service.providers import checks
from llm_service.providers.dropped import Dropped

Json = dict[str, Any]

_PICTURES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_PDF = "application/pdf"


class MediaBlocks:
    """Shapes media.

    Raises from `shape`:
        CapabilityNotSupported: no block of the API holds it; names its path and the model.
        InvalidField: bytes that are not what they are said to be.
    """

    def __init__(self, kind: str, model: str, dropped: Dropped) -> None:
        self._kind = kind
        self._model = model
        self._dropped = dropped

    def shape(self, media: Media, path: str) -> Json:
        match media.modality:
            case Modality.IMAGE:
                return self._image(media, f"{path}.image")
            case Modality.DOCUMENT:
                return self._document(media, f"{path}.document")
            case modality:
                raise self._refusal(path, f"takes no {modality.value}")

    def _image(self, image: Media, path: str) -> Json:
        if image.resolution is not None:
            self._dropped.content(
                f"{path}.resolution", "resolution", "this provider looks at every image alike"
            )
        source = self._elsewhere(image, path)
        if source is None:
            kind = _bare(image.mime_type)
            if kind and kind not in _PICTURES:
                raise self._refusal(path, f"takes no {kind}")
            source = _base64(image, kind, path)
        return {"type": "image", "source": source}

    def _document(self, document: Media, path: str) -> Json:
        source = self._elsewhere(document, path) or self._here(document, path)
        shaped: Json = {"type": "document", "source": source}
        if document.display_name:
            shaped["title"] = document.display_name
        return shaped

    def _here(self, document: Media, path: str) -> Json:
        kind = _bare(document.mime_type)
        if not kind or kind == _PDF:
            return _base64(document, kind, path)
        if not kind.startswith("text/"):
            raise self._refusal(path, f"takes no {kind}")
        try:
            text = (document.data or b"").decode()
        except UnicodeDecodeError as error:
            raise InvalidField(Violation(f"{path}.data", "is not UTF-8 text")) from error
        return {"type": "text", "media_type": "text/plain", "data": text}

    def _elsewhere(self, media: Media, path: str) -> Json | None:
        """Where the vendor finds it; None: the bytes are here."""
        if media.file_id is not None:
            return {"type": "file", "file_id": media.file_id}
        if media.uri is None:
            return None
        if not media.uri.startswith(("https://", "http://")):
            raise self._refusal(path, "takes media as bytes, by https URI or by file_id")
        return {"type": "url", "url": media.uri}

    def _refusal(self, path: str, what: str) -> CapabilityNotSupported:
        return checks.not_supported(self._kind, self._model, path, what)


def _bare(mime_type: str) -> str:
    """Without parameters: "text/plain; charset=utf-8" is "text/plain"."""
    return mime_type.partition(";")[0].strip().lower()


def _base64(media: Media, kind: str, path: str) -> Json:
    data = checks.encoded(media.data or b"", kind, path)
    return {"type": "base64", "media_type": kind, "data": data}

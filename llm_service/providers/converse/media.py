"""Images, documents, sound and films as blocks of a message."""

import base64
import re
from typing import Any

from llm_service.domain.content import Media, Modality
from llm_service.errors import CapabilityNotSupported, InvalidField, Violation
from llm_service.providers import checks

Json = dict[str, Any]

_FORMATS: dict[Modality, dict[str, str]] = {
    Modality.IMAGE: {
        "image/png": "png",
        "image/jpeg": "jpeg",
        "image/jpg": "jpeg",
        "image/gif": "gif",
        "image/webp": "webp",
    },
    Modality.DOCUMENT: {
        "application/pdf": "pdf",
        "text/csv": "csv",
        "application/msword": "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
        "application/vnd.ms-excel": "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
        "text/html": "html",
        "text/plain": "txt",
        "text/markdown": "md",
        "text/x-markdown": "md",
    },
    Modality.VIDEO: {
        "video/x-matroska": "mkv",
        "video/matroska": "mkv",
        "video/quicktime": "mov",
        "video/mp4": "mp4",
        "video/webm": "webm",
        "video/x-flv": "flv",
        "video/mpeg": "mpeg",
        "video/mpg": "mpg",
        "video/x-ms-wmv": "wmv",
        "video/3gpp": "three_gp",
    },
    Modality.AUDIO: {
        "audio/mpeg": "mp3",
        "audio/mp3": "mp3",
        "audio/wav": "wav",
        "audio/wave": "wav",
        "audio/x-wav": "wav",
        "audio/vnd.wave": "wav",
        "audio/ogg": "ogg",
        "audio/opus": "opus",
        "audio/flac": "flac",
        "audio/x-flac": "flac",
        "audio/aac": "aac",
        "audio/x-aac": "x-aac",
        "audio/mp4": "mp4",
        "audio/m4a": "m4a",
        "audio/x-m4a": "m4a",
        "audio/x-matroska": "mka",
        "audio/webm": "webm",
        "audio/l16": "pcm",
        "audio/pcm": "pcm",
    },
}
_NAME_LENGTH = 200
_EXTENSION = re.compile(r"(?<=.)\.[A-Za-z0-9]{1,5}$")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9\s\-()\[\]]+")
_SPACE = re.compile(r"\s+")


class MediaBlocks:
    """Shapes the media of one request, whose documents must all have names of their own."""

    def __init__(self, kind: str, model: str) -> None:
        self._kind = kind
        self._model = model
        self._names: set[str] = set()

    def shape(self, media: Media, path: str) -> Json:
        """One block.

        Raises:
            CapabilityNotSupported: Converse has no such kind or format, or takes it only otherwise.
            InvalidField: there are bytes, and nothing says of what.
        """
        modality = media.modality
        field = f"{path}.{modality.value}"
        shaped = {"format": self._format(media, field), "source": self._source(media, path, field)}
        if modality is Modality.DOCUMENT:
            shaped["name"] = self._name(media.display_name)
        return {modality.value: shaped}

    def _format(self, media: Media, field: str) -> str:
        mime_type = media.mime_type.partition(";")[0].strip().lower()
        if not mime_type and media.uri is not None:
            mime_type = _by_extension(media)
        if not mime_type:
            raise InvalidField(Violation(f"{field}.mime_type", "is needed by this provider"))
        form = _FORMATS.get(media.modality, {}).get(mime_type)
        if form is None:
            raise self._refusal(field, f"takes no {media.modality.value} of this type")
        return form

    def _source(self, media: Media, path: str, field: str) -> Json:
        if media.data:
            return {"bytes": base64.b64encode(media.data).decode()}
        if media.data is not None:
            raise InvalidField(Violation(f"{field}.data", "is empty"))
        if media.uri is not None and media.uri.startswith("s3://"):
            return {"s3Location": {"uri": media.uri}}
        raise self._refusal(path, f"takes {media.modality.value} as bytes or by s3 URI")

    def _name(self, said: str) -> str:
        """A name the vendor takes: few characters, single spaces, and none twice in a request."""
        bare = _NOT_IN_NAMES.sub(" ", _EXTENSION.sub("", said))
        bare = _SPACE.sub(" ", bare).strip()[:_NAME_LENGTH].strip() or "document"
        name, number = bare, 1
        while name in self._names:
            number += 1
            suffix = f"-{number}"
            name = bare[: _NAME_LENGTH - len(suffix)] + suffix
        self._names.add(name)
        return name

    def _refusal(self, path: str, what: str) -> CapabilityNotSupported:
        return checks.not_supported(self._kind, self._model, path, what)


def _by_extension(media: Media) -> str:
    """The first type whose format the URI ends in; "" none does."""
    extension = (media.uri or "").rpartition(".")[2].lower()
    extension = {"jpg": "jpeg", "htm": "html", "3gp": "three_gp"}.get(extension, extension)
    known = _FORMATS.get(media.modality, {}).items()
    return next((mime_type for mime_type, form in known if form == extension), "")

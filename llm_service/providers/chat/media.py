"""Images, documents, sound and film as blocks of a message's content."""

import base64
from typing import Any

from llm_service.domain.content import Media, Modality, Resolution
from llm_service.errors import CapabilityNotSupported
from llm_service.providers import checks
from llm_service.providers.chat.dialect import Audio, Dialect, Documents
from llm_service.providers.dropped import Dropped

Json = dict[str, Any]

_AUDIO_FORMATS = {
    "audio/wav": "wav",
    "audio/wave": "wav",
    "audio/x-wav": "wav",
    "audio/vnd.wave": "wav",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
}
_WEB = ("https://", "http://")


class MediaBlocks:
    """Shapes media; raises `CapabilityNotSupported` for what the dialect has no place for."""

    def __init__(self, dialect: Dialect, model: str, dropped: Dropped) -> None:
        self._dialect = dialect
        self._model = model
        self._dropped = dropped

    def block(self, media: Media, path: str) -> Json:
        match media.modality:
            case Modality.IMAGE:
                return self._image(media, path)
            case Modality.DOCUMENT:
                return self._document(media, path)
            case Modality.AUDIO:
                return self._audio(media, path)
            case Modality.VIDEO if self._dialect.video:
                url = self._url(media, f"{path}.video", "takes video as bytes or by https URI")
                return {"type": "video_url", "video_url": {"url": url}}
            case modality:
                raise self.refusal(path, f"takes no {modality.value}")

    def refusal(self, path: str, what: str) -> CapabilityNotSupported:
        return checks.not_supported(self._dialect.kind, self._model, path, what)

    def _image(self, image: Media, path: str) -> Json:
        url = self._url(image, f"{path}.image", "takes images as bytes or by https URI")
        shaped: Json = {"url": url}
        if image.resolution is Resolution.MEDIUM:
            self._dropped.content(
                f"{path}.image.resolution", "a medium resolution", "there is only low and high"
            )
        elif image.resolution is not None:
            shaped["detail"] = image.resolution.value
        bare = not self._dialect.image_objects and len(shaped) == 1
        return {"type": "image_url", "image_url": url if bare else shaped}

    def _document(self, document: Media, path: str) -> Json:
        form = self._dialect.documents
        if form is Documents.NONE:
            raise self.refusal(path, "takes no document")
        if form is Documents.FILES_OR_URLS:
            what = "takes documents as bytes or by https URI"
            url = self._url(document, f"{path}.document", what)
            name = document.display_name or "document"
            return {"type": "file", "file": {"filename": name, "file_data": url}}
        if form is Documents.DOCUMENT_URLS:
            return self._document_url(document, path)
        if document.file_id is not None:
            return {"type": "file", "file": {"file_id": document.file_id}}
        if document.data is None:
            raise self.refusal(path, "takes documents as bytes or by file_id")
        data = checks.data_url(document.data, document.mime_type, f"{path}.document")
        name = document.display_name or "document"
        return {"type": "file", "file": {"filename": name, "file_data": data}}

    def _document_url(self, document: Media, path: str) -> Json:
        if document.file_id is not None:
            return {"type": "file", "file_id": document.file_id}
        what = "takes documents as bytes, by https URI or by file_id"
        url = self._url(document, f"{path}.document", what)
        shaped = {"type": "document_url", "document_url": url}
        if document.display_name:
            shaped["document_name"] = document.display_name
        return shaped

    def _audio(self, audio: Media, path: str) -> Json:
        form = self._dialect.audio
        if form is Audio.NONE:
            raise self.refusal(path, "takes no audio")
        if form is Audio.URL:
            url = self._url(audio, f"{path}.audio", "takes audio as bytes or by https URI")
            return {"type": "audio_url", "audio_url": {"url": url}}
        if form is Audio.TEXT and audio.uri is not None and audio.uri.startswith(_WEB):
            return {"type": "input_audio", "input_audio": audio.uri}
        kind = _AUDIO_FORMATS.get(audio.mime_type.partition(";")[0].strip().lower())
        if audio.data is None or kind is None:
            raise self.refusal(path, "takes audio as bytes of audio/wav or audio/mpeg")
        data = base64.b64encode(audio.data).decode()
        if form is Audio.TEXT:
            return {"type": "input_audio", "input_audio": data}
        return {"type": "input_audio", "input_audio": {"data": data, "format": kind}}

    def _url(self, media: Media, field: str, what: str) -> str:
        if media.data is not None:
            return checks.data_url(media.data, media.mime_type, field)
        if media.uri is not None and media.uri.startswith(_WEB):
            return media.uri
        raise self.refusal(field.rpartition(".")[0], what)

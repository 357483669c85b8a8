"""What a message or a tool's result holds, in the words of the Responses API."""

import re
from typing import Any

from llm_service.domain.content import Media, Modality, Part, Resolution, Text
from llm_service.errors import CapabilityNotSupported, InvalidField, Violation
from llm_service.providers import checks
from llm_service.providers.dropped import Dropped
from llm_service.providers.responses.dialect import Dialect

Json = dict[str, Any]

# "Supported for `gpt-5.6` and later models" (the vendor's reference, prompt_cache_options).
_HAS_BREAKPOINTS = re.compile(r"gpt-(5\.([6-9]|\d\d)|[6-9]|[1-9]\d)(?!\d)")
_HALF_AN_HOUR = 1800


class Blocks:
    """Shapes the parts of one call that a model is shown.

    Raises from `shape`:
        CapabilityNotSupported: the vendor has no place for the part; names its path and the model.
        InvalidField: the part is not whole.
    """

    def __init__(self, dialect: Dialect, model: str, dropped: Dropped) -> None:
        self._dialect = dialect
        self._model = model
        self._dropped = dropped
        self._marks = dialect.breakpoints and bool(_HAS_BREAKPOINTS.search(model))

    def shape(self, part: Part, path: str, where: str, *, only_text: bool = False) -> Json:
        """One part as a block; `where` says to a caller what held it."""
        match part.content:
            case Text(text):
                shaped: Json = {"type": "input_text", "text": text}
            case Media(modality=Modality.IMAGE) as image if not only_text:
                shaped = self._image(image, path)
            case Media(modality=Modality.DOCUMENT) as document if not only_text:
                shaped = self._document(document, path)
            case content:
                raise self.refusal(path, f"takes no {checks.name_of(content)} in {where}")
        if part.cache_control is not None:
            shaped |= self._mark(part.cache_control.ttl_seconds, path)
        return shaped

    def refusal(self, path: str, what: str) -> CapabilityNotSupported:
        return checks.not_supported(self._dialect.kind, self._model, path, what)

    def unmarked(self, part: Part, path: str) -> None:
        """Say that a part which cannot carry it had a mark of where to cache."""
        if part.cache_control is not None:
            self._dropped.content(
                f"{path}.cache_control", "cache_control", "this provider marks input only"
            )

    def _mark(self, ttl: float | None, path: str) -> Json:
        if not self._marks:
            why = "this model decides itself what it caches"
            self._dropped.content(f"{path}.cache_control", "cache_control", why)
            return {}
        mark: Json = {"mode": "explicit"}
        if ttl is not None:
            mark["ttl"] = "30m" if ttl <= _HALF_AN_HOUR else "12h"
        return {"prompt_cache_breakpoint": mark}

    def _image(self, image: Media, path: str) -> Json:
        shaped: Json = {"type": "input_image", "detail": "auto"}
        if image.resolution is Resolution.MEDIUM:
            self._dropped.content(
                f"{path}.image.resolution", "a medium resolution", "there is only low and high"
            )
        elif image.resolution is not None:
            shaped["detail"] = image.resolution.value
        if image.file_id is not None:
            return {**shaped, "file_id": image.file_id}
        if image.data is not None:
            url = checks.data_url(image.data, image.mime_type, f"{path}.image")
            return {**shaped, "image_url": url}
        return {**shaped, "image_url": self._address(image, path)}

    def _document(self, document: Media, path: str) -> Json:
        shaped: Json = {"type": "input_file"}
        if document.file_id is not None:
            return {**shaped, "file_id": document.file_id}
        if document.data is None:
            return {**shaped, "file_url": self._address(document, path)}
        data = checks.data_url(document.data, document.mime_type, f"{path}.document")
        name = document.display_name or "document"
        return {**shaped, "filename": name, "file_data": data}

    def _address(self, media: Media, path: str) -> str:
        if media.uri is None:
            raise InvalidField(Violation(f"{path}.{media.modality.value}", "has no source"))
        if not media.uri.startswith(("https://", "http://")):
            raise self.refusal(path, f"takes no {media.modality.value} by such a URI")
        return media.uri

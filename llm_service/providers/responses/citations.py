"""What an answer's text refers to; read with suspicion."""

from typing import Any

from llm_service.domain.content import Citation
from llm_service.providers.lenient import text


def citation(annotation: Any) -> Citation | None:  # noqa: ANN401 - as it lies on the wire
    """The citation of a page or a file; None: it refers to neither.

    A file has no address: its name, or else its id, is the title.
    """
    if type(annotation) is not dict:
        return None
    uri = text(annotation.get("url"))
    title = text(annotation.get("title")) or text(annotation.get("filename"))
    title = title or text(annotation.get("file_id"))
    if not uri and not title:
        return None
    start = _position(annotation.get("start_index", annotation.get("index")))
    end = _position(annotation.get("end_index", annotation.get("index")))
    return Citation(uri=uri, title=title, start_index=start, end_index=max(start, end))


def annotation(citation: Citation) -> dict[str, Any]:
    """The citation of a page, as the vendor takes it back."""
    return {
        "type": "url_citation",
        "url": citation.uri,
        "title": citation.title,
        "start_index": citation.start_index,
        "end_index": citation.end_index,
    }


def _position(said: Any) -> int:  # noqa: ANN401
    return said if type(said) is int and 0 <= said < 2**31 else 0

"""Where the text of a block comes from, by the API's kinds of location."""

from typing import Any

from llm_service.domain.content import Citation
from llm_service.providers.lenient import mapping, text


def citation(said: Any, length: int) -> Citation:  # noqa: ANN401 - as it lies on the wire
    """A location in a document, a search result or a page; it holds for a block's whole text.

    `length` of that text, in code points. What the contract has no place for (page numbers, places
    in the source) is kept in the part's provider state.
    """
    location = mapping(said)
    return Citation(
        uri=text(location.get("url")) or text(location.get("source")),
        title=text(location.get("title")) or text(location.get("document_title")),
        cited_text=text(location.get("cited_text")),
        start_index=0,
        end_index=length,
    )

"""What an answer's claims rest on: grounding and citation metadata as citations.

Google counts in bytes of UTF-8, from the start of a part of the answer; we count code points.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from llm_service.domain.content import Citation, ProviderToolUse
from llm_service.providers.gemini.door import is_second
from llm_service.providers.lenient import count, items, mapping, text
from llm_service.providers.tool_uses import uses

_SOURCES = ("web", "retrievedContext", "maps", "image")
_ADDRESSES = ("uri", "sourceUri", "imageUri", "documentName")
_MOST_READ = 8 * 1024 * 1024  # bytes, to find the places of one answer's citations

Cited = tuple[int | None, Citation]
Place = tuple[int | None, int, int]


class Texts:
    """The parts of text of an answer, to find places in.

    Args:
        texts: by the index of our part, in order.
        wire_parts: our index of each part of a whole answer that is text, by its position there.
    """

    def __init__(self, texts: Mapping[int, str], wire_parts: Mapping[int, int]) -> None:
        self._texts = {part: said.encode() for part, said in texts.items()}
        self._wire_parts = wire_parts
        self._ascii = {part for part, said in self._texts.items() if said.isascii()}
        self._parts = list(self._texts)
        lengths = [len(said) for said in self._texts.values()]
        self._starts = [0, *accumulate(lengths)][: len(lengths)]
        self._left = _MOST_READ

    def place(
        self, start: int, end: int, position: int, quoted: str
    ) -> tuple[int | None, int, int]:
        """Our part, and where in it, in code points; None: nowhere."""
        sought = quoted.encode()
        for part, offset in self._candidates(position, start):
            said = self._texts[part]
            here = said[max(0, start - offset) : max(0, end - offset)]
            if start >= offset and here and (not quoted or here == sought):
                return self._points(part, start - offset, end - offset)
        for part, said in self._texts.items() if quoted else ():
            if not self._may_read(len(said)):
                break
            if (found := said.find(sought)) >= 0:
                return self._points(part, found, found + len(sought))
        return None, 0, 0

    def _candidates(self, position: int, start: int) -> Iterator[tuple[int, int]]:
        """Parts the offsets may count from the start of, each with where they then start."""
        if (part := self._wire_parts.get(position)) in self._texts and part is not None:
            yield part, 0
        if (number := bisect_right(self._starts, start) - 1) >= 0:
            yield self._parts[number], self._starts[number]

    def _points(self, part: int, start: int, end: int) -> tuple[int | None, int, int]:
        """Offsets in bytes as offsets in code points."""
        said = self._texts[part]
        if part in self._ascii:
            return part, start, min(end, len(said))
        if not self._may_read(end):
            return None, 0, 0
        first = len(said[:start].decode(errors="ignore"))
        return part, first, first + len(said[start:end].decode(errors="ignore"))

    def _may_read(self, size: int) -> bool:
        """Whether there is time left to read so many bytes."""
        self._left -= size
        return self._left > 0


def tool_uses(metadata: Mapping[str, Any], model: str) -> tuple[ProviderToolUse, ...]:
    """What of an answer's grounding is charged beside its tokens.

    Searches of the third generation are charged one by one, of those before by the prompt that
    needed any (ai.google.dev/gemini-api/docs/pricing); places by the prompt. Running code, reading
    addresses and searching one's own files cost the tokens alone.
    """
    grounding = mapping(metadata.get("groundingMetadata"))
    searches = sum(
        1
        for name in ("webSearchQueries", "imageSearchQueries")
        for query in items(grounding.get(name))
        if text(query)
    )
    chunks = [mapping(chunk) for chunk in items(grounding.get("groundingChunks"))]
    on_the_web = searches or any("web" in chunk for chunk in chunks)
    per_prompt = is_second(model) or not searches
    return uses(
        {
            "web-search": int(bool(on_the_web)) if per_prompt else searches,
            "map-search": int(any("maps" in chunk for chunk in chunks)),
        }
    )


def citations(candidate: Mapping[str, Any], texts: Texts) -> Iterator[Cited]:
    """The citations of the metadata of an answer, each with the part it is in if that is known."""
    grounding = mapping(candidate.get("groundingMetadata"))
    sources = [_source(mapping(chunk)) for chunk in items(grounding.get("groundingChunks"))]
    supports = [mapping(support) for support in items(grounding.get("groundingSupports"))]
    if not supports:
        for uri, title, excerpt in sources:
            yield None, Citation(uri, title, excerpt)
    for support in supports:
        yield from _supported(support, sources, texts)
    cited = mapping(candidate.get("citationMetadata"))
    for said in map(mapping, items(cited.get("citationSources") or cited.get("citations"))):
        start, end = count(said.get("startIndex")) or 0, count(said.get("endIndex")) or 0
        part, first, last = texts.place(start, end, 0, "")
        yield part, Citation(text(said.get("uri")), text(said.get("title")), "", first, last)


def _supported(
    support: Mapping[str, Any], sources: Sequence[tuple[str, str, str]], texts: Texts
) -> Iterator[Cited]:
    segment = mapping(support.get("segment"))
    quoted = text(segment.get("text"))
    start, end = count(segment.get("startIndex")) or 0, count(segment.get("endIndex")) or 0
    position = count(segment.get("partIndex")) or 0
    part, first, last = texts.place(start, end, position, quoted)
    for index in items(support.get("groundingChunkIndices")):
        if type(index) is int and 0 <= index < len(sources):
            uri, title, excerpt = sources[index]
            yield part, Citation(uri, title, excerpt or quoted, first, last)


def _source(chunk: Mapping[str, Any]) -> tuple[str, str, str]:
    """Address, title and what was read there."""
    said = next((mapping(chunk[name]) for name in _SOURCES if chunk.get(name)), {})
    uri = next((text(said[name]) for name in _ADDRESSES if said.get(name)), "")
    return uri, text(said.get("title")), text(said.get("text"))

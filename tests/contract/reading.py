"""Reads streams with our decoder, as the adapter does."""

from recordings import sse

from llm_service.providers.chat.decoder import ChatDecoder
from llm_service.providers.fold import fold
from llm_service.providers.vendor import Reply


def decoder(*, marks_end: bool = True) -> ChatDecoder:
    return ChatDecoder("openai", Reply("", (), {}, ""), marks_end=marks_end)


def read(pieces, *, marks_end: bool = True) -> list:
    """The events of a stream that came in these pieces; raises its failure."""
    reader = decoder(marks_end=marks_end)
    events = []
    for piece in pieces:
        events += reader.feed(piece)
        if reader.done or reader.failure:
            break
    else:
        events += reader.end()
    if reader.failure is not None:
        raise reader.failure
    return events


def read_chunks(*chunks: bytes, done: bool = True):
    """The answer of a stream of these payloads."""
    return fold(read([sse(chunks, done=done)]))

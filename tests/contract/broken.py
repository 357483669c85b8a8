"""Ways in which a stream of a vendor can be broken, as hypothesis draws them; and its reading."""

import json

from growth import Stopwatch
from hypothesis import strategies as st

from llm_service.errors import GatewayError
from llm_service.providers.base import Ended
from llm_service.providers.vendor import Decoder, Reply

ODD_VALUES = [
    None, True, 0, -1, 1.5, 10**30, "", "text", [], {}, [None], [[]], [{}], {"": None}, "\ud800",
]  # fmt: skip
REPLY = Reply("", (), {}, "")


def read(decoder: Decoder, pieces) -> list:
    """The events of a stream that came in these pieces, as the adapter reads it."""
    events = []
    for piece in pieces:
        events += decoder.feed(piece)
        if decoder.done or decoder.failure:
            return events
    return events + decoder.end()


def read_safely(decoder: Decoder, pieces, *, whole: bool) -> list:
    """The same of anything: only a failure of ours may come, and soon."""
    watch = Stopwatch()
    events: list = []
    try:
        events = decoder.whole(b"".join(pieces)) if whole else read(decoder, pieces)
    except GatewayError as failure:
        decoder.failure = failure
    watch.assert_not_long()
    assert decoder.failure is None or isinstance(decoder.failure, GatewayError)
    ends = [number for number, event in enumerate(events) if isinstance(event, Ended)]
    assert ends in ([], [len(events) - 1])
    assert bool(ends) == decoder.done
    return events


@st.composite
def cut_and_spliced(draw, stream: bytes):
    """The bytes with slices taken out, doubled and put in."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(stream)))
        to = draw(st.integers(at, min(len(stream), at + 40)))
        put = draw(
            st.one_of(st.binary(max_size=8), st.just(stream[at:to] * 2), st.just(b"\r\n\r\n"))
        )
        stream = stream[:at] + put + stream[to:]
    pieces = draw(st.integers(1, 200))
    return [stream[n : n + pieces] for n in range(0, len(stream), pieces)]


@st.composite
def with_odd_values(draw, event: bytes):
    """One event's JSON with a value anywhere in it replaced."""
    said = json.loads(event)
    paths = list(_paths(said))
    for path in draw(st.lists(st.sampled_from(paths), min_size=1, max_size=3)):
        said = _put(said, path, draw(st.sampled_from(ODD_VALUES)))
    return json.dumps(said).encode()


def _paths(said, path=()):
    yield path
    pairs = (
        said.items()
        if isinstance(said, dict)
        else enumerate(said)
        if isinstance(said, list)
        else ()
    )
    for key, value in pairs:
        yield from _paths(value, (*path, key))


def _put(said, path, value):
    if not path:
        return value
    key, *rest = path
    try:
        inner = said[key]
    except (KeyError, IndexError, TypeError):
        return said
    changed = dict(said) if isinstance(said, dict) else list(said)
    changed[key] = _put(inner, tuple(rest), value)
    return changed

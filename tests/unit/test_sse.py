"""Server-sent events, however they are cut into reads."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.errors import ProviderProtocolError
from llm_service.providers import sse
from llm_service.providers.sse import EventReader


def read(*chunks: bytes) -> list[bytes]:
    reader = EventReader()
    events = [event for chunk in chunks for event in reader.feed(chunk)]
    return events + list(reader.end())


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        pytest.param(b"data: a\n\ndata: b\n\n", [b"a", b"b"], id="line feeds"),
        pytest.param(b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"], id="CR LF"),
        pytest.param(b"data: a\r\rdata: b\r\r", [b"a", b"b"], id="CR"),
        pytest.param(b"data:a\n\n", [b"a"], id="no space"),
        pytest.param(b"data:  a\n\n", [b" a"], id="only one space is taken off"),
        pytest.param(b"data: a\ndata: b\n\n", [b"a\nb"], id="several lines"),
        pytest.param(b"data\ndata: b\n\n", [b"\nb"], id="field without a colon"),
        pytest.param(b": ping\n\ndata: a\n\n:\n\n", [b"a"], id="comments"),
        pytest.param(b"event: x\nid: 1\nretry: 2\ndata: a\n\n", [b"a"], id="other fields"),
        pytest.param(b"event: ping\n\n", [], id="event without data"),
        pytest.param(b"\xef\xbb\xbfdata: a\n\n", [b"a"], id="byte order mark"),
        pytest.param(b"data: a\n\ndata: [DONE]", [b"a", b"[DONE]"], id="no end of the last line"),
        pytest.param(b"data: \xff\n\n", [b"\xff"], id="no UTF-8 is the business of the next"),
        pytest.param(b"\n\n\n", [], id="empty lines"),
        pytest.param(b"", [], id="nothing"),
    ],
)
def test_a_stream_holds_these_events_however_it_is_cut(stream, events):
    for cut in range(len(stream) + 1):
        assert read(stream[:cut], stream[cut:]) == events
    assert read(*(stream[i : i + 1] for i in range(len(stream)))) == events


@given(
    st.lists(st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), min_size=1)),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.lists(st.integers(0, 400)),
)
def test_any_text_comes_out_as_it_went_in(texts, end, cuts):
    stream = "".join(f"data: {text}{end}{end}" for text in texts).encode()
    marks = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]

    chunks = [stream[a:b] for a, b in itertools.pairwise(marks)]

    assert read(*chunks) == [text.encode() for text in texts]


@given(st.lists(st.binary()))
def test_no_bytes_break_the_reader(chunks):
    read(*chunks)


@pytest.mark.parametrize("line", [b"data: aaaa\n", b"aaaaaaaaaa"], ids=["many lines", "one line"])
def test_an_event_without_an_end_is_refused_before_it_fills_the_memory(line, monkeypatch):
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    reader = EventReader()

    with pytest.raises(ProviderProtocolError):
        list(itertools.chain.from_iterable(map(reader.feed, [line] * 1000)))


def test_an_event_that_comes_in_one_read_is_held_to_the_same_limit(monkeypatch):
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)

    with pytest.raises(ProviderProtocolError):
        read(b"data: " + b"a" * 1001 + b"\n\n")


def test_any_number_of_events_may_pass(monkeypatch):
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 20)

    assert read(*[b"data: 0123456789\n\n"] * 100) == [b"0123456789"] * 100

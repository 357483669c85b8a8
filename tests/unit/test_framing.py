"""Frames come back whole, those of builds before too, and what is not whole is none."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.domain.completion import TokenUsage
from llm_service.domain.usage import AttemptProgress
from llm_service.storage import frames
from llm_service.storage.framing import Frame, FrameKind, decoded, encoded, marked, unmarked
from tests.unit.test_journalled_ledger import opened, settled

KINDS = st.sampled_from(FrameKind)
IDS = st.text("0123456789abcdef-", min_size=1, max_size=36)


def before(kind, attempt_id, payload):
    """A frame as builds before wrote it."""
    rest = struct.pack(">B36s", kind, attempt_id.encode()) + payload
    return struct.pack(">II", len(payload), zlib.crc32(rest)) + rest


def every(data):
    """All frames, and where they end."""
    found, position = [], 0
    while True:
        one, position = decoded(data, position)
        if one is None:
            return found, position
        found.append(one)


@given(st.lists(st.builds(Frame, KINDS, st.binary(max_size=400))))
def test_frames_come_back_in_order(frames):
    data = b"".join(encoded(one.kind, one.payload) for one in frames)

    assert every(data) == (frames, len(data))


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65_535, 65_536, 5_000_000])
def test_a_payload_may_have_any_size(size):
    payload = b"x" * size

    assert every(encoded(FrameKind.SETTLED, payload))[0] == [Frame(FrameKind.SETTLED, payload)]


@given(KINDS, st.binary(min_size=30, max_size=600), st.data())
def test_a_frame_with_a_byte_changed_is_none(kind, payload, data):
    whole = bytearray(encoded(kind, payload))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))

    assert decoded(bytes(whole), 0) == (None, 0)


@given(KINDS, st.text(min_size=30, max_size=400).map(str.encode), st.data())
def test_a_frame_whose_end_the_disk_did_not_get_is_none(kind, payload, data):
    whole = encoded(kind, payload + b"end")
    kept = whole[: data.draw(st.integers(0, len(whole) - 1))]

    for left in (kept, kept.ljust(len(whole), b"\0"), kept + bytes(4096)):
        assert decoded(left, 0) == (None, 0)


@given(st.binary(max_size=200))
def test_whatever_is_no_frame_is_none(data):
    assert decoded(data + b"\0", 0)[0] is None


@given(KINDS, IDS, st.binary(min_size=1, max_size=300))
def test_frames_of_builds_before_are_read(kind, attempt_id, payload):
    holds_id = kind != FrameKind.PROGRESS
    expected = Frame(kind, payload if holds_id else marked(attempt_id, payload))
    data = before(kind, attempt_id, payload)
    mark = before(FrameKind.DIALLED, attempt_id, b"")

    assert every(data + mark + encoded(kind, payload)) == (
        [expected, Frame(FrameKind.DIALLED, marked(attempt_id)), Frame(kind, payload)],
        len(data + mark + encoded(kind, payload)),
    )
    assert decoded(data[:-1], 0) == (None, 0)
    assert decoded(data[:-1] + bytes([data[-1] ^ 1]), 0) == (None, 0)


@given(IDS, st.binary(max_size=100))
def test_a_mark_tells_whose_it_is_and_what_is_behind_it(attempt_id, payload):
    assert unmarked(marked(attempt_id, payload)) == (attempt_id, payload)


def test_what_is_longer_than_an_id_marks_nothing():
    with pytest.raises(ValueError, match="no attempt"):
        marked("a" * 37)


@given(st.integers(1, 4), st.booleans(), st.lists(st.booleans(), min_size=4, max_size=4))
def test_an_attempt_is_read_whichever_build_wrote_what_of_it(stage, at_once, builds):
    attempt, record = opened("a"), settled("a")
    so_far = AttemptProgress(TokenUsage(5, 6), 1.5)
    marks = [
        (FrameKind.DIALLED if at_once else FrameKind.OPENED, frames.opened(attempt), b""),
        (FrameKind.DIALLED, b"", marked("a")),
        (FrameKind.PROGRESS, frames.progress(so_far), marked("a")),
        (FrameKind.SETTLED, frames.settled(record), b""),
    ]
    data = b"".join(
        before(kind, "a", payload) if earlier else encoded(kind, mark + payload)
        for (kind, payload, mark), earlier in zip(marks[:stage], builds, strict=False)
    )

    found = frames.replay(every(data)[0])

    assert found.unreadable == 0
    if stage == 4:
        assert (found.settled, found.unsettled) == ((record,), ())
    else:
        [one] = found.unsettled
        assert one.opened == attempt
        assert one.dialled == (at_once or stage > 1)
        assert one.progress == (so_far if stage > 2 else None)

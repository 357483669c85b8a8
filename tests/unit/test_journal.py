"""The journal keeps what was appended, tells what it could not keep, and shrinks again."""

import asyncio
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.storage import journal as module
from llm_service.storage.framing import Frame, FrameKind, encoded, marked, unmarked
from llm_service.storage.journal import Journal, JournalFull, orphans

MUCH = 1 << 30


def frame(kind, number, payload=b""):
    return Frame(kind, marked(str(number), payload))


def opened(number, payload=b"x"):
    return frame(FrameKind.OPENED, number, payload)


def put(journal: Journal, *frames: Frame) -> None:
    """All of one attempt."""
    data = b"".join(encoded(one.kind, one.payload) for one in frames)
    journal.append(unmarked(frames[0].payload)[0], data)


def died(journal: Journal) -> None:
    """What the end of a process does to its journal: the lock is gone, the files stay."""
    os.close(journal._lock)
    journal._syncs.close()
    os.close(journal._segments[-1].descriptor)


def found(folder):
    """The frames of every journal left behind, one list each."""
    every = []
    for orphan in orphans(folder):
        every.append(list(orphan.frames()))
        orphan.release()
    return every


def segments(folder):
    return sorted(folder.glob("*/*.segment"))


@given(
    st.lists(
        st.builds(
            frame,
            st.sampled_from(FrameKind),
            st.text("0123456789abcdef-", min_size=1, max_size=36),
            st.binary(max_size=300),
        ),
        max_size=30,
    )
)
def test_what_was_appended_is_found_in_order_after_the_process_died(tmp_path_factory, frames):
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal.open(folder, MUCH)
    for frame in frames:
        put(journal, frame)
    died(journal)

    assert found(folder) == [frames]


def test_a_journal_that_ends_anywhere_gives_every_frame_before(tmp_path):
    journal = Journal.open(tmp_path, MUCH)
    frames = [opened(number, b"p" * number) for number in range(5)]
    ends = []
    for frame in frames:
        put(journal, frame)
        ends.append(journal._segments[-1].size)
    died(journal)
    [path] = segments(tmp_path)
    data = path.read_bytes()

    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        [left] = found(tmp_path)
        assert left == frames[: sum(end <= size for end in ends)]


def test_a_bit_that_flipped_hides_its_frame_and_says_so(tmp_path):
    journal = Journal.open(tmp_path, MUCH)
    put(journal, opened(1))
    whole = journal._segments[-1].size
    put(journal, opened(2))
    died(journal)
    [path] = segments(tmp_path)
    data = path.read_bytes()

    for bit in range(whole * 8, len(data) * 8):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        path.write_bytes(broken)
        [orphan] = orphans(tmp_path)
        assert list(orphan.frames()) == [opened(1)]
        assert orphan.damaged
        orphan.release()


def test_a_living_process_keeps_its_journal_to_itself(tmp_path):
    journal = Journal.open(tmp_path, MUCH)
    put(journal, opened(1))

    assert found(tmp_path) == []
    died(journal)
    assert found(tmp_path) == [[opened(1)]]


def test_a_journal_nobody_needs_is_gone_once_it_is_closed(tmp_path):
    journal = Journal.open(tmp_path, MUCH)
    put(journal, opened(1))
    journal.forget(["1"])
    journal.close()

    assert list(tmp_path.iterdir()) == []


def test_a_journal_that_is_needed_outlives_its_closing(tmp_path):
    journal = Journal.open(tmp_path, MUCH)
    put(journal, opened(1))
    journal.close()

    assert found(tmp_path) == [[opened(1)]]


def test_a_full_journal_says_so_writes_nothing_and_takes_frames_again_once_some_are_stored(
    tmp_path,
):
    journal = Journal.open(tmp_path, 1000)
    number = 1000 // (45 + 50)
    for one in range(number):
        put(journal, opened(one, b"x" * 50))
    with pytest.raises(JournalFull):
        put(journal, opened(number, b"x" * 50))
    assert 0.9 < journal.fill <= 1
    assert journal.attempts == number

    journal.forget(str(one) for one in range(number))
    assert journal.fill == 0
    put(journal, opened("again"))
    died(journal)

    assert found(tmp_path) == [[opened("again")]]


def test_a_segment_goes_when_the_last_attempt_in_it_is_stored(tmp_path):
    journal = Journal.open(tmp_path, 1600)  # segments of 200 bytes
    for number in range(4):
        put(journal, opened(number, b"x" * 100))
    put(journal, frame(FrameKind.SETTLED, 0, b"x" * 100))
    before = len(segments(tmp_path))

    journal.forget(["1", "2"])
    between = len(segments(tmp_path))
    journal.forget(["0", "3"])

    assert (before, between, len(segments(tmp_path))) == (5, 3, 1)
    journal.close()


def test_a_journal_that_no_attempt_needs_is_emptied_and_goes_on_in_its_file(tmp_path):
    journal = Journal.open(tmp_path, MUCH)
    before = segments(tmp_path)
    for number in range(3):
        put(journal, opened(number, b"x" * 100))
    journal.forget(["0", "1", "2"])
    emptied = [path.stat().st_size for path in segments(tmp_path)]
    put(journal, opened("next"))
    died(journal)

    assert (segments(tmp_path), emptied) == (before, [0])
    assert found(tmp_path) == [[opened("next")]]


def test_a_journal_that_cannot_be_emptied_keeps_what_it_holds(tmp_path, monkeypatch):
    journal = Journal.open(tmp_path, MUCH)
    put(journal, opened(1))
    filled = journal.fill

    def refused(_descriptor, _size):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "ftruncate", refused)
    journal.forget(["1"])
    monkeypatch.undo()
    put(journal, opened(2))
    assert (journal.attempts, journal.fill) == (1, 2 * filled)
    died(journal)

    assert found(tmp_path) == [[opened(1), opened(2)]]


async def test_what_is_appended_to_an_emptied_journal_is_waited_for(tmp_path):
    journal = Journal.open(tmp_path, MUCH)
    put(journal, opened(1, b"x" * 100))
    await journal.synced()
    journal.forget(["1"])
    put(journal, opened(2))
    await journal.synced()
    died(journal)

    assert found(tmp_path) == [[opened(2)]]


def test_a_disk_that_is_full_leaves_no_part_of_a_frame(tmp_path, monkeypatch):
    journal = Journal.open(tmp_path, MUCH)
    put(journal, opened(1))
    real = os.write
    monkeypatch.setattr(os, "write", lambda to, data: real(to, data[: len(data) // 2]))
    with pytest.raises(JournalFull):
        put(journal, opened(2))
    monkeypatch.undo()
    put(journal, opened(3))
    died(journal)

    assert found(tmp_path) == [[opened(1), opened(3)]]


def test_a_disk_that_fails_is_told_as_a_journal_that_cannot_be_written(tmp_path, monkeypatch):
    journal = Journal.open(tmp_path, MUCH)

    def broken(to, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", broken)
    with pytest.raises(JournalFull):
        put(journal, opened(1))
    monkeypatch.undo()
    journal.close()


async def test_those_who_wait_together_are_served_by_one_call_to_the_disk(tmp_path, monkeypatch):
    journal = Journal.open(tmp_path, MUCH)
    calls = []
    real = os.fdatasync
    monkeypatch.setattr(module.os, "fdatasync", lambda fd: (calls.append(fd), real(fd)))

    async def one(number):
        put(journal, opened(number))
        await journal.synced()

    await asyncio.gather(*(one(number) for number in range(50)))
    await journal.synced()

    assert 1 <= len(calls) <= 2
    journal.close()


async def test_a_disk_that_fails_to_synchronise_fails_everybody_who_waits(tmp_path, monkeypatch):
    journal = Journal.open(tmp_path, MUCH)

    def broken(descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(module.os, "fdatasync", broken)
    put(journal, opened(1))
    with pytest.raises(OSError, match="output"):
        await journal.synced()
    monkeypatch.undo()

    await journal.synced()
    journal.close()


async def test_a_caller_who_leaves_takes_nobody_elses_wait_along(tmp_path):
    journal = Journal.open(tmp_path, MUCH)
    put(journal, opened(1))
    leaving = asyncio.create_task(journal.synced())
    staying = asyncio.create_task(journal.synced())
    await asyncio.sleep(0)
    leaving.cancel()

    await staying

    assert leaving.cancelled() or leaving.done()
    journal.close()


async def test_segments_that_were_left_behind_are_synchronised_too(tmp_path, monkeypatch):
    journal = Journal.open(tmp_path, 1600)
    calls = []
    real = os.fdatasync
    monkeypatch.setattr(module.os, "fdatasync", lambda fd: (calls.append(fd), real(fd)))
    for number in range(3):
        put(journal, opened(number, b"x" * 100))

    await journal.synced()

    assert len(calls) == 3
    journal.close()


def no_descriptors(*_):
    raise OSError(24, "Too many open files")


async def test_a_segment_that_cannot_be_made_refuses_the_frame_and_keeps_the_last(
    tmp_path, monkeypatch
):
    journal = Journal.open(tmp_path, 1600)
    put(journal, opened(1, b"x" * 100))
    monkeypatch.setattr(module.os, "open", no_descriptors)
    with pytest.raises(JournalFull):
        put(journal, opened(2, b"x" * 100))
    monkeypatch.undo()

    await journal.synced()
    put(journal, opened(3, b"x"))
    died(journal)

    assert found(tmp_path) == [[opened(1, b"x" * 100), opened(3, b"x")]]


def test_a_frame_that_stays_cut_hides_none_that_follow(tmp_path, monkeypatch):
    journal = Journal.open(tmp_path, MUCH)
    put(journal, opened(1))
    real = os.write

    def broken(descriptor, size):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "write", lambda to, data: real(to, data[: len(data) // 2]))
    monkeypatch.setattr(os, "ftruncate", broken)
    with pytest.raises(JournalFull):
        put(journal, opened(2))
    monkeypatch.undo()
    put(journal, opened(3))
    died(journal)

    assert found(tmp_path) == [[opened(1), opened(3)]]


async def test_what_follows_a_failed_synchronisation_is_on_files_of_its_own(tmp_path, monkeypatch):
    journal = Journal.open(tmp_path, MUCH)

    def broken(descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(module.os, "fdatasync", broken)
    put(journal, opened(1))
    with pytest.raises(OSError, match="output"):
        await journal.synced()
    monkeypatch.undo()
    put(journal, opened(2))
    await journal.synced()

    assert len(segments(tmp_path)) == 2
    journal.close()


def test_a_journal_that_is_closed_takes_nothing(tmp_path):
    journal = Journal.open(tmp_path, MUCH)
    journal.close()

    with pytest.raises(JournalFull):
        put(journal, opened(1))


def test_a_journal_of_another_life_of_the_machine_is_told_apart(tmp_path, monkeypatch):
    died(Journal.open(tmp_path, MUCH))
    [here] = orphans(tmp_path)
    here.release()
    monkeypatch.setattr(module, "_boot", lambda: b"another")
    [elsewhere] = orphans(tmp_path)
    elsewhere.release()

    assert (here.machine_died, elsewhere.machine_died) == (False, True)


async def test_frames_that_are_appended_together_are_written_together_or_not_at_all(
    tmp_path, monkeypatch
):
    journal = Journal.open(tmp_path, MUCH)
    pair = (opened(1), frame(FrameKind.DIALLED, 1))
    sizes = []
    real = os.write
    monkeypatch.setattr(os, "write", lambda to, data: sizes.append(len(data)) or real(to, data))
    put(journal, *pair)
    assert len(sizes) == 1
    monkeypatch.setattr(os, "write", lambda to, data: real(to, data[: len(data) - 1]))
    with pytest.raises(JournalFull):
        put(journal, opened(2), frame(FrameKind.DIALLED, 2))
    monkeypatch.undo()
    died(journal)

    assert found(tmp_path) == [list(pair)]

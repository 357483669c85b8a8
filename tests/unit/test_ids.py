"""Identifiers are UUIDs of version 7: unique, and in the order of their milliseconds."""

import os
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.gateway import ids

MILLISECOND = 1_000_000


@pytest.fixture
def clock(monkeypatch):
    """Sets what the clock says, in milliseconds since 1970."""

    def set_to(milliseconds):
        monkeypatch.setattr(ids.time, "time_ns", lambda: milliseconds * MILLISECOND)

    return set_to


def test_an_id_is_a_uuid_of_version_7():
    made = uuid.UUID(ids.new_id())

    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert str(made) == str(made).lower()


def test_an_id_begins_with_its_millisecond(clock):
    clock(0x0123456789AB)

    assert ids.new_id().startswith("01234567-89ab-7")


@given(st.lists(st.integers(0, 2**48 - 1), min_size=2, max_size=2, unique=True))
def test_ids_sort_as_text_by_their_millisecond(moments):
    with pytest.MonkeyPatch.context() as patch:
        made = []
        for moment in sorted(moments):
            patch.setattr(ids.time, "time_ns", lambda moment=moment: moment * MILLISECOND)
            made.append(ids.new_id())

    assert made == sorted(made)


def test_ids_of_one_millisecond_differ(clock):
    clock(1)

    assert len({ids.new_id() for _ in range(1000)}) == 1000


def test_a_forked_process_makes_other_ids_than_its_parent(clock):
    clock(1)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, ids.new_id().encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        assert pipe.read() != ids.new_id()

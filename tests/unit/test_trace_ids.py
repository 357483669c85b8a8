"""Every call has a trace id: the one it came with, or one of its own."""

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.telemetry import Telemetry
from tests.unit.test_telemetry import METHOD, NOBODY, Collected


@pytest.mark.parametrize("exporting", [False, True], ids=["off", "on"])
def test_every_call_without_a_parent_has_a_trace_id_of_its_own(exporting):
    telemetry = Collected().telemetry if exporting else Telemetry.start(service_version="1")

    seen = set()
    for _ in range(200):
        with telemetry.server_call(METHOD) as call:
            seen.add(call.trace_id)

    assert len(seen) == 200
    assert NOBODY not in seen
    assert all(re.fullmatch("[0-9a-f]{32}", trace_id) for trace_id in seen)


def test_a_forked_process_makes_other_trace_ids_than_its_parent():
    telemetry = Telemetry.start(service_version="1")

    def new():
        with telemetry.server_call(METHOD) as call:
            return call.trace_id

    new()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, "".join(new() for _ in range(70)).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        theirs = pipe.read()
    assert len(theirs) == 70 * 32
    assert not any(new() in theirs for _ in range(70))


@given(st.text(max_size=80))
def test_a_trace_header_that_is_no_trace_is_ignored(header):
    telemetry = Telemetry.start(service_version="1")

    with telemetry.server_call(METHOD, (("traceparent", header),)) as call:
        assert len(call.trace_id) == 32
        assert call.trace_id != NOBODY

"""Timestamps keep every microsecond they are given, durations every nanosecond."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from llm_service.rpc.convert.times import from_duration, from_timestamp, to_duration, to_timestamp

ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=ZONES)  # noqa: DTZ001


@given(MOMENTS)
def test_a_moment_comes_back_from_its_timestamp_in_utc(moment):
    back = from_timestamp(to_timestamp(moment))

    assert back == moment
    assert back.tzinfo is UTC


@given(MOMENTS)
def test_a_timestamps_fraction_is_never_negative(moment):
    timestamp = to_timestamp(moment)

    assert 0 <= timestamp.nanos < 1_000_000_000
    assert timestamp.ToDatetime(UTC) == moment


def test_nanoseconds_below_a_microsecond_are_cut_off():
    assert from_timestamp(Timestamp(seconds=1, nanos=1_999)) == datetime(
        1970, 1, 1, 0, 0, 1, 1, tzinfo=UTC
    )


def test_a_timestamp_no_calendar_has_overflows():
    with pytest.raises(OverflowError):
        from_timestamp(Timestamp(seconds=2**60))


@given(st.floats(-1e6, 1e6))
def test_seconds_come_back_from_their_duration_to_the_nanosecond(seconds):
    assert from_duration(to_duration(seconds)) == pytest.approx(seconds, abs=1e-9)


@given(st.floats(-1e6, 1e6))
def test_both_halves_of_a_duration_have_its_sign(seconds):
    duration = to_duration(seconds)

    assert duration.seconds * duration.nanos >= 0
    assert abs(duration.nanos) < 1_000_000_000


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        pytest.param(0.0, Duration(), id="zero"),
        pytest.param(1.5, Duration(seconds=1, nanos=500_000_000), id="one and a half"),
        pytest.param(-1.5, Duration(seconds=-1, nanos=-500_000_000), id="negative"),
        pytest.param(0.9999999999, Duration(seconds=1), id="rounded up to a whole second"),
    ],
)
def test_a_duration_is_whole_seconds_and_nanoseconds(seconds, expected):
    assert to_duration(seconds) == expected

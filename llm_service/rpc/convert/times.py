"""Protobuf's timestamps and durations <-> aware datetimes (UTC) and seconds."""

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_timestamp(moment: datetime) -> Timestamp:
    microseconds = (moment - _EPOCH) // _MICROSECOND
    seconds, rest = divmod(microseconds, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def from_timestamp(timestamp: Timestamp) -> datetime:
    return _EPOCH + timedelta(seconds=timestamp.seconds, microseconds=timestamp.nanos // 1000)


def to_duration(seconds: float) -> Duration:
    nanos = round(seconds * 1_000_000_000)
    whole, rest = divmod(abs(nanos), 1_000_000_000)
    sign = -1 if nanos < 0 else 1
    return Duration(seconds=sign * whole, nanos=sign * rest)


def from_duration(duration: Duration) -> float:
    """Seconds."""
    return duration.seconds + duration.nanos / 1_000_000_000

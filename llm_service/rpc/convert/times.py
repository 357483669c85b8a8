"""Protobuf's timestamps and durations <-> aware datetimes (UTC) and seconds."""

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_SECONDS = 86_400
_NANOS = 1_000_000_000


def to_timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    fill_timestamp(timestamp, moment)
    return timestamp


def fill_timestamp(timestamp: Timestamp, moment: datetime) -> None:
    """Write into a message in its place: one made apart would be copied there."""
    since = moment - _EPOCH
    timestamp.seconds = since.days * _DAY_SECONDS + since.seconds
    timestamp.nanos = since.microseconds * 1000


def from_timestamp(timestamp: Timestamp) -> datetime:
    return _EPOCH + timedelta(seconds=timestamp.seconds, microseconds=timestamp.nanos // 1000)


def to_duration(seconds: float) -> Duration:
    duration = Duration()
    fill_duration(duration, seconds)
    return duration


def fill_duration(duration: Duration, seconds: float) -> None:
    """As `fill_timestamp`."""
    nanos = round(seconds * _NANOS)
    whole, rest = divmod(abs(nanos), _NANOS)
    duration.seconds = whole if nanos >= 0 else -whole
    duration.nanos = rest if nanos >= 0 else -rest


def from_duration(duration: Duration) -> float:
    """Seconds."""
    return duration.seconds + duration.nanos / _NANOS

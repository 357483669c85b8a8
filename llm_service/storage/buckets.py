"""Calendar buckets: where hours, days, weeks and months begin in a time zone."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

from llm_service.domain.usage import TimeBucket
from llm_service.errors import InvalidField, Violation

MAX_BUCKETS = 10_000
"""More than a year of hours."""

LAST_YEAR = 9990
"""Calendar arithmetic needs room after it."""

Bucket = tuple[datetime, datetime]

_LONGEST = {
    TimeBucket.HOUR: timedelta(hours=3),
    TimeBucket.DAY: timedelta(days=4),
    TimeBucket.WEEK: timedelta(days=16),
    TimeBucket.MONTH: timedelta(days=64),
}
"""At least two of each, however clocks are changed: from there on a whole one begins."""


def zone(name: str) -> ZoneInfo:
    """The IANA time zone of that name.

    Raises:
        InvalidField: there is none.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # absent; malformed; a folder of the database
        raise InvalidField(Violation("time_zone", "is not the name of an IANA zone")) from None


def cut(start: datetime, end: datetime, bucket: TimeBucket | None, where: ZoneInfo) -> list[Bucket]:
    """The buckets that make up [start, end), the first and the last cut to it. UTC.

    A local hour or midnight that a clock change skips begins at the change; one that it repeats
    begins the first time. Weeks begin on Monday.

    Raises:
        InvalidField: it ends too late, or there are more than `MAX_BUCKETS`.
    """
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    if end.year > LAST_YEAR:
        raise InvalidField(Violation("end_time", f"is after the year {LAST_YEAR}"))
    if bucket is None:
        return [(start, end)]
    inner = takewhile(lambda boundary: boundary < end, _boundaries(start, bucket, where))
    edges = [start, *islice(inner, MAX_BUCKETS)]
    if len(edges) > MAX_BUCKETS:
        raise InvalidField(Violation("time_bucket", f"makes more than {MAX_BUCKETS} buckets"))
    return list(pairwise([*edges, end]))


def around(moment: datetime, bucket: TimeBucket, where: ZoneInfo) -> Bucket:
    """The bucket that `moment` is in, whole: [start, end), UTC. As `cut` cuts them."""
    moment = moment.astimezone(UTC)
    start = moment
    for boundary in _boundaries(moment - _LONGEST[bucket], bucket, where):
        if boundary > moment:
            return start, boundary
        start = boundary
    raise AssertionError  # boundaries have no end


def _boundaries(after: datetime, bucket: TimeBucket, where: ZoneInfo) -> Iterator[datetime]:
    """Every boundary later than `after`, in order, without end."""
    if bucket is TimeBucket.HOUR:
        return _hours(after, where)
    return _midnights(after, bucket, where)


def _midnights(after: datetime, bucket: TimeBucket, where: ZoneInfo) -> Iterator[datetime]:
    day = _first_day(after.astimezone(where).date(), bucket)
    while True:
        day = _next(day, bucket)
        boundary = datetime.combine(day, time(), where).astimezone(UTC)
        if boundary > after:  # a zone that crosses the date line skips a day: it begins and is over
            yield boundary
            after = boundary


def _hours(after: datetime, where: ZoneInfo) -> Iterator[datetime]:
    while True:
        local = after.astimezone(where)
        gone = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
        after += timedelta(hours=1) - gone
        yield after


def _first_day(day: date, bucket: TimeBucket) -> date:
    if bucket is TimeBucket.WEEK:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if bucket is TimeBucket.MONTH else day


def _next(day: date, bucket: TimeBucket) -> date:
    if bucket is TimeBucket.MONTH:
        return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    return day + timedelta(days=7 if bucket is TimeBucket.WEEK else 1)

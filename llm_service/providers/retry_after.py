"""How long a vendor asks us to wait."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_SECONDS = 3600.0
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")


def retry_delay(headers: Mapping[str, str]) -> float | None:
    """Seconds, at most `MAX_SECONDS`, by `retry-after-ms` or `retry-after`; None: no good word.

    Args:
        headers: a response's, with lower-case names.
    """
    milliseconds = headers.get("retry-after-ms", "").strip()
    if _NUMBER.fullmatch(milliseconds):
        return min(float(milliseconds) / 1000, MAX_SECONDS)
    said = headers.get("retry-after", "").strip()
    if _NUMBER.fullmatch(said):
        return min(float(said), MAX_SECONDS)
    return _until(said)


def _until(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(seconds, 0.0), MAX_SECONDS)

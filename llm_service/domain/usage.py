"""What calls used and cost."""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum

from llm_service.domain.completion import (
    Attempt,
    Attribution,
    FinishReason,
    ServedBy,
    TokenUsage,
)
from llm_service.domain.provider import Price
from llm_service.domain.value import value


class Operation(StrEnum):
    """What an attempt was for, in OpenTelemetry's words."""

    CHAT = "chat"
    EMBEDDINGS = "embeddings"


class UsageSource(StrEnum):
    """The evidence that an attempt's usage was settled from, best first."""

    PROVIDER = "provider"
    """The provider's own final counts."""
    PROGRESS = "progress"
    """The provider's counts of a stream that ended without one: said on the way, or asked for
    afterwards, or the tokens it showed, counted.
    """
    ESTIMATE = "estimate"
    """Our own count of what went over and came back, or of some of it."""


ABANDONED = "ABANDONED"
"""The error reason of a record whose process died: somebody else closed it."""


@value
class OpenedAttempt:
    """What is known of an attempt before it is dialled: enough to close it without its process."""

    attempt_id: str
    completion_id: str
    attribution: Attribution
    target: ServedBy
    start_time: datetime
    operation: Operation
    trace_id: str = ""
    input_tokens: int = 0
    """An estimate of the whole input."""
    price: Price | None = None
    """What it will be charged at; None: unknown."""
    budget_time: datetime | None = None
    """As in `UsageRecord`."""


@value
class AttemptProgress:
    """What an attempt has used so far, `elapsed` seconds from its start. Later ones replace it."""

    usage: TokenUsage
    elapsed: float


@value
class UsageRecord:
    """One per upstream attempt, immutable. `record_id` is unique, a UUIDv7 text.

    It sorts by the time the record was stored at, or up to a second before.

    `error_reason` "": the attempt served. "CANCELLED" and "DEADLINE_EXCEEDED" stand for a caller
    who left and a caller's deadline that passed, ABANDONED for a process that died; every other
    value is an `ErrorReason`. `usage_source` None: there is no usage.
    """

    record_id: str
    completion_id: str
    attribution: Attribution
    attempt: Attempt
    create_time: datetime
    finish_reason: FinishReason | None = None
    error_reason: str = ""
    trace_id: str = ""
    first_token: float | None = None
    """Seconds from the attempt's start to its first content."""
    operation: Operation = Operation.CHAT
    usage_source: UsageSource | None = None
    attempt_id: str = ""
    """Unique; made when the attempt was opened, so that it is settled once, whoever does it."""
    budget_time: datetime | None = None
    """When budgets let it through, by the database's clock; None: there were none."""

    @property
    def charge_time(self) -> datetime:
        """Which decides the windows of budgets it counts in."""
        return self.budget_time or self.attempt.start_time


class TimeBucket(StrEnum):
    """Calendar length of a report's rows."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@value
class UsageQuery:
    """start_time <= t < end_time. `group_by` holds dimension names; `filters` equal-to conditions.

    `tenant` None: all tenants. `time_zone` is an IANA name.
    """

    tenant: str | None
    start_time: datetime
    end_time: datetime
    time_bucket: TimeBucket | None = None
    time_zone: str = "UTC"
    group_by: tuple[str, ...] = ()
    filters: Mapping[str, str] = field(default_factory=dict)


@value
class UsageMetrics:
    """Sums over attempts; `request_count` counts distinct completions. Durations in seconds."""

    request_count: int = 0
    error_count: int = 0
    fallback_count: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_write_input_tokens: int = 0
    cache_write_1h_input_tokens: int = 0
    reasoning_output_tokens: int = 0
    cost_nano_usd: int = 0
    failed_attempt_nano_usd: int = 0
    unpriced_request_count: int = 0
    reported_nano_usd: int = 0
    reported_difference_nano_usd: int = 0
    duration_p50: float | None = None
    duration_p95: float | None = None
    first_token_p50: float | None = None
    first_token_p95: float | None = None


@value
class UsageRow:
    """One bucket of one combination of dimensions."""

    bucket_start_time: datetime
    bucket_end_time: datetime
    dimensions: Mapping[str, str]
    metrics: UsageMetrics

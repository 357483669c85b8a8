"""What calls used."""

from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Index,
    Integer,
    LargeBinary,
    Table,
)
from sqlalchemy.types import TypeEngine

from llm_service.storage.tables.columns import ID, METADATA, RESOURCE_NAME, UUID, Json, Time, string

# On PostgreSQL a table of months, by start_time, which therefore is in every unique index. Whoever
# settles an attempt knows the same one, so that an attempt still has one row.
usage_records = Table(
    "usage_records",
    METADATA,
    Column("record_id", string(UUID), primary_key=True),
    Column("completion_id", string(ID), nullable=False),
    Column("create_time", Time, nullable=False),
    Column("tenant", string(ID), nullable=False),
    Column("agent", string(ID), nullable=False),
    Column("user_id", string(ID), nullable=False),  # a bare `user` is a function in PostgreSQL
    Column("interaction", string(ID), nullable=False),
    Column("session", string(ID), nullable=False),
    Column("labels", Json, nullable=False),
    Column("provider", string(RESOURCE_NAME), nullable=False),
    Column("model", string(RESOURCE_NAME), nullable=False),
    Column("credential", string(RESOURCE_NAME), nullable=False),
    Column("provider_model", string(256), nullable=False),
    Column("provider_request_id", string(256), nullable=False),
    Column("model_config", string(RESOURCE_NAME), nullable=False),
    Column("start_time", Time, nullable=False),
    Column("duration_us", BigInteger, nullable=False),
    Column("first_token_us", BigInteger),
    Column("finish_reason", string(32)),
    Column("error_reason", string(64), nullable=False),
    # The attempt's CallError; attempt_error_reason is NULL when it has none.
    Column("attempt_error_reason", string(64)),
    Column("error_message", string(512), nullable=False),
    Column("retry_delay_us", BigInteger),
    Column("http_status", Integer, nullable=False),
    Column("provider_code", string(64), nullable=False),
    # TokenUsage; all NULL when there is none.
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("cache_read_input_tokens", BigInteger),
    Column("cache_write_input_tokens", BigInteger),
    Column("cache_write_1h_input_tokens", BigInteger),  # NULL in rows older than the column, too
    Column("reasoning_output_tokens", BigInteger),
    Column("modality_tokens", Json),
    Column("provider_tool_uses", Json),  # NULL in rows older than the column, too
    Column("usage_estimated", Boolean),
    # Cost. cost_incomplete NULL: nothing was billed. cost_nano_usd NULL: nothing is known of it.
    Column("cost_nano_usd", BigInteger),
    Column("cost_items", Json),
    Column("price_version", string(128)),
    Column("cost_estimated", Boolean),
    Column("cost_incomplete", Boolean),
    Column("price_effective_time", Time),  # NULL: the price does not say; older rows, too
    Column("reported_nano_usd", BigInteger),  # NULL: the provider did not say; older rows, too
    Column("trace_id", string(32), nullable=False),
    # The default is for replicas of an earlier release, which knew no other operation.
    Column("operation", string(32), nullable=False, server_default="chat"),
    # Both NULL in rows of earlier releases; usage_source also where nothing was used.
    Column("attempt_id", string(UUID)),
    Column("usage_source", string(16)),
    Column("budget_time", Time),  # NULL: no budget was there, or an earlier release wrote it
    Index(None, "tenant", "create_time", "record_id"),
    Index(None, "create_time", "record_id"),
    Index(None, "completion_id"),
    Index(None, "attempt_id", "start_time", unique=True),
)

ATTEMPT_SUMS = (
    "attempt_count",
    "error_count",
    "fallback_count",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_write_input_tokens",
    "cache_write_1h_input_tokens",
    "reasoning_output_tokens",
    "cost_nano_usd",
    "failed_attempt_nano_usd",
    "reported_nano_usd",
    "reported_difference_nano_usd",
)

CALL_COUNTS = (
    # Calls that had an attempt in the cell; by provider and in all, each is in one of its cells.
    "call_count",
    "provider_call_count",
    "model_call_count",
    "unpriced_call_count",
    "unpriced_provider_call_count",
    "unpriced_model_call_count",
)

SUMS = (*ATTEMPT_SUMS, *CALL_COUNTS)
"""What is added up of a day's attempts."""

_CELL = BigInteger().with_variant(Integer, "sqlite")


def _list(of: type[Integer]) -> TypeEngine[Any]:
    return ARRAY(of).with_variant(JSON(), "sqlite")  # where it stays empty


# Kept by triggers on usage_records, within the transaction that inserts.
usage_days = Table(
    "usage_days",
    METADATA,
    Column("cell", _CELL, primary_key=True),
    Column("day", Date, nullable=False),  # of create_time, in UTC
    Column("tenant", string(ID), nullable=False),
    Column("agent", string(ID), nullable=False),
    Column("interaction", string(ID), nullable=False),
    Column("operation", string(32), nullable=False),
    Column("provider", string(RESOURCE_NAME), nullable=False),
    Column("model", string(RESOURCE_NAME), nullable=False),
    *(Column(name, BigInteger, nullable=False) for name in SUMS),
    Index(
        "ix_usage_days_cell",
        "tenant",
        "day",
        "agent",
        "interaction",
        "operation",
        "provider",
        "model",
        unique=True,
    ),
    Index(None, "day"),
)

# How many attempts of a cell that served took about so long; see storage/durations.py.
usage_day_durations = Table(
    "usage_day_durations",
    METADATA,
    Column("cell", _CELL, primary_key=True, autoincrement=False),
    Column("rounded_us", BigInteger, primary_key=True, autoincrement=False),
    Column("duration_count", BigInteger, nullable=False),
    Column("first_token_count", BigInteger, nullable=False),
)

# A call counts in the part of its first attempt of the day, and in that of its last.
PART_CALL_COUNTS = tuple(f"{end}_{name}" for end in ("first", "last") for name in CALL_COUNTS)

PART_SUMS = (*ATTEMPT_SUMS, *PART_CALL_COUNTS)
"""What is added up of a part of a day."""

# Made in the background on PostgreSQL, of days that are over: see storage/part_sums.py.
usage_day_parts = Table(
    "usage_day_parts",
    METADATA,
    Column("tenant", string(ID), primary_key=True),  # "*": all of them together
    Column("day", Date, primary_key=True),  # of create_time, in UTC
    Column("minute", Integer, primary_key=True, autoincrement=False),  # at which the part begins
    Column("provider", string(RESOURCE_NAME), primary_key=True),
    Column("model", string(RESOURCE_NAME), primary_key=True),
    *(Column(name, BigInteger, nullable=False) for name in PART_SUMS),
    # How many attempts that served took about so long, in three lists side by side.
    Column("rounded_us", _list(BigInteger), nullable=False),
    Column("duration_counts", _list(Integer), nullable=False),
    Column("first_token_counts", _list(Integer), nullable=False),
    # Attempts of this day and of those before that these may follow, when the row was made.
    Column("nearby_count", BigInteger, nullable=False),
)

# One row: from which day on all attempts are summed up, and all records are still there.
usage_bounds = Table(
    "usage_bounds",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("summed_from", Date, nullable=False),
    Column("kept_from", Date, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)

attempt_owners = Table(
    "attempt_owners",
    METADATA,
    Column("owner", string(UUID), primary_key=True),
    Column("beat_time", Time, nullable=False),
)

open_attempts = Table(
    "open_attempts",
    METADATA,
    Column("attempt_id", string(UUID), primary_key=True),
    Column("owner", string(UUID), nullable=False),
    Column("opened", LargeBinary, nullable=False),
    Column("progress", LargeBinary),
    Index(None, "owner"),
)

"""Budgets, what is spent of them in each window, and what processes hold of them in advance."""

from sqlalchemy import BigInteger, Boolean, Column, Index, PrimaryKeyConstraint, Table
from sqlalchemy import UniqueConstraint as Unique

from llm_service.storage.tables.columns import ID, METADATA, UUID, Json, Time, string

budgets = Table(
    "budgets",
    METADATA,
    Column("uid", string(UUID), primary_key=True),
    Column("tenant", string(ID), nullable=False),
    Column("budget_id", string(ID), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("display_name", string(256), nullable=False),
    Column("filter", string(2000), nullable=False),
    Column("unit", string(16), nullable=False),
    Column("limit_value", BigInteger, nullable=False),  # a bare `limit` is a word of SQL
    Column("period", string(16), nullable=False),
    Column("time_zone", string(64), nullable=False),
    Column("rules", Json, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("create_time", Time, nullable=False),
    Column("update_time", Time, nullable=False),
    Unique("tenant", "budget_id"),
)

# Not bound to a row of `budgets`: what a deployment's settings imply is counted here too.
budget_windows = Table(
    "budget_windows",
    METADATA,
    Column("budget_uid", string(UUID), nullable=False),
    Column("start_time", Time, nullable=False),
    Column("end_time", Time),  # NULL: it never ends
    Column("spent", BigInteger, nullable=False),
    # The sum of the window's leases: spent + leased never exceeds a hard budget's limit.
    Column("leased", BigInteger, nullable=False),
    Column("refuse_time", Time),  # when a call was first refused for want of room
    PrimaryKeyConstraint("budget_uid", "start_time"),
    Index(None, "end_time"),
)

budget_leases = Table(
    "budget_leases",
    METADATA,
    Column("lease_id", string(UUID), primary_key=True),
    Column("holder", string(UUID), nullable=False),
    Column("budget_uid", string(UUID), nullable=False),
    Column("start_time", Time, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Index(None, "holder"),
    Index(None, "budget_uid", "start_time"),
)

budget_holders = Table(
    "budget_holders",
    METADATA,
    Column("holder", string(UUID), primary_key=True),
    Column("beat_time", Time, nullable=False),
)

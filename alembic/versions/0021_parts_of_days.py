"""Sums of parts of days, from which a report takes the days of another time zone.

They are made in the background; until then, and on SQLite always, records are read.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

CALLS = (
    "call_count",
    "provider_call_count",
    "model_call_count",
    "unpriced_call_count",
    "unpriced_provider_call_count",
    "unpriced_model_call_count",
)
SUMS = (
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
    *(f"first_{name}" for name in CALLS),
    *(f"last_{name}" for name in CALLS),
)
_WHO = "nullif(current_setting('llm.tenant', true), '')"


def string(length: int) -> TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def numbers(of: type[sa.Integer]) -> TypeEngine[Any]:
    return sa.ARRAY(of).with_variant(sa.JSON(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "usage_day_parts",
        sa.Column("tenant", string(128), nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("minute", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("provider", string(512), nullable=False),
        sa.Column("model", string(512), nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in SUMS),
        sa.Column("rounded_us", numbers(sa.BigInteger), nullable=False),
        sa.Column("duration_counts", numbers(sa.Integer), nullable=False),
        sa.Column("first_token_counts", numbers(sa.Integer), nullable=False),
        sa.Column("nearby_count", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant", "day", "minute", "provider", "model", name="pk_usage_day_parts"
        ),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            f"CREATE POLICY tenant ON usage_day_parts USING ({_WHO} = '*' OR tenant = {_WHO})"
        )
        op.execute("ALTER TABLE usage_day_parts ENABLE ROW LEVEL SECURITY")
        op.execute("ALTER TABLE usage_day_parts FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    op.drop_table("usage_day_parts")

"""What a usage record's call was for, and its cache writes kept for an hour."""

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def string(length: int) -> TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    # PostgreSQL adds both without rewriting the table, and a replica of the release before, which
    # does not know them, goes on writing.
    op.add_column("usage_records", sa.Column("cache_write_1h_input_tokens", sa.BigInteger))
    op.add_column(
        "usage_records",
        sa.Column("operation", string(32), nullable=False, server_default="chat"),
    )


def downgrade() -> None:
    op.drop_column("usage_records", "operation")
    op.drop_column("usage_records", "cache_write_1h_input_tokens")

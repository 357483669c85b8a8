"""Cache writes kept for an hour, in usage records."""

import sqlalchemy as sa

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Nullable and without a default: PostgreSQL adds it without rewriting the table, and a replica
    # of the release before goes on writing.
    op.add_column("usage_records", sa.Column("cache_write_1h_input_tokens", sa.BigInteger))


def downgrade() -> None:
    op.drop_column("usage_records", "cache_write_1h_input_tokens")

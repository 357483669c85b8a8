"""Which attempt a usage record settles and by what evidence; attempts that are open."""

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def string(length: int) -> TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    # Nullable, so that no row is rewritten, and a replica of the release before goes on writing.
    op.add_column("usage_records", sa.Column("attempt_id", string(36)))
    op.add_column("usage_records", sa.Column("usage_source", string(16)))
    op.create_index("ix_usage_records_attempt_id", "usage_records", ["attempt_id"], unique=True)
    op.create_table(
        "attempt_owners",
        sa.Column("owner", string(36), nullable=False),
        sa.Column("beat_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("owner", name="pk_attempt_owners"),
    )
    op.create_table(
        "open_attempts",
        sa.Column("attempt_id", string(36), nullable=False),
        sa.Column("owner", string(36), nullable=False),
        sa.Column("opened", sa.LargeBinary, nullable=False),
        sa.Column("progress", sa.LargeBinary),
        sa.PrimaryKeyConstraint("attempt_id", name="pk_open_attempts"),
    )
    op.create_index("ix_open_attempts_owner", "open_attempts", ["owner"])


def downgrade() -> None:
    op.drop_table("open_attempts")
    op.drop_table("attempt_owners")
    op.drop_index("ix_usage_records_attempt_id", "usage_records")
    op.drop_column("usage_records", "usage_source")
    op.drop_column("usage_records", "attempt_id")

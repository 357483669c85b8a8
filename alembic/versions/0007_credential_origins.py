"""The address each credential was entered for, and creations whose senders may repeat them."""

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def string(length: int) -> TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    # PostgreSQL adds it without rewriting the table, and a replica of the release before, which
    # does not know it, goes on writing.
    op.add_column(
        "credentials",
        sa.Column("origin", string(4096), nullable=False, server_default=sa.text("''")),
    )
    op.create_table(
        "creations",
        sa.Column("tenant", string(128), nullable=False),
        sa.Column("method", string(128), nullable=False),
        sa.Column("request_id", string(36), nullable=False),
        sa.Column("body_digest", string(64), nullable=False),
        sa.Column("answer", sa.LargeBinary),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "method", "request_id", name=op.f("pk_creations")),
    )
    op.create_index(op.f("ix_creations_create_time"), "creations", ["create_time"])


def downgrade() -> None:
    op.drop_table("creations")
    op.drop_column("credentials", "origin")

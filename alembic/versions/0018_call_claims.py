"""Which completion a repeatable call is, who is at work on it, and what it was answered with."""

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def string(length: int) -> TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    # Nullable, so that no row is rewritten, and a replica of the release before goes on writing.
    op.add_column("creations", sa.Column("completion_id", string(36)))
    op.add_column("creations", sa.Column("lease_time", sa.DateTime(timezone=True)))
    op.add_column("creations", sa.Column("key_id", string(64)))


def downgrade() -> None:
    # A claim without its lease would hold its request id for a day.
    op.execute("DELETE FROM creations WHERE completion_id IS NOT NULL")
    with op.batch_alter_table("creations") as table:
        table.drop_column("key_id")
        table.drop_column("lease_time")
        table.drop_column("completion_id")

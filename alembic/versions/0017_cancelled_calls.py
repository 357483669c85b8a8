"""What becomes of calls whose caller has gone; and what providers say they charge."""

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from alembic import op

revision = "0017"
down_revision = "0015"
branch_labels = None
depends_on = None


def string(length: int) -> TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    # Nullable, so that no row is rewritten, and a replica of the release before goes on writing.
    op.add_column("providers", sa.Column("cancel_policy", string(16)))
    op.add_column("usage_records", sa.Column("price_effective_time", sa.DateTime(timezone=True)))
    op.add_column("usage_records", sa.Column("reported_nano_usd", sa.BigInteger))


def downgrade() -> None:
    op.drop_column("usage_records", "reported_nano_usd")
    op.drop_column("usage_records", "price_effective_time")
    op.drop_column("providers", "cancel_policy")

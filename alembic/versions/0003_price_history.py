"""A model's dated prices, and what providers' own tools were used for a call."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    # PostgreSQL adds both without rewriting a table, and a replica of the release before, which
    # does not know them, goes on writing and leaves them as they are.
    op.add_column("models", sa.Column("dated_prices", _JSON))
    op.add_column("usage_records", sa.Column("provider_tool_uses", _JSON))


def downgrade() -> None:
    op.drop_column("usage_records", "provider_tool_uses")
    op.drop_column("models", "dated_prices")

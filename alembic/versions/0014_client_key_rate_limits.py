"""Rate limits of client keys."""

import sqlalchemy as sa

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Nullable, so that no row is rewritten, and a replica of the release before goes on writing.
    op.add_column(
        "client_keys",
        sa.Column(
            "rate_limits",
            sa.JSON(none_as_null=True).with_variant(
                sa.dialects.postgresql.JSONB(none_as_null=True), "postgresql"
            ),
        ),
    )


def downgrade() -> None:
    op.drop_column("client_keys", "rate_limits")

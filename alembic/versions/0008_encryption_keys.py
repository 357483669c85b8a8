"""Which keys a deployment has had, and which replica holds which of them."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def string(length: int) -> TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.create_table(
        "encryption_keys",
        sa.Column("key_id", string(64), nullable=False),
        sa.Column("scheme", string(32), nullable=False),
        sa.Column("check_value", string(64), nullable=False),
        sa.Column("create_time", time, nullable=False),
        sa.Column("retire_time", time),
        sa.PrimaryKeyConstraint("key_id", name="pk_encryption_keys"),
    )
    op.create_table(
        "keyring_replicas",
        sa.Column("replica_uid", string(36), nullable=False),
        sa.Column("host", string(256), nullable=False),
        sa.Column("primary_id", string(64), nullable=False),
        sa.Column(
            "key_ids", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False
        ),
        sa.Column("problem", string(512), nullable=False),
        sa.Column("report_time", time, nullable=False),
        sa.PrimaryKeyConstraint("replica_uid", name="pk_keyring_replicas"),
    )
    op.create_index("ix_keyring_replicas_report_time", "keyring_replicas", ["report_time"])


def downgrade() -> None:
    op.drop_table("keyring_replicas")
    op.drop_table("encryption_keys")

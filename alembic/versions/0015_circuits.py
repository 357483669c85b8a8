"""What replicas tell each other of circuits."""

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_WHO = "nullif(current_setting('llm.tenant', true), '')"
_OWN = f"{_WHO} = '*' OR tenant = {_WHO}"


def string(length: int) -> TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "circuits",
        sa.Column("provider_uid", string(36), nullable=False),
        sa.Column("credential_id", string(128), nullable=False),
        sa.Column("model_id", string(128), nullable=False),
        sa.Column("tenant", string(128), nullable=False),
        sa.Column("provider_id", string(128), nullable=False),
        sa.Column("state", string(32), nullable=False),
        sa.Column("change_id", string(36), nullable=False),
        sa.Column("replica", string(36), nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("reason", string(64), nullable=False),
        sa.Column("ejection_count", sa.BigInteger, nullable=False),
        sa.Column("reset", sa.Boolean, nullable=False),
        sa.Column("change_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("provider_uid", "credential_id", "model_id", name="pk_circuits"),
    )
    op.create_index("ix_circuits_change_time", "circuits", ["change_time"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"CREATE POLICY tenant ON circuits USING ({_OWN})")
        op.execute("ALTER TABLE circuits ENABLE ROW LEVEL SECURITY")
        op.execute("ALTER TABLE circuits FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    op.drop_table("circuits")

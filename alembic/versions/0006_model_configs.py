"""Model configurations."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")


def string(length: int) -> TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "model_configs",
        sa.Column("uid", string(36), nullable=False),
        sa.Column("tenant", string(128), nullable=False),
        sa.Column("config_id", string(128), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("display_name", string(256), nullable=False),
        sa.Column("agent", string(128), nullable=False),
        sa.Column("user_id", string(128), nullable=False),
        sa.Column("interaction", string(128), nullable=False),
        sa.Column("targets", JSON, nullable=False),
        sa.Column("params", JSON, nullable=False),
        sa.Column("limits", JSON, nullable=False),
        sa.Column("routing", JSON, nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("locked", sa.Boolean, nullable=False),
        sa.Column("labels", JSON, nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("update_time", TIME, nullable=False),
        sa.UniqueConstraint("tenant", "config_id", name=op.f("uq_model_configs_tenant_config_id")),
        sa.UniqueConstraint(
            "tenant",
            "agent",
            "user_id",
            "interaction",
            name=op.f("uq_model_configs_tenant_agent_user_id_interaction"),
        ),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_model_configs")),
    )


def downgrade() -> None:
    op.drop_table("model_configs")

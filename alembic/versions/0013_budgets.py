"""Budgets, their windows and leases; and by which clock a usage record belongs to a window."""

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_WHO = "nullif(current_setting('llm.tenant', true), '')"
_OWN = f"{_WHO} = '*' OR tenant = {_WHO}"


def string(length: int) -> TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def json() -> TypeEngine[object]:
    document = sa.dialects.postgresql.JSONB(none_as_null=True)
    return sa.JSON(none_as_null=True).with_variant(document, "postgresql")


def time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    # Nullable, so that no row is rewritten, and a replica of the release before goes on writing.
    op.add_column("usage_records", time("budget_time", nullable=True))
    _budgets()
    _accounts()
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"CREATE POLICY tenant ON budgets USING ({_OWN})")
        op.execute("ALTER TABLE budgets ENABLE ROW LEVEL SECURITY")
        op.execute("ALTER TABLE budgets FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    for table in ("budget_holders", "budget_leases", "budget_windows", "budgets"):
        op.drop_table(table)
    op.drop_column("usage_records", "budget_time")


def _budgets() -> None:
    op.create_table(
        "budgets",
        sa.Column("uid", string(36), nullable=False),
        sa.Column("tenant", string(128), nullable=False),
        sa.Column("budget_id", string(128), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("display_name", string(256), nullable=False),
        sa.Column("filter", string(2000), nullable=False),
        sa.Column("unit", string(16), nullable=False),
        sa.Column("limit_value", sa.BigInteger, nullable=False),
        sa.Column("period", string(16), nullable=False),
        sa.Column("time_zone", string(64), nullable=False),
        sa.Column("rules", json(), nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        time("create_time"),
        time("update_time"),
        sa.PrimaryKeyConstraint("uid", name="pk_budgets"),
        sa.UniqueConstraint("tenant", "budget_id", name="uq_budgets_tenant_budget_id"),
    )


def _accounts() -> None:
    op.create_table(
        "budget_windows",
        sa.Column("budget_uid", string(36), nullable=False),
        time("start_time"),
        time("end_time", nullable=True),
        sa.Column("spent", sa.BigInteger, nullable=False),
        sa.Column("leased", sa.BigInteger, nullable=False),
        time("refuse_time", nullable=True),
        sa.PrimaryKeyConstraint("budget_uid", "start_time", name="pk_budget_windows"),
    )
    op.create_index("ix_budget_windows_end_time", "budget_windows", ["end_time"])
    op.create_table(
        "budget_leases",
        sa.Column("lease_id", string(36), nullable=False),
        sa.Column("holder", string(36), nullable=False),
        sa.Column("budget_uid", string(36), nullable=False),
        time("start_time"),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("lease_id", name="pk_budget_leases"),
    )
    op.create_index("ix_budget_leases_holder", "budget_leases", ["holder"])
    op.create_index(
        "ix_budget_leases_budget_uid_start_time", "budget_leases", ["budget_uid", "start_time"]
    )
    op.create_table(
        "budget_holders",
        sa.Column("holder", string(36), nullable=False),
        time("beat_time"),
        sa.PrimaryKeyConstraint("holder", name="pk_budget_holders"),
    )

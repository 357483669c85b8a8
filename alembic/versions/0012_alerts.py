"""Alerts, webhooks, and what is delivered to them."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_WHO = "nullif(current_setting('llm.tenant', true), '')"
_OWN = f"{_WHO} = '*' OR tenant = {_WHO}"
_TABLES = ("alerts", "webhooks", "webhook_deliveries")


def string(length: int) -> TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def json() -> TypeEngine[object]:
    document = sa.dialects.postgresql.JSONB(none_as_null=True)
    return sa.JSON(none_as_null=True).with_variant(document, "postgresql")


def time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    _alerts()
    _webhooks()
    _deliveries()
    _monitor()
    if op.get_bind().dialect.name == "postgresql":
        for table in _TABLES:
            op.execute(f"CREATE POLICY tenant ON {table} USING ({_OWN})")
            op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
            op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    for table in (*reversed(_TABLES), "alert_monitor"):
        op.drop_table(table)


def _alerts() -> None:
    once = ("tenant", "kind", "subject", "window_start_time", "threshold_percent")
    op.create_table(
        "alerts",
        sa.Column("alert_id", string(36), nullable=False),
        sa.Column("tenant", string(128), nullable=False),
        sa.Column("kind", string(32), nullable=False),
        sa.Column("subject", string(512), nullable=False),
        time("window_start_time"),
        sa.Column("threshold_percent", sa.Integer, nullable=False),
        sa.Column("action", string(16), nullable=False),
        sa.Column("observed", sa.BigInteger, nullable=False),
        sa.Column("limit_value", sa.BigInteger, nullable=False),
        sa.Column("unit", string(16), nullable=False),
        time("create_time"),
        sa.PrimaryKeyConstraint("alert_id", name="pk_alerts"),
        sa.UniqueConstraint(*once, name="uq_alerts_once"),
    )
    for columns in (["tenant", "create_time", "alert_id"], ["create_time", "alert_id"]):
        op.create_index(f"ix_alerts_{'_'.join(columns)}", "alerts", columns)


def _webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("uid", string(36), nullable=False),
        sa.Column("tenant", string(128), nullable=False),
        sa.Column("webhook_id", string(128), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("display_name", string(256), nullable=False),
        sa.Column("target_uri", string(2048), nullable=False),
        sa.Column("alert_kinds", json(), nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("secret_version", sa.BigInteger, nullable=False),
        sa.Column("sealed", sa.Text, nullable=False),
        time("create_time"),
        time("update_time"),
        sa.PrimaryKeyConstraint("uid", name="pk_webhooks"),
        sa.UniqueConstraint("tenant", "webhook_id", name="uq_webhooks_tenant_webhook_id"),
    )


def _deliveries() -> None:
    op.create_table(
        "webhook_deliveries",
        sa.Column("delivery_id", string(36), nullable=False),
        sa.Column("tenant", string(128), nullable=False),
        sa.Column("webhook_uid", string(36), nullable=False),
        sa.Column("alert_id", string(36), nullable=False),
        sa.Column("state", string(16), nullable=False),
        sa.Column("attempt_count", sa.Integer, nullable=False),
        time("next_attempt_time", nullable=True),
        time("last_attempt_time", nullable=True),
        sa.Column("http_status", sa.Integer, nullable=False),
        sa.Column("problem", string(32)),
        time("create_time"),
        time("expire_time"),
        time("settle_time", nullable=True),
        sa.PrimaryKeyConstraint("delivery_id", name="pk_webhook_deliveries"),
        sa.ForeignKeyConstraint(
            ["webhook_uid"],
            ["webhooks.uid"],
            name="fk_webhook_deliveries_webhook_uid_webhooks",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["alert_id"],
            ["alerts.alert_id"],
            name="fk_webhook_deliveries_alert_id_alerts",
            ondelete="CASCADE",
        ),
    )
    for columns in (
        ["next_attempt_time"],
        ["webhook_uid", "create_time", "delivery_id"],
        ["alert_id"],
        ["settle_time"],
    ):
        name = f"ix_webhook_deliveries_{'_'.join(columns)}"
        op.create_index(name, "webhook_deliveries", columns)


def _monitor() -> None:
    table = op.create_table(
        "alert_monitor",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        time("look_time"),
        sa.PrimaryKeyConstraint("id", name="pk_alert_monitor"),
        sa.CheckConstraint("id = 1", name="ck_alert_monitor_one_row"),
    )
    op.bulk_insert(table, [{"id": 1, "look_time": datetime(2000, 1, 1)}])  # noqa: DTZ001 - any

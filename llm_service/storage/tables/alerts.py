"""Alerts, who is to be told of them, and how that goes."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    UniqueConstraint,
)

from llm_service.storage.tables.columns import (
    ID,
    METADATA,
    RESOURCE_NAME,
    UUID,
    Json,
    Sealed,
    Time,
    string,
)

alerts = Table(
    "alerts",
    METADATA,
    Column("alert_id", string(UUID), primary_key=True),
    Column("tenant", string(ID), nullable=False),
    Column("kind", string(32), nullable=False),
    Column("subject", string(RESOURCE_NAME), nullable=False),
    Column("window_start_time", Time, nullable=False),
    Column("threshold_percent", Integer, nullable=False),
    Column("action", string(16), nullable=False),
    Column("observed", BigInteger, nullable=False),
    Column("limit_value", BigInteger, nullable=False),  # a bare `limit` is a word of SQL
    Column("unit", string(16), nullable=False),
    Column("create_time", Time, nullable=False),
    UniqueConstraint(
        *("tenant", "kind", "subject", "window_start_time", "threshold_percent"),
        name="uq_alerts_once",
    ),
    Index(None, "tenant", "create_time", "alert_id"),
    Index(None, "create_time", "alert_id"),
)

webhooks = Table(
    "webhooks",
    METADATA,
    Column("uid", string(UUID), primary_key=True),
    Column("tenant", string(ID), nullable=False),
    Column("webhook_id", string(ID), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("display_name", string(256), nullable=False),
    Column("target_uri", string(2048), nullable=False),
    Column("alert_kinds", Json, nullable=False),  # empty: all
    Column("disabled", Boolean, nullable=False),
    Column("secret_version", BigInteger, nullable=False),
    Column("sealed", Sealed, nullable=False),
    Column("create_time", Time, nullable=False),
    Column("update_time", Time, nullable=False),
    UniqueConstraint("tenant", "webhook_id"),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    METADATA,
    Column("delivery_id", string(UUID), primary_key=True),
    Column("tenant", string(ID), nullable=False),
    Column(
        "webhook_uid", string(UUID), ForeignKey("webhooks.uid", ondelete="CASCADE"), nullable=False
    ),
    Column(
        "alert_id",
        string(UUID),
        ForeignKey("alerts.alert_id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("state", string(16), nullable=False),
    Column("attempt_count", Integer, nullable=False),  # grows with each claim: it fences
    Column("next_attempt_time", Time),  # while it is claimed, the end of the lease; NULL: settled
    Column("last_attempt_time", Time),
    Column("http_status", Integer, nullable=False),
    Column("problem", string(32)),
    Column("create_time", Time, nullable=False),
    Column("expire_time", Time, nullable=False),  # when it is given up
    Column("settle_time", Time),
    Index(None, "next_attempt_time"),
    Index(None, "webhook_uid", "create_time", "delivery_id"),
    Index(None, "alert_id"),
    Index(None, "settle_time"),
)

alert_monitor = Table(
    "alert_monitor",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("look_time", Time, nullable=False),  # when a replica last took its turn
    CheckConstraint("id = 1", name="one_row"),
)

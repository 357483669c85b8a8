"""Which keys a deployment has had, and which replica holds which of them. No key is in here."""

from sqlalchemy import Column, Index, Table

from llm_service.storage.tables.columns import METADATA, UUID, Json, Time, string

encryption_keys = Table(
    "encryption_keys",
    METADATA,
    Column("key_id", string(64), primary_key=True),
    Column("scheme", string(32), nullable=False),
    Column("check_value", string(64), nullable=False),
    Column("create_time", Time, nullable=False),
    Column("retire_time", Time),
)

keyring_replicas = Table(
    "keyring_replicas",
    METADATA,
    Column("replica_uid", string(UUID), primary_key=True),
    Column("host", string(256), nullable=False),
    Column("primary_id", string(64), nullable=False),
    Column("key_ids", Json, nullable=False),
    Column("problem", string(512), nullable=False),
    Column("report_time", Time, nullable=False),
    Index(None, "report_time"),
)

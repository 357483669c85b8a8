"""Who may call."""

from sqlalchemy import BigInteger, Boolean, Column, Index, LargeBinary, Table

from llm_service.storage.tables.columns import ID, METADATA, Json, RingKeyId, Time, string

client_keys = Table(
    "client_keys",
    METADATA,
    Column("key_id", string(32), primary_key=True),
    Column("tenant", string(ID), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("display_name", string(256), nullable=False),
    Column("roles", Json, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("pepper_id", RingKeyId, nullable=False),
    Column("create_time", Time, nullable=False),
    Column("update_time", Time, nullable=False),
    Column("expire_time", Time),
    Column("revoke_time", Time),
    Column("rate_limits", Json),
    Index(None, "tenant", "key_id"),
    info={"noun": "client key"},
)

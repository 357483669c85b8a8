"""What replicas tell each other of circuits."""

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Table

from llm_service.storage.tables.columns import ID, METADATA, UUID, Time, string

circuits = Table(
    "circuits",
    METADATA,
    Column("provider_uid", string(UUID), primary_key=True),
    Column("credential_id", string(ID), primary_key=True),
    Column("model_id", string(ID), primary_key=True),
    Column("tenant", string(ID), nullable=False),
    Column("provider_id", string(ID), nullable=False),
    Column("state", string(32), nullable=False),
    Column("change_id", string(UUID), nullable=False),
    Column("replica", string(UUID), nullable=False),
    Column("seconds", Float, nullable=False),
    Column("reason", string(64), nullable=False),
    Column("ejection_count", BigInteger, nullable=False),
    Column("reset", Boolean, nullable=False),
    Column("change_time", Time, nullable=False),
    Index(None, "change_time"),
)

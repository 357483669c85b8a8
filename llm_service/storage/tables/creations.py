"""Creations whose senders may repeat them."""

from sqlalchemy import Column, Index, LargeBinary, Table

from llm_service.storage.tables.columns import ID, METADATA, UUID, Time, string

creations = Table(
    "creations",
    METADATA,
    Column("tenant", string(ID), primary_key=True),
    Column("method", string(128), primary_key=True),
    Column("request_id", string(UUID), primary_key=True),
    Column("body_digest", string(64), nullable=False),
    Column("answer", LargeBinary),  # NULL: its creation has not ended yet
    Column("create_time", Time, nullable=False),
    Index(None, "create_time"),
)

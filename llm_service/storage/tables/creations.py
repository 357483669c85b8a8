"""Creations and calls whose senders may repeat them."""

from sqlalchemy import Column, Index, LargeBinary, Table

from llm_service.storage.tables.columns import ID, METADATA, UUID, RingKeyId, Time, string

creations = Table(
    "creations",
    METADATA,
    Column("tenant", string(ID), primary_key=True),
    Column("method", string(128), primary_key=True),
    Column("request_id", string(UUID), primary_key=True),
    Column("body_digest", string(64), nullable=False),
    Column("answer", LargeBinary),  # NULL: its creation has not ended yet
    Column("create_time", Time, nullable=False),
    # Of calls only. Until `lease_time` a process is at work on it, unless there is an answer.
    Column("completion_id", string(UUID)),
    Column("lease_time", Time),
    Column("key_id", RingKeyId),  # of the ring key behind an answer that was kept
    Index(None, "create_time"),
)

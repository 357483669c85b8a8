"""Who changed what. Both tables have triggers that refuse whatever is not an addition."""

from sqlalchemy import BigInteger, Column, Index, Table, Text

from llm_service.storage.tables.columns import ID, METADATA, RESOURCE_NAME, Json, Time, string

DIGEST = 64
"""Characters of a SHA-256 in hexadecimal."""

audit_entries = Table(
    "audit_entries",
    METADATA,
    Column("tenant", string(ID), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("create_time", Time, nullable=False),
    Column("principal", string(RESOURCE_NAME), nullable=False),
    Column("peer_ip_address", string(64), nullable=False),
    Column("method", string(256), nullable=False),
    Column("resource", string(RESOURCE_NAME), nullable=False),
    Column("changed_resources", Json, nullable=False),
    Column("changes", Text, nullable=False),  # JSON, byte for byte as its digest was taken
    Column("error_reason", string(64), nullable=False),
    Column("request_id", string(ID), nullable=False),
    Column("trace_id", string(32), nullable=False),
    Column("key_id", string(64), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("digest", string(DIGEST), nullable=False),
    Column("seal", string(DIGEST), nullable=False),
    Index(None, "tenant", "create_time", "sequence"),
    Index(None, "create_time", "tenant", "sequence"),
)

audit_chains = Table(
    "audit_chains",
    METADATA,
    Column("tenant", string(ID), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("digest", string(DIGEST), nullable=False),
    Column("key_id", string(64), nullable=False),
    Column("epoch", BigInteger, nullable=False),
)

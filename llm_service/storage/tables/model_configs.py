"""Which models serve which calls."""

from sqlalchemy import BigInteger, Boolean, Column, Table, UniqueConstraint

from llm_service.storage.tables.columns import ID, METADATA, UUID, Json, Time, string

model_configs = Table(
    "model_configs",
    METADATA,
    Column("uid", string(UUID), primary_key=True),
    Column("tenant", string(ID), nullable=False),
    Column("config_id", string(ID), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("display_name", string(256), nullable=False),
    # The selector; "" matches everything. So a tenant has one default, and one of every scope.
    Column("agent", string(ID), nullable=False),
    Column("user_id", string(ID), nullable=False),  # a bare `user` is a function in PostgreSQL
    Column("interaction", string(ID), nullable=False),
    Column("targets", Json, nullable=False),
    Column("params", Json, nullable=False),
    Column("limits", Json, nullable=False),
    Column("routing", Json, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("locked", Boolean, nullable=False),
    Column("labels", Json, nullable=False),
    Column("create_time", Time, nullable=False),
    Column("update_time", Time, nullable=False),
    UniqueConstraint("tenant", "config_id"),
    UniqueConstraint("tenant", "agent", "user_id", "interaction"),
    info={"noun": "model configuration"},
)

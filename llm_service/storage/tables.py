"""The tables. Alembic compares `METADATA` with what the migrations make."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeDecorator, TypeEngine

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Time(TypeDecorator[datetime]):
    """An instant, in UTC. SQLite keeps no zone, so it is dropped on the way in and put back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        instant = value.astimezone(UTC)
        return instant.replace(tzinfo=None) if dialect.name == "sqlite" else instant

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - the interface
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Json(TypeDecorator[Any]):
    """A document: JSONB on PostgreSQL, text on SQLite. None is SQL's NULL, never JSON's."""

    impl = JSON(none_as_null=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            from sqlalchemy.dialects.postgresql import JSONB

            return dialect.type_descriptor(JSONB(none_as_null=True))
        return dialect.type_descriptor(JSON(none_as_null=True))


def _string(length: int) -> TypeEngine[str]:
    """Text ordered and compared by code point on both databases, whatever the server's locale."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


ID = 128
"""Characters of a caller's or an operator's identifier."""

RESOURCE_NAME = 512
"""Characters of "tenants/{}/providers/{}/models/{}"."""

UUID = 36


deployment = Table(
    "deployment",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("uid", _string(UUID), nullable=False),
    Column("create_time", Time, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)

config_counter = Table(
    "config_counter",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("generation", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)

config_versions = Table(
    "config_versions",
    METADATA,
    Column("tenant", _string(ID), primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Index(None, "generation"),
)

providers = Table(
    "providers",
    METADATA,
    Column("uid", _string(UUID), primary_key=True),
    Column("tenant", _string(ID), nullable=False),
    Column("provider_id", _string(ID), nullable=False),
    Column("kind", _string(64), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("display_name", _string(256), nullable=False),
    Column("description", _string(4096), nullable=False),
    Column("base_uri", _string(2048), nullable=False),
    Column("settings", Json, nullable=False),
    Column("default_credential", _string(RESOURCE_NAME), nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("priority", BigInteger),
    Column("weight", BigInteger),
    Column("rate_limits", Json, nullable=False),
    Column("timeouts", Json, nullable=False),
    Column("labels", Json, nullable=False),
    Column("create_time", Time, nullable=False),
    Column("update_time", Time, nullable=False),
    Column("delete_time", Time),
    Column("purge_time", Time),
    UniqueConstraint("tenant", "provider_id"),  # also while soft-deleted: the id stays taken
)

credentials = Table(
    "credentials",
    METADATA,
    Column("uid", _string(UUID), primary_key=True),
    Column(
        "provider_uid",
        _string(UUID),
        ForeignKey("providers.uid", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("credential_id", _string(ID), nullable=False),
    Column("source_type", _string(32), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("secret_version", BigInteger, nullable=False),
    Column("sealed", Text, nullable=False),
    Column("reference", _string(4096), nullable=False),
    Column("obfuscated_secret", _string(64), nullable=False),
    Column("display_name", _string(256), nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("rejected", Boolean, nullable=False),
    Column("weight", BigInteger),
    Column("rate_limits", Json, nullable=False),
    Column("create_time", Time, nullable=False),
    Column("update_time", Time, nullable=False),
    Column("expire_time", Time),
    Column("last_use_time", Time),
    Column("last_check_time", Time),
    UniqueConstraint("provider_uid", "credential_id"),
)

models = Table(
    "models",
    METADATA,
    Column(
        "provider_uid",
        _string(UUID),
        ForeignKey("providers.uid", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("model_id", _string(ID), primary_key=True),
    Column("provider_model", _string(256), nullable=False),
    Column("origin", _string(32), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("aliases", Json, nullable=False),
    Column("display_name", _string(256), nullable=False),
    Column("description", _string(4096), nullable=False),
    Column("input_modalities", Json, nullable=False),
    Column("output_modalities", Json, nullable=False),
    Column("capabilities", Json, nullable=False),
    Column("context_window_tokens", BigInteger, nullable=False),
    Column("max_output_tokens", BigInteger, nullable=False),
    Column("price", Json),
    Column("rate_limits", Json, nullable=False),
    Column("embedding", Json),
    Column("default_params", Json, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("stage", _string(32)),
    Column("retire_time", Time),
    Column("replacement_model", _string(RESOURCE_NAME), nullable=False),
    Column("sync_time", Time),
    Column("labels", Json, nullable=False),
    Column("priority", BigInteger),
)

usage_records = Table(
    "usage_records",
    METADATA,
    Column("record_id", _string(UUID), primary_key=True),
    Column("completion_id", _string(ID), nullable=False),
    Column("create_time", Time, nullable=False),
    Column("tenant", _string(ID), nullable=False),
    Column("agent", _string(ID), nullable=False),
    Column("user_id", _string(ID), nullable=False),  # a bare `user` is a function in PostgreSQL
    Column("interaction", _string(ID), nullable=False),
    Column("session", _string(ID), nullable=False),
    Column("labels", Json, nullable=False),
    Column("provider", _string(RESOURCE_NAME), nullable=False),
    Column("model", _string(RESOURCE_NAME), nullable=False),
    Column("credential", _string(RESOURCE_NAME), nullable=False),
    Column("provider_model", _string(256), nullable=False),
    Column("provider_request_id", _string(256), nullable=False),
    Column("model_config", _string(RESOURCE_NAME), nullable=False),
    Column("start_time", Time, nullable=False),
    Column("duration_us", BigInteger, nullable=False),
    Column("first_token_us", BigInteger),
    Column("finish_reason", _string(32)),
    Column("error_reason", _string(64), nullable=False),
    # The attempt's CallError; attempt_error_reason is NULL when it has none.
    Column("attempt_error_reason", _string(64)),
    Column("error_message", _string(512), nullable=False),
    Column("retry_delay_us", BigInteger),
    Column("http_status", Integer, nullable=False),
    Column("provider_code", _string(64), nullable=False),
    # TokenUsage; all NULL when there is none.
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("cache_read_input_tokens", BigInteger),
    Column("cache_write_input_tokens", BigInteger),
    Column("cache_write_1h_input_tokens", BigInteger),  # NULL in rows older than the column, too
    Column("reasoning_output_tokens", BigInteger),
    Column("modality_tokens", Json),
    Column("usage_estimated", Boolean),
    # Cost. cost_incomplete NULL: nothing was billed. cost_nano_usd NULL: nothing is known of it.
    Column("cost_nano_usd", BigInteger),
    Column("cost_items", Json),
    Column("price_version", _string(128)),
    Column("cost_estimated", Boolean),
    Column("cost_incomplete", Boolean),
    Column("trace_id", _string(32), nullable=False),
    # The default is for replicas of an earlier release, which knew no other operation.
    Column("operation", _string(32), nullable=False, server_default="chat"),
    Index(None, "tenant", "create_time", "record_id"),
    Index(None, "create_time", "record_id"),
    Index(None, "completion_id"),
)

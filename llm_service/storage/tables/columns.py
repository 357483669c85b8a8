"""What columns are made of: names, instants, documents, identifiers."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    DateTime,
    Dialect,
    MetaData,
    String,
    Text,
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


class Sealed(TypeDecorator[str]):
    """What `Vault.seal` gave, or "". By this type a rotation of keys finds what it must rewrap.

    The table has `uid`, `version` and `secret_version`, and is named in `storage.sealed.COLUMNS`.
    """

    impl = Text
    cache_ok = True


class RingKeyId(TypeDecorator[str]):
    """The id of a ring key that something was derived from: the key stays while a row names it."""

    impl = String(64)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(string(64))


def string(length: int) -> TypeEngine[str]:
    """Text ordered and compared by code point on both databases, whatever the server's locale."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


ID = 128
"""Characters of a caller's or an operator's identifier."""

RESOURCE_NAME = 512
"""Characters of "tenants/{}/providers/{}/models/{}"."""

UUID = 36

"""The schema's versions: bringing a database up to date, and refusing one this code does not know."""

REVISIONS = ("0001",)
"""Every revision this code knows, oldest first."""


class SchemaError(Exception):
    """The database's schema is not the one this code was written for."""


class SchemaOutdated(SchemaError):
    """The database has no schema yet, or an older one: migrate it."""


class SchemaNewer(SchemaError):
    """A newer release has migrated the database: run that release."""


def head() -> str:
    """The revision this code needs."""
    return REVISIONS[-1]


def upgrade(url: str) -> None:
    """Bring the database up to `head()`. Blocks; safe to run from several processes at once.

    Raises:
        SchemaNewer: a newer release has migrated it.
        StorageUnavailable: it does not answer, or others hold it too long.
    """
    raise NotImplementedError


def downgrade(url: str, revision: str) -> None:
    """Go back to `revision`, or to "base": nothing. What newer tables held is lost."""
    raise NotImplementedError


def check(url: str) -> None:
    """Raise SchemaError if `tables.METADATA` and the migrated database differ."""
    raise NotImplementedError

"""The database: one unit of work at a time."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from llm_service.storage.config import ConfigVersions
from llm_service.storage.credentials import Credentials
from llm_service.storage.models import Models
from llm_service.storage.providers import Providers
from llm_service.storage.usage import UsageRecords


class Transaction:
    """What one unit of work reads and writes."""

    providers: Providers
    credentials: Credentials
    models: Models
    usage: UsageRecords
    config: ConfigVersions


class Database:
    """Connections to one database. Every method raises StorageUnavailable if it does not answer."""

    dialect: str
    """ "sqlite" or "postgresql"."""

    @staticmethod
    @asynccontextmanager
    async def open(url: str) -> AsyncIterator["Database"]:
        """Prepare connections to `sqlite+aiosqlite:///path` or `postgresql+psycopg://...`.

        Connects on first use, so this succeeds while the database is down.
        """
        raise NotImplementedError
        yield Database()

    def begin(self) -> AbstractAsyncContextManager[Transaction]:
        """A unit of work that writes: commits at the end of the block, rolls back if it raises.

        Never await a provider inside the block.
        """
        raise NotImplementedError

    def read(self) -> AbstractAsyncContextManager[Transaction]:
        """A unit of work that reads, and sees the database as it was at its first statement."""
        raise NotImplementedError

    async def ping(self) -> None:
        """Return once the database has answered, within two seconds."""
        raise NotImplementedError

    async def check_schema(self) -> None:
        """Refuse to go on with a schema this code does not know.

        Raises:
            SchemaOutdated: it must be migrated first.
            SchemaNewer: a newer release has migrated it.
        """
        raise NotImplementedError

    async def deployment_id(self) -> str:
        """The UUID given to this database when it was first migrated."""
        raise NotImplementedError

    def changes(self, poll_seconds: float) -> AsyncGenerator[None]:
        """Yield whenever configuration may have changed, and at least every `poll_seconds`.

        Never raises for a database that is down: it goes on polling. Close it with `aclosing`.
        """
        raise NotImplementedError

"""The database: one unit of work at a time."""

import asyncio
import logging
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Sequence,
)
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
    suppress,
)
from typing import TYPE_CHECKING

from sqlalchemy import func, inspect, literal, select, text
from sqlalchemy.exc import (
    DatabaseError,
    DBAPIError,
    InterfaceError,
    InternalError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from llm_service.domain.access import CALLER, EVERY_TENANT, as_service
from llm_service.domain.alert import Alert
from llm_service.errors import StorageUnavailable
from llm_service.storage import changes, engines, migrations, pulse, usage_inserts
from llm_service.storage.alerts import Alerts
from llm_service.storage.audit import AuditEntries
from llm_service.storage.budget_accounts import BudgetAccounts
from llm_service.storage.budgets import Budgets
from llm_service.storage.call_claims import CallClaims
from llm_service.storage.circuits import Circuits
from llm_service.storage.client_keys import ClientKeys
from llm_service.storage.config import ConfigVersions
from llm_service.storage.creations import Creations
from llm_service.storage.credentials import Credentials
from llm_service.storage.deliveries import Deliveries
from llm_service.storage.keys import EncryptionKeys
from llm_service.storage.model_configs import ModelConfigs
from llm_service.storage.models import Models
from llm_service.storage.monitor import Monitor
from llm_service.storage.open_attempts import OpenAttempts
from llm_service.storage.positional import Settled
from llm_service.storage.providers import Providers
from llm_service.storage.pulse import Pulse
from llm_service.storage.sealed import SealedRows
from llm_service.storage.tables import deployment
from llm_service.storage.usage import UsageRecords
from llm_service.storage.usage_day_parts import UsageDayParts
from llm_service.storage.usage_days import UsageDays
from llm_service.storage.usage_months import UsageMonths
from llm_service.storage.webhooks import Webhooks

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

logger = logging.getLogger(__name__)

PING_SECONDS = 2.0

Follower = Callable[[], Awaitable[None]]
Witness = Callable[["Transaction"], Awaitable[None]]
Hearer = Callable[[Alert], None]

_SQLITE_ERROR = 1  # a statement that is wrong, not a database that is ill


class Transaction:
    """What one unit of work reads and writes."""

    def __init__(self, connection: "AsyncConnection") -> None:
        self.audit = AuditEntries(connection)
        self.providers = Providers(connection, self.audit)
        self.credentials = Credentials(connection, self.audit)
        self.models = Models(connection, self.audit)
        self.model_configs = ModelConfigs(connection, self.audit)
        self.budgets = Budgets(connection, self.audit)
        self.budget_accounts = BudgetAccounts(connection)
        self.creations = Creations(connection)
        self.call_claims = CallClaims(connection)
        self.circuits = Circuits(connection)
        self.usage = UsageRecords(connection)
        self.usage_days = UsageDays(connection)
        self.usage_day_parts = UsageDayParts(connection)
        self.usage_months = UsageMonths(connection)
        self.open_attempts = OpenAttempts(connection)
        self.client_keys = ClientKeys(connection, self.audit)
        self.webhooks = Webhooks(connection, self.audit)
        self.deliveries = Deliveries(connection)
        self.monitor = Monitor(connection)
        self.alerts = Alerts(connection, self.deliveries)
        self.config = ConfigVersions(connection)
        self.keys = EncryptionKeys(connection)
        self.sealed = SealedRows(connection)


class Database:
    """Connections to one database. Every method raises StorageUnavailable if it does not answer."""

    def __init__(self, writer: "AsyncEngine", reader: "AsyncEngine") -> None:
        self._writer = writer
        self._reader = reader
        self._local = changes.LocalChanges()
        self._followers: list[Follower] = []
        self._witnesses: list[Witness] = []
        self._hearers: list[Hearer] = []
        self._pulse: tuple[float, Pulse] | None = None
        self._listener: changes.Listener | None = None
        if writer.dialect.name == "postgresql":
            self._listener = changes.Listener(
                engines.parameters(writer), engines.patience(writer.url)
            )

    @property
    def dialect(self) -> str:
        """Which database it is: "sqlite" or "postgresql"."""
        return self._writer.dialect.name

    @staticmethod
    @asynccontextmanager
    async def open(url: str) -> "AsyncIterator[Database]":
        """Prepare connections to `sqlite+aiosqlite:///path` or `postgresql+psycopg://...`.

        Connects on first use, so this succeeds while the database is down.
        """
        writer, reader = engines.create(url)
        try:
            yield Database(writer, reader)
        finally:
            await reader.dispose()
            await writer.dispose()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Transaction]:
        """A unit of work that writes: commits at the end of the block, rolls back if it raises.

        Never await a provider inside the block.
        """
        with _unavailability():
            async with self._writing() as connection:
                await _confine(connection)
                transaction = Transaction(connection)
                yield transaction
                for witness in self._witnesses:
                    await witness(transaction)
        self._tell_of(transaction.alerts.added)
        if transaction.config.bumped:
            self._local.announce()
            for follower in self._followers:
                # The change is committed: a follower that cannot read it now will see it later.
                with suppress(StorageUnavailable), as_service():
                    await follower()

    async def store_uncounted(self, batch: Sequence[Settled]) -> bool:
        """A unit of work that stores usage records; False: not here, or budgets would count them.

        Nothing was stored then. It changes no configuration and counts nothing, so that there is
        nothing to witness, follow or hear of. Who is cancelled meanwhile may have stored them all.
        """
        if self.dialect != "sqlite":
            return False
        with _unavailability():
            return await usage_inserts.add_uncounted(self._writer, batch)

    @asynccontextmanager
    async def rehearsal(self) -> AsyncIterator["Database"]:
        """This database as the block changes it; at its end all of that is taken back.

        No one is told of the changes. Others who write may have to wait for the end of the block.
        """
        with _unavailability():
            async with self._writer.connect() as connection:
                yield _Rehearsal(self._writer, self._reader, connection)

    def before_commit(self, witness: Witness) -> None:
        """Await `witness` as the last of each unit of work of `begin`; if it raises, so does that.

        What it writes is stored together with the rest, or not at all.
        """
        self._witnesses.append(witness)

    def after_change(self, follower: Follower) -> None:
        """Await `follower` after each change of configuration made here, before its caller goes on.

        So that whoever changed something can use it with the next call.
        """
        self._followers.append(follower)

    def after_alert(self, hearer: Hearer) -> None:
        """Tell `hearer` of each alert that was stored here before anywhere else, once it is."""
        self._hearers.append(hearer)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """A unit of work that reads, and sees the database as it was at its first statement."""
        with _unavailability():
            async with self._reading() as connection:
                await _confine(connection)
                yield Transaction(connection)

    async def pulse(self, max_age: float = 0.0) -> Pulse:
        """What moves here, over all tenants; another's look will do if it is that many seconds old.

        So that however many wait for something, an idle database is looked at once a period.
        """
        now = time.monotonic()
        if self._pulse is not None and now - self._pulse[0] < max_age:
            return self._pulse[1]
        found = await self._listener.look() if self._listener else None
        if found is None:
            with as_service(), _unavailability():
                found = await self._look()
        self._pulse = now, found
        return found

    async def ping(self) -> None:
        """Return once the database has answered, within two seconds."""
        task = asyncio.ensure_future(self._answer())
        # Not asyncio.timeout: a driver may wait for a dead server before it gives up.
        try:
            done, _ = await asyncio.wait({task}, timeout=PING_SECONDS)
        finally:
            task.cancel()
        if not done:
            raise StorageUnavailable("the database does not answer")
        task.result()

    async def check_schema(self) -> None:
        """Refuse to go on with a schema this code does not know.

        Raises:
            SchemaOutdated: it must be migrated first.
            SchemaNewer: a newer release has migrated it.
        """
        with _unavailability():
            async with self._reader.begin() as connection:
                revision = None
                if await connection.run_sync(lambda c: inspect(c).has_table("alembic_version")):
                    found = await connection.execute(
                        text("SELECT version_num FROM alembic_version")
                    )
                    revision = found.scalar()
        migrations.require(revision)

    async def deployment_id(self) -> str:
        """The UUID given to this database when it was first migrated."""
        with _unavailability():
            async with self._reader.begin() as connection:
                uid: str = (await connection.execute(select(deployment.c.uid))).scalar_one()
                return uid

    def changes(self, poll_seconds: float) -> AsyncGenerator[None]:
        """Yield whenever configuration may have changed, and at least every `poll_seconds`.

        The first comes at once. Never raises for a database that is down: it goes on polling. Close
        it with `aclosing`.
        """
        return (self._listener or self._local).listen(poll_seconds)

    def _tell_of(self, alerts: Sequence[Alert]) -> None:
        for alert in alerts:
            for hearer in self._hearers:
                try:
                    hearer(alert)
                except Exception:  # it is stored: whoever stored it has not failed
                    logger.exception("an alert was stored and not told of")

    def _writing(self) -> "AbstractAsyncContextManager[AsyncConnection]":
        return self._writer.begin()

    def _reading(self) -> "AbstractAsyncContextManager[AsyncConnection]":
        return self._reader.begin()

    async def _look(self) -> Pulse:
        if self.dialect == "sqlite":
            return await pulse.look_alone(self._reader)
        return await self._look_within()

    async def _look_within(self) -> Pulse:
        async with self._reading() as connection:
            await _confine(connection)
            return await pulse.look(connection)

    async def _answer(self) -> None:
        with _unavailability():
            async with self._reader.connect() as connection:
                await connection.execute(select(literal(1)))


class _Rehearsal(Database):
    """All its units of work are savepoints of one transaction, which is never committed."""

    def __init__(
        self, writer: "AsyncEngine", reader: "AsyncEngine", connection: "AsyncConnection"
    ) -> None:
        super().__init__(writer, reader)
        self._connection = connection

    async def store_uncounted(self, batch: Sequence[Settled]) -> bool:  # noqa: ARG002
        return False

    @asynccontextmanager
    async def _writing(self) -> "AsyncIterator[AsyncConnection]":
        async with self._connection.begin_nested():
            yield self._connection

    def _reading(self) -> "AbstractAsyncContextManager[AsyncConnection]":
        return nullcontext(self._connection)

    async def _look(self) -> Pulse:
        return await self._look_within()


async def _confine(connection: "AsyncConnection") -> None:
    """Tell PostgreSQL for whom this unit of work is: its policies show and take no other's rows."""
    if connection.dialect.name == "postgresql":
        tenant = CALLER.get().principal.tenant
        who = "*" if tenant == EVERY_TENANT else tenant
        await connection.execute(select(func.set_config("llm.tenant", who, True)))  # noqa: FBT003 - SQL's


@contextmanager
def _unavailability() -> Iterator[None]:
    """Turn what a database does when it is ill into StorageUnavailable."""
    try:
        yield
    except PoolTimeout as error:
        raise StorageUnavailable("the database is too busy") from error
    except DBAPIError as error:
        if not _is_illness(error):
            raise
        raise StorageUnavailable("the database does not answer") from error


def _is_illness(error: DBAPIError) -> bool:
    """Whether the database is to blame, and not our statement or its values."""
    if getattr(error.orig, "sqlite_errorcode", None) == _SQLITE_ERROR:
        return False
    # A plain DatabaseError is SQLite's for a file that is damaged or no database.
    return type(error) is DatabaseError or isinstance(
        error, OperationalError | InterfaceError | InternalError
    )

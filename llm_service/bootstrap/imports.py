"""What the import of another system's configuration works with."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from llm_service.bootstrap import parts
from llm_service.bootstrap.keys import vault_of
from llm_service.bootstrap.schema import prepare_schema
from llm_service.bootstrap.secret_stores import secret_stores
from llm_service.bootstrap.trouble import CannotStart
from llm_service.errors import StorageUnavailable
from llm_service.gateway.admin.imports import systems
from llm_service.gateway.admin.imports.importer import Importer
from llm_service.gateway.admin.imports.steps import Circumstances, Entry
from llm_service.gateway.admin.model_configs import ModelConfigs
from llm_service.providers.egress import Egress
from llm_service.settings import Settings
from llm_service.storage.database import Database
from llm_service.storage.imports import ForeignDatabaseError


@dataclass(frozen=True, slots=True)
class Import:
    """What to import, from where, and whether only to say what would become of it."""

    system: str
    dsn: str
    where: Circumstances
    dry_run: bool = False


async def import_(settings: Settings, wanted: Import, notes: list[str]) -> list[Entry]:
    """Create what the other system's rows ask for; says what became of each.

    Raises:
        CannotStart: nothing was imported; something an operator must mend first.
    """
    try:
        tables = await systems.read(wanted.system, wanted.dsn)
        async with _importer(settings, notes, dry_run=wanted.dry_run) as importer:
            where = replace(wanted.where, allowed=frozenset(settings.credential_env_allow))
            return await importer.run(systems.steps(wanted.system, tables, where))
    except (ForeignDatabaseError, StorageUnavailable) as error:
        raise CannotStart(str(error)) from error


@asynccontextmanager
async def _importer(
    settings: Settings, notes: list[str], *, dry_run: bool
) -> AsyncIterator[Importer]:
    await prepare_schema(settings, notes)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database.open(settings.database_url))
        vault = await vault_of(settings, database, notes)
        parts.audit(database, vault)
        if dry_run:
            database = await stack.enter_async_context(database.rehearsal())
        egress = Egress(settings.egress_allow)
        stack.push_async_callback(egress.aclose)
        stores = await stack.enter_async_context(secret_stores(settings))
        using = parts.administration(settings, database, vault, egress, stores)
        configs = ModelConfigs(database)
        yield Importer(database, using.providers, using.credentials, using.models, configs)

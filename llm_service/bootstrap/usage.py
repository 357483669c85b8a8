"""What the commands about sums of usage work with."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from llm_service.bootstrap.trouble import CannotStart
from llm_service.errors import StorageUnavailable
from llm_service.gateway.admin.usage_upkeep import UsageUpkeep
from llm_service.settings import Settings
from llm_service.storage.database import Database
from llm_service.storage.migrations import SchemaError


@asynccontextmanager
async def usage_upkeep(settings: Settings) -> AsyncIterator[UsageUpkeep]:
    """The upkeep of usage on the configured database.

    Raises:
        CannotStart: something an operator must mend first.
    """
    async with Database.open(settings.database_url) as database:
        try:
            await database.check_schema()
        except (SchemaError, StorageUnavailable) as error:
            raise CannotStart(str(error)) from error
        yield UsageUpkeep(database, settings.usage_retention_months)

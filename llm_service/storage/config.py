"""Whose configuration changed, and in what order."""

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.storage.tables import config_counter, config_versions

CHANNEL = "llm_service_config"
"""Where PostgreSQL notifies listeners of a change. The payload is the tenant: a hint, no more."""


class ConfigVersions:
    """One generation counter for all tenants, and the generation of each tenant's last change."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.bumped = False

    async def bump(self, tenant: str) -> int:
        """Mark a tenant's configuration ("": the shared one) as changed by this transaction.

        Others that bump wait until this transaction ends, so generations commit in order: whoever
        has seen generation n has nothing below n left to see. So bump last, to keep the wait short.
        """
        counted = (
            update(config_counter)
            .values(generation=config_counter.c.generation + 1)
            .returning(config_counter.c.generation)
        )
        generation: int = (await self._connection.execute(counted)).scalar_one()
        await self._mark(tenant, generation)
        if self._connection.dialect.name == "postgresql":
            await self._connection.execute(select(func.pg_notify(CHANNEL, tenant)))
        self.bumped = True
        return generation

    async def since(self, generation: int) -> tuple[tuple[str, int], ...]:
        """Tenants changed after `generation`, each with its last change's generation, in order."""
        statement = (
            select(config_versions.c.tenant, config_versions.c.generation)
            .where(config_versions.c.generation > generation)
            .order_by(config_versions.c.generation)
        )
        found = await self._connection.execute(statement)
        return tuple((row.tenant, row.generation) for row in found)

    async def _mark(self, tenant: str, generation: int) -> None:
        values = {"tenant": tenant, "generation": generation}
        known = update(config_versions).where(config_versions.c.tenant == tenant).values(values)
        # Not an upsert, nor a race: whoever bumps holds the counter's row.
        if (await self._connection.execute(known)).rowcount == 0:
            await self._connection.execute(insert(config_versions).values(values))

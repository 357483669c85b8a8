"""A database of configuration in memory."""

import asyncio
from contextlib import asynccontextmanager

from llm_service.errors import StorageUnavailable
from llm_service.storage.pulse import Pulse


class Table:
    """Rows by tenant; counts who was read."""

    def __init__(self) -> None:
        self.rows: dict[str, list[object]] = {}
        self.reads: list[str] = []

    async def of_tenant(self, tenant):
        self.reads.append(tenant)
        await asyncio.sleep(0)  # others get their turn, as with a real database
        return tuple(self.rows.get(tenant, ()))


class StoredConfiguration:
    """A database of configuration in memory; `down` makes every transaction fail."""

    def __init__(self) -> None:
        self.providers, self.credentials, self.models = Table(), Table(), Table()
        self.model_configs, self.budgets = Table(), Table()
        self.generations: dict[str, int] = {}
        self.down = False
        self.ticks: asyncio.Queue[None] = asyncio.Queue()
        self.listeners = 0

    @property
    def config(self):
        return self

    @asynccontextmanager
    async def read(self):
        if self.down:
            raise StorageUnavailable("down")
        yield self

    async def pulse(self):
        async with self.read():
            return Pulse(
                max(self.generations.values(), default=0), circuits=False, deliveries=False
            )

    async def since(self, generation):
        later = [(t, g) for t, g in self.generations.items() if g > generation]
        return tuple(sorted(later, key=lambda pair: pair[1]))

    async def changes(self, poll_seconds):
        self.listeners += 1
        try:
            while True:
                yield
                await self.ticks.get()
                self.ticks.task_done()
        finally:
            self.listeners -= 1

    def save(self, provider, *models, credentials=()):
        self.providers.rows.setdefault(provider.tenant, []).append(provider)
        self.models.rows.setdefault(provider.tenant, []).extend(models)
        self.credentials.rows.setdefault(provider.tenant, []).extend(credentials)
        self.generations[provider.tenant] = 1 + max(self.generations.values(), default=0)

    def reads(self):
        """Whose configuration was read since the last time this was asked."""
        found, self.providers.reads = self.providers.reads, []
        return found

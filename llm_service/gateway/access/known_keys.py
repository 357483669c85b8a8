"""Client keys in memory: whoever shows a known one never waits for the database."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

from llm_service.domain.access import ClientKey, as_service
from llm_service.errors import Overloaded, StorageUnavailable
from llm_service.storage.database import Database

MOST_KEYS = 10_000  # at about half a KiB each; of more, the newest and the last used are kept
LOOKUPS_PER_SECOND = 20.0
LOOKUP_BURST = 100.0

_MOST_TENANTS = 500  # in one statement; of more, everybody's keys are read again


class KnownKeys:
    """Follows the database as `Configuration` does: a change is here when `refresh` returns."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._generation = 0
        self._keys: OrderedDict[str, ClientKey] = OrderedDict()
        self._all_known = False
        self.revision = 0
        """Grows with each change of what is known."""
        self._loading = asyncio.Lock()
        self._lookups = LOOKUP_BURST
        self._filled_at = clock()

    @property
    def all(self) -> tuple[ClientKey, ...]:
        """Those in memory, the least used first."""
        return tuple(self._keys.values())

    def restore(self, keys: Iterable[ClientKey]) -> None:
        """Begin with what was last known; all is read again once the database answers."""
        self._keys.update((key.key_id, key) for key in keys)

    def get(self, key_id: str) -> ClientKey | None:
        """The key, if it is in memory."""
        return self._keys.get(key_id)

    async def find(self, key_id: str) -> ClientKey | None:
        """The key, from the database if it is not in memory.

        Raises:
            Overloaded: too many keys were looked up, and this one may be there.
            StorageUnavailable: it is not in memory and the database does not answer, or has not
                answered since the start.
        """
        if (known := self._keys.get(key_id)) is not None:
            self._keys.move_to_end(key_id)
            return known
        if not self._may_look_up():
            if self._all_known:
                return None
            if not self._generation:
                raise StorageUnavailable("no client key could be read yet")
            raise Overloaded("too many unknown client keys are being looked up")
        generation = self._generation
        with as_service():
            async with self._database.read() as tx:
                found = await tx.client_keys.find(key_id)
        if self._generation != generation:
            return await self.find(key_id)  # what was read may be older than the change
        if found is None:
            return None
        known = self._keys.setdefault(key_id, found)
        self._forget_least_used()
        return known

    async def up_to(self, generation: int) -> None:
        """As `refresh`, unless what is in memory is what the database had at that generation."""
        if generation != self._generation:
            await self.refresh()

    async def refresh(self) -> None:
        """Bring what is in memory up to what is committed now.

        Raises:
            StorageUnavailable: the database does not answer; what is known stays.
        """
        async with self._loading:
            with as_service():
                async with self._database.read() as tx:
                    known = self._generation
                    # One too many: whoever made the last known change is found, unless the
                    # database was put back to before it.
                    found = await tx.config.since(known - 1)
                    rewound = known > 0 and not found
                    tenants = {tenant for tenant, generation in found if generation > known}
                    if not tenants and not rewound:
                        return
                    everything = rewound or not known or len(tenants) > _MOST_TENANTS
                    fresh = await tx.client_keys.newest(MOST_KEYS, None if everything else tenants)
                    self._all_known = await tx.client_keys.count() <= MOST_KEYS
            for key in tuple(self._keys.values()):
                if everything or key.tenant in tenants:
                    del self._keys[key.key_id]
            self._keys.update((key.key_id, key) for key in reversed(fresh))
            self._forget_least_used()
            self.revision += 1
            self._generation = max((generation for _, generation in found), default=0)

    def _may_look_up(self) -> bool:
        now = self._clock()
        filled = self._lookups + (now - self._filled_at) * LOOKUPS_PER_SECOND
        self._lookups, self._filled_at = min(LOOKUP_BURST, filled), now
        if self._lookups < 1:
            return False
        self._lookups -= 1
        return True

    def _forget_least_used(self) -> None:
        while len(self._keys) > MOST_KEYS:
            self._keys.popitem(last=False)

"""Client keys in memory where their database would be, and what tests make of them."""

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

from llm_service.domain.access import CALLER, Caller, Principal
from llm_service.domain.listing import Page
from llm_service.errors import ResourceNotFound, StorageUnavailable
from llm_service.vault import Keyring, Scheme, Vault, generate_key

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def a_vault() -> Vault:
    return Vault(Keyring.from_text(generate_key(Scheme.FERNET_V1)), "deployment")


@asynccontextmanager
async def called_by(principal: Principal):
    token = CALLER.set(Caller(principal))
    try:
        yield
    finally:
        CALLER.reset(token)


class KeyStore:
    """A database of client keys; `down` makes every transaction fail; `lookups` counts finds."""

    def __init__(self) -> None:
        self.rows = {}
        self.generations = {}
        self.down = False
        self.lookups = 0
        self.client_keys = self.config = self

    @asynccontextmanager
    async def begin(self):
        if self.down:
            raise StorageUnavailable("down")
        yield self

    read = begin

    async def bump(self, tenant):
        generation = max(self.generations.values(), default=0) + 1
        self.generations[tenant] = generation
        return generation

    async def since(self, generation):
        changed = [(t, g) for t, g in self.generations.items() if g > generation]
        return tuple(sorted(changed, key=lambda one: one[1]))

    async def get(self, tenant, key_id, *, for_update=False):
        key = self.rows.get(key_id)
        if key is None or key.tenant != tenant:
            raise ResourceNotFound("no such client key")
        return key

    async def find(self, key_id):
        self.lookups += 1
        return self.rows.get(key_id)

    async def add(self, key):
        self.rows[key.key_id] = key

    async def update(self, key, expected_version):
        self.rows[key.key_id] = replace(key, version=expected_version + 1)
        return self.rows[key.key_id]

    async def list(self, tenant, listing):
        return Page(tuple(k for k in self.rows.values() if tenant in (None, k.tenant)))

    async def newest(self, limit, tenants=None):
        found = [k for k in self.rows.values() if tenants is None or k.tenant in tenants]
        return tuple(sorted(found, key=lambda k: k.create_time, reverse=True)[:limit])

    async def count(self):
        return len(self.rows)

"""A key revoked through one replica is refused by the others."""

import asyncio

import pytest

from llm_service.domain.access import Role
from llm_service.errors import CallerUnauthenticated
from llm_service.gateway.access.authenticator import Authenticator
from llm_service.gateway.access.client_keys import ClientKeyDraft, ClientKeys
from llm_service.gateway.access.known_keys import KnownKeys
from llm_service.gateway.configuration import Configuration
from llm_service.storage.database import Database
from tests.unit.key_store import a_vault


async def test_a4_a_revoked_key_ends_on_a_replica_that_follows(database_url, database):
    vault = a_vault()
    keys = ClientKeys(database, vault)
    key, text = await keys.create("acme", ClientKeyDraft(roles=frozenset({Role.INVOKE})))
    refreshed: asyncio.Queue[None] = asyncio.Queue()

    async with Database.open(database_url) as elsewhere:
        known = KnownKeys(elsewhere)
        authenticator = Authenticator(known, vault)
        configuration = Configuration(elsewhere)
        following = asyncio.create_task(
            configuration.follow(
                0.05,
                lambda _: known.up_to(configuration.generation),
                lambda _: refreshed.put(None),
            )
        )
        await refreshed.get()
        assert (await authenticator.authorization(f"Bearer {text}")).tenant == "acme"
        await keys.revoke("acme", key.key_id)

        async with asyncio.timeout(20):
            while known.get(key.key_id).revoke_time is None:
                await refreshed.get()
        with pytest.raises(CallerUnauthenticated):
            await authenticator.authorization(f"Bearer {text}")
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def test_replicas_that_start_together_make_one_first_key(database_url, database):
    vault = a_vault()
    async with Database.open(database_url) as elsewhere:
        made = await asyncio.gather(
            *(ClientKeys(one, vault).create_first() for one in (database, elsewhere) * 3)
        )

    async with database.read() as tx:
        assert await tx.client_keys.count() == 1
    assert len([text for text in made if text]) == 1

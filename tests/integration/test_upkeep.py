"""What is past its time is cleared away, once, also by several replicas at once."""

import asyncio
from datetime import timedelta

from llm_service.domain.creation import Creation
from llm_service.domain.listing import Listing
from llm_service.errors import StorageUnavailable
from llm_service.gateway.admin.upkeep import Upkeep
from tests.integration.samples import NOW, a_credential, a_provider


def deleted(provider_id, purge_time):
    return a_provider(provider_id, delete_time=NOW - timedelta(days=30), purge_time=purge_time)


async def test_a_sweep_purges_what_is_due_and_its_secrets_and_nothing_else(database):
    due, later = deleted("due", NOW), deleted("later", NOW + timedelta(seconds=1))
    alive = a_provider("alive")
    async with database.begin() as tx:
        for provider in (due, later, alive):
            await tx.providers.add(provider)
            await tx.credentials.add(a_credential(provider))

    assert await Upkeep(database, lambda: NOW).sweep() == ("tenants/acme/providers/due",)
    assert await Upkeep(database, lambda: NOW).sweep() == ()

    async with database.read() as tx:
        left = await tx.providers.list("acme", Listing(5), show_deleted=True)
        assert [provider.provider_id for provider in left.items] == ["alive", "later"]
        assert await tx.credentials.of_provider(due.uid) == ()
        assert len(await tx.credentials.of_provider(later.uid)) == 1


async def test_replicas_that_sweep_at_once_purge_each_provider_once(database):
    async with database.begin() as tx:
        for number in range(20):
            await tx.providers.add(deleted(f"p{number}", NOW))

    swept = await asyncio.gather(*(Upkeep(database, lambda: NOW).sweep() for _ in range(4)))

    assert sorted(name for names in swept for name in names) == sorted(
        f"tenants/acme/providers/p{number}" for number in range(20)
    )


async def test_a_request_is_forgotten_after_a_day(database):
    old = Creation("acme", "m", "id-1", "digest")
    async with database.begin() as tx:
        await tx.creations.claim(old, NOW - timedelta(hours=24))
        await tx.creations.claim(Creation("acme", "m", "id-2", "digest"), NOW)
        assert await tx.creations.forget(NOW) == 1
        assert await tx.creations.forget(NOW) == 0


async def test_a_sweep_that_fails_is_made_again(any_database, caplog):
    done = asyncio.Event()
    failures = [StorageUnavailable("away"), RuntimeError("a bug")]

    class Failing(Upkeep):
        async def sweep(self):
            if failures:
                raise failures.pop(0)
            done.set()
            return ()

    task = asyncio.create_task(Failing(any_database).run(pause_seconds=0))
    async with asyncio.timeout(20):
        await done.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert "does not answer" in caplog.text

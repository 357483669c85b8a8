import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from llm_service.domain.listing import Listing
from llm_service.errors import (
    AlreadyExists,
    EtagMismatch,
    InvalidField,
    ResourceNotFound,
    StorageUnavailable,
)
from tests.integration.samples import (
    NOW,
    a_credential,
    a_full_provider,
    a_model,
    a_provider,
)


async def test_a_provider_comes_back_as_it_was_stored(database):
    plain, full = a_provider("plain"), a_full_provider()

    async with database.begin() as tx:
        await tx.providers.add(plain)
        await tx.providers.add(full)

    async with database.read() as tx:
        assert await tx.providers.get("acme", "plain") == plain
        assert await tx.providers.get("acme", "main", show_deleted=True) == full


async def test_an_id_is_unique_within_a_tenant_only(database):
    async with database.begin() as tx:
        await tx.providers.add(a_provider("main", "acme"))
        await tx.providers.add(a_provider("main", "rival"))
        with pytest.raises(AlreadyExists):
            await tx.providers.add(a_provider("main", "acme"))

    async with database.read() as tx:
        assert len(await tx.providers.of_tenant("acme")) == 1


async def test_a_deleted_providers_id_stays_taken_until_it_is_purged(database):
    async with database.begin() as tx:
        await tx.providers.add(a_full_provider())

    async with database.begin() as tx:
        with pytest.raises(AlreadyExists):
            await tx.providers.add(a_provider("main"))
        assert await tx.providers.purge_expired(NOW + timedelta(days=31)) == (
            "tenants/acme/providers/main",
        )
        await tx.providers.add(a_provider("main"))


async def test_a_deleted_provider_shows_only_to_those_who_ask_for_it(database):
    deleted = a_full_provider()
    async with database.begin() as tx:
        await tx.providers.add(deleted)

    async with database.read() as tx:
        with pytest.raises(ResourceNotFound):
            await tx.providers.get("acme", "main")
        assert await tx.providers.of_tenant("acme") == ()
        assert (await tx.providers.list("acme", Listing(5))).items == ()
        assert (await tx.providers.list("acme", Listing(5), show_deleted=True)).items == (deleted,)


async def test_one_tenants_providers_are_out_of_anothers_reach(database):
    mine, theirs = a_provider("main", "acme"), a_provider("main", "rival")
    async with database.begin() as tx:
        await tx.providers.add(mine)
        await tx.providers.add(theirs)

    async with database.begin() as tx:
        with pytest.raises(ResourceNotFound):
            await tx.providers.update(replace(theirs, tenant="acme"), 1)
        assert await tx.providers.get("acme", "main") == mine
        assert (await tx.providers.list("acme", Listing(5))).items == (mine,)
        assert (await tx.providers.list(None, Listing(5))).items == (mine, theirs)
        assert (await tx.providers.list("", Listing(5))).items == ()


async def test_an_update_is_stored_with_the_next_version(database):
    provider = a_provider()
    async with database.begin() as tx:
        await tx.providers.add(provider)

    async with database.begin() as tx:
        updated = await tx.providers.update(replace(provider, display_name="new"), 1)

    assert updated == replace(provider, display_name="new", version=2)
    async with database.read() as tx:
        assert await tx.providers.get("acme", "main") == updated


async def test_an_update_of_what_has_moved_on_or_is_gone_is_refused(database):
    provider = a_provider()
    async with database.begin() as tx:
        await tx.providers.add(provider)
        await tx.providers.update(provider, 1)

    async with database.begin() as tx:
        with pytest.raises(EtagMismatch):
            await tx.providers.update(provider, 1)
        with pytest.raises(ResourceNotFound):
            await tx.providers.update(a_provider("other"), 1)


async def test_of_concurrent_updates_from_one_version_one_wins(database):
    provider = a_provider()
    async with database.begin() as tx:
        await tx.providers.add(provider)

    async def update(name: str) -> str:
        async with database.begin() as tx:
            await tx.providers.update(replace(provider, display_name=name), 1)
        return name

    results = await asyncio.gather(*map(update, "abcde"), return_exceptions=True)

    (winner,) = [result for result in results if isinstance(result, str)]
    assert sum(isinstance(result, EtagMismatch) for result in results) == 4
    async with database.read() as tx:
        stored = await tx.providers.get("acme", "main")
    assert (stored.display_name, stored.version) == (winner, 2)


async def test_read_and_update_for_update_never_loses_a_change(database):
    async with database.begin() as tx:
        await tx.providers.add(a_provider(weight=0))

    async def increment() -> None:
        async with database.begin() as tx:
            provider = await tx.providers.get("acme", "main", for_update=True)
            await tx.providers.update(
                replace(provider, weight=provider.weight + 1), provider.version
            )

    await asyncio.gather(*(increment() for _ in range(8)))

    async with database.read() as tx:
        assert (await tx.providers.get("acme", "main")).weight == 8


async def test_a_block_that_raises_leaves_nothing(database):
    async def fail() -> None:
        async with database.begin() as tx:
            await tx.providers.add(a_provider())
            raise KeyError

    with pytest.raises(KeyError):
        await fail()

    async with database.read() as tx:
        assert await tx.providers.of_tenant("acme") == ()


async def test_a_cancelled_block_leaves_nothing_and_gives_its_connection_back(database):
    inside = asyncio.Event()

    async def stall() -> None:
        async with database.begin() as tx:
            await tx.providers.add(a_provider())
            inside.set()
            await asyncio.Event().wait()

    for _ in range(12):
        inside.clear()
        task = asyncio.create_task(stall())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async with database.begin() as tx:
        assert await tx.providers.of_tenant("acme") == ()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param({"display_name": "x" * 257}, "display_name", id="too-long"),
        pytest.param({"labels": {"a": "b\0"}}, "labels", id="nul"),
        pytest.param({"settings": {"\ud800": "b"}}, "settings", id="half-a-surrogate-pair"),
        pytest.param({"weight": 2**63}, "weight", id="too-large"),
    ],
)
async def test_what_no_column_can_hold_is_refused_by_name_and_not_written(database, change, field):
    async with database.begin() as tx:
        with pytest.raises(InvalidField) as failure:
            await tx.providers.add(a_provider(**change))
        assert await tx.providers.of_tenant("acme") == ()

    assert [violation.field for violation in failure.value.violations] == [field]


async def test_purging_takes_what_is_under_a_provider_and_spares_what_is_not_due(database):
    due, later, alive = (
        a_provider("due", delete_time=NOW, purge_time=NOW),
        a_provider("later", delete_time=NOW, purge_time=NOW + timedelta(seconds=1)),
        a_provider("alive"),
    )
    async with database.begin() as tx:
        for provider in (due, later, alive):
            await tx.providers.add(provider)
            await tx.credentials.add(a_credential(provider))
            await tx.models.add(provider.uid, a_model(provider))

    async with database.begin() as tx:
        assert await tx.providers.purge_expired(NOW) == (due.name,)

    async with database.read() as tx:
        left = await tx.providers.list("acme", Listing(5), show_deleted=True)
        assert left.items == (alive, later)
        assert await tx.credentials.of_provider(due.uid) == ()
        assert len(await tx.credentials.of_provider(later.uid)) == 1
        with pytest.raises(ResourceNotFound):
            await tx.models.get(due.uid, "gpt")


async def test_a_read_sees_one_moment(database):
    async with database.begin() as tx:
        await tx.providers.add(a_provider("one"))

    async with database.read() as reading:
        before = await reading.providers.of_tenant("acme")
        async with database.begin() as tx:
            await tx.providers.add(a_provider("two"))
        after = await reading.providers.of_tenant("acme")

    assert before == after


async def test_a_read_cannot_write(database):
    with pytest.raises(StorageUnavailable):
        async with database.read() as tx:
            await tx.providers.add(a_provider())

    async with database.read() as tx:
        assert await tx.providers.of_tenant("acme") == ()

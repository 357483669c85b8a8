"""A verdict on a credential is stored once, and never over somebody else's change."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from llm_service.domain.provider import SourceType
from llm_service.errors import StorageUnavailable
from llm_service.gateway.verdicts import Verdicts
from tests.integration.samples import a_credential, a_provider


@asynccontextmanager
async def running(verdicts):
    task = asyncio.create_task(verdicts.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def stored(database, *credentials, provider):
    async with database.begin() as tx:
        await tx.providers.add(provider)
        for credential in credentials:
            await tx.credentials.add(credential)


async def read(database, credential):
    async with database.read() as tx:
        return await tx.credentials.get(credential.provider_uid, credential.credential_id)


async def when(database, credential, *, rejected):
    async with asyncio.timeout(20):
        while (found := await read(database, credential)).rejected is not rejected:
            pass
    return found


async def test_a_credential_is_marked_and_the_mark_taken_away(database):
    provider = a_provider()
    credential = a_credential(provider, sealed="sealed")
    await stored(database, credential, provider=provider)
    verdicts = Verdicts(database)

    async with running(verdicts):
        for _ in range(3):
            verdicts.hear(provider, credential, rejected=True)
        marked = await when(database, credential, rejected=True)
        verdicts.hear(provider, marked, rejected=False)
        cleared = await when(database, credential, rejected=False)

    assert marked == replace(credential, version=2, rejected=True)
    assert cleared.version == 3
    async with database.read() as tx:
        changes = dict(await tx.config.since(0))
    assert provider.tenant in changes


async def test_a_pointer_and_no_news_are_not_stored(database):
    provider = a_provider()
    pointer = a_credential(
        provider, "env", source_type=SourceType.ENVIRONMENT_VARIABLE, reference="KEY"
    )
    sealed, last = (a_credential(provider, name, sealed="sealed") for name in ("key", "last"))
    await stored(database, pointer, sealed, last, provider=provider)
    verdicts = Verdicts(database)

    async with running(verdicts):
        verdicts.hear(provider, None, rejected=True)
        verdicts.hear(provider, pointer, rejected=True)
        verdicts.hear(provider, sealed, rejected=False)
        verdicts.hear(provider, last, rejected=True)
        await when(database, last, rejected=True)

    assert await read(database, pointer) == pointer
    assert await read(database, sealed) == sealed


async def test_a_credential_changed_meanwhile_is_left_alone(database):
    provider = a_provider()
    old, last = (a_credential(provider, name, sealed="sealed") for name in ("old", "last"))
    await stored(database, old, last, provider=provider)
    async with database.begin() as tx:
        rotated = await tx.credentials.update(replace(old, secret_version=2), old.version)
    verdicts = Verdicts(database)

    async with running(verdicts):
        verdicts.hear(provider, old, rejected=True)
        verdicts.hear(provider, last, rejected=True)
        await when(database, last, rejected=True)

    assert await read(database, old) == rotated


async def test_a_pointer_that_works_loses_the_mark_a_check_gave_it(database):
    provider = a_provider()
    pointer = a_credential(
        provider, source_type=SourceType.ENVIRONMENT_VARIABLE, reference="KEY", rejected=True
    )
    await stored(database, pointer, provider=provider)
    verdicts = Verdicts(database)

    async with running(verdicts):
        verdicts.hear(provider, pointer, rejected=False)
        found = await when(database, pointer, rejected=False)

    assert found == replace(pointer, version=2, rejected=False)


class Flaky:
    """A database whose first transactions fail."""

    def __init__(self, database, *failures):
        self._database = database
        self._failures = list(failures)

    def begin(self):
        if self._failures:
            raise self._failures.pop(0)
        return self._database.begin()


@pytest.mark.parametrize("failure", [StorageUnavailable("down"), ValueError("a bug")])
async def test_a_verdict_that_could_not_be_stored_can_be_heard_again(database, failure, caplog):
    provider = a_provider()
    first, second = (a_credential(provider, name, sealed="sealed") for name in ("one", "two"))
    await stored(database, first, second, provider=provider)
    verdicts = Verdicts(Flaky(database, failure))

    async with running(verdicts):
        verdicts.hear(provider, first, rejected=True)
        verdicts.hear(provider, second, rejected=True)
        await when(database, second, rejected=True)
        assert not (await read(database, first)).rejected
        verdicts.hear(provider, first, rejected=True)
        await when(database, first, rejected=True)

    assert "could not be marked" in caplog.text

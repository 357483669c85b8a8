"""A replica follows its key file, and loses no key that a call may still need."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from llm_service.errors import StorageUnavailable
from llm_service.gateway.admin.keys import RETIRED, WRONG, Keys
from llm_service.gateway.key_rings import KeyRings, RingUse
from llm_service.storage.database import Database
from llm_service.vault import BadKeyring, Keyring, Scheme, Vault, generate_key

K1, OTHER_K1, K2 = (
    f"{key_id} fernet-v1 {generate_key(Scheme.FERNET_V1)}" for key_id in ("k1", "k1", "k2")
)
EVER = datetime(2000, 1, 1, tzinfo=UTC)
SECONDS = 20


@dataclass
class File:
    """A key file, and what was done because of it."""

    text: str = K1
    failure: Exception | None = None
    reads: int = 0
    refreshed: int = 0
    sealing: list[bool] = field(default_factory=list)
    changes: int = 0
    change_failure: Exception | None = None

    def read(self) -> Keyring:
        self.reads += 1
        if self.failure:
            raise self.failure
        return Keyring.from_text(self.text)

    async def refresh(self) -> None:
        self.refreshed += 1

    async def changed(self) -> None:
        self.changes += 1
        if self.change_failure:
            raise self.change_failure


def rings_of(database, file: File, *, linger: float = 600) -> tuple[KeyRings, Vault]:
    vault = Vault(Keyring.from_text(file.text), "deployment")
    use = RingUse(file.read, file.refresh, file.sealing.append, file.changed, linger)
    return KeyRings(vault, database, use), vault


async def reports(database):
    async with database.read() as tx:
        return await tx.keys.replicas(EVER)


async def test_a_changed_file_is_taken_over_and_reported(database):
    file = File()
    rings, vault = rings_of(database, file)
    await rings.look()
    [before] = await reports(database)

    file.text = f"{K1}\n{K2} primary"
    await rings.look()

    [after] = await reports(database)
    assert (before.primary_id, before.key_ids) == ("k1", ("k1",))
    assert (after.primary_id, after.key_ids) == ("k2", ("k1", "k2"))
    assert after.replica_uid == before.replica_uid
    assert vault.keyring.primary_id == "k2"
    assert (file.refreshed, file.sealing) == (0, [True, True])


async def test_a_new_ring_is_acted_upon_once_and_used_though_the_database_fails_meanwhile(database):
    file = File(change_failure=StorageUnavailable("away"))
    rings, vault = rings_of(database, file)
    await rings.look()
    before = file.changes

    file.text = f"{K1}\n{K2} primary"
    await rings.look()
    await rings.look()

    assert (before, file.changes) == (0, 1)
    assert vault.keyring.primary_id == "k2"


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (BadKeyring("key ring line 1: bad"), "line 1"),
        (FileNotFoundError(2, "No such file"), "No such file"),
    ],
)
async def test_a_file_that_cannot_be_used_changes_nothing_and_is_reported(
    database, caplog, failure, said
):
    file = File()
    rings, vault = rings_of(database, file)
    file.failure = failure

    await rings.look()
    await rings.look()

    [report] = await reports(database)
    assert said in report.problem
    assert vault.keyring == Keyring.from_text(K1)
    assert len([one for one in caplog.records if said in one.getMessage()]) == 1


async def test_a_key_that_left_the_file_opens_until_the_longest_call_is_over(database):
    for linger, kept in ((600, {"k1", "k2"}), (0, {"k2"})):
        file = File()
        rings, vault = rings_of(database, file, linger=linger)
        await rings.look()

        file.text = K2
        await rings.look()
        await rings.look()

        assert set(vault.keyring.schemes) == kept
        assert file.refreshed == 1


async def test_a_wrong_or_retired_key_does_not_seal(database):
    file = File()
    rings, vault = rings_of(database, file)
    await rings.look()

    file.text = OTHER_K1
    await rings.look()
    wrong = vault.trouble
    file.text = f"{K1}\n{K2} primary"
    await rings.look()
    async with database.begin() as tx:
        await tx.keys.retire("k1", EVER)
    file.text = K1
    await rings.look()

    assert WRONG in wrong
    assert RETIRED in vault.trouble
    assert file.sealing == [True, False, True, False]


@asynccontextmanager
async def nowhere(tmp_path):
    async with Database.open(f"postgresql+psycopg://u@/d?host={tmp_path}") as database:
        yield database


async def test_a_ring_that_cannot_be_checked_is_not_taken_over(tmp_path):
    file = File()
    async with nowhere(tmp_path) as database:
        rings, vault = rings_of(database, file)
        file.text = K2

        with pytest.raises(StorageUnavailable):
            await rings.look()

    assert vault.keyring == Keyring.from_text(K1)


async def test_following_outlasts_failures_and_is_forgotten_at_its_end(database, caplog):
    file = File(failure=RuntimeError("a bug"))
    rings, vault = rings_of(database, file)
    following = asyncio.create_task(rings.follow(0.01))
    await until(lambda: "cannot be looked at" in caplog.text)

    file.failure, file.text = None, f"{K1}\n{K2} primary"
    await until(lambda: vault.keyring.primary_id == "k2")
    async with asyncio.timeout(SECONDS):
        while not await reports(database):  # noqa: ASYNC110 - another process's table
            await asyncio.sleep(0.01)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)

    assert await reports(database) == ()


async def test_following_goes_on_while_the_database_is_away(tmp_path, caplog):
    file = File()
    async with nowhere(tmp_path) as database:
        rings, vault = rings_of(database, file)
        following = asyncio.create_task(rings.follow(0.01))
        await until(lambda: "keeping the key ring" in caplog.text)
        file.text = K2
        await until(lambda: file.reads > 3)
        following.cancel()
        [ended] = await asyncio.gather(following, return_exceptions=True)

    assert isinstance(ended, asyncio.CancelledError)
    assert vault.keyring == Keyring.from_text(K1)
    assert caplog.text.count("keeping the key ring") == 1


async def test_no_ring_is_nothing_to_verify(database):
    assert await Keys(database, Vault(None, "deployment")).verify(None) == {}


async def until(true) -> None:
    async with asyncio.timeout(SECONDS):
        while not true():  # noqa: ASYNC110 - a log and a vault tell nobody
            await asyncio.sleep(0.01)

"""The snapshot on disk: whole and as it was, or refused."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import EnumType
from random import Random
from types import NoneType
from typing import get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.domain.access import ClientKey, Role
from llm_service.errors import StorageUnavailable
from llm_service.gateway import snapshots as module
from llm_service.gateway.access.known_keys import KnownKeys
from llm_service.gateway.configuration import SHARED, Configuration, Owned, owned_of
from llm_service.gateway.snapshots import (
    BadSnapshot,
    Snapshot,
    SnapshotFile,
    SnapshotKeeper,
    opened,
    sealed,
)
from llm_service.vault import Keyring, Scheme, generate_key
from tests.fakes import a_credential, a_model, a_provider
from tests.unit.stored_configuration import StoredConfiguration

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
KEYS = Keyring.from_text(f"k1 {Scheme.FERNET_V1} {generate_key(Scheme.FERNET_V1)}")
OTHERS = Keyring.from_text(f"k1 {Scheme.AES256GCM_V1} {generate_key(Scheme.AES256GCM_V1)}")


def a_snapshot(**owned: Owned) -> Snapshot:
    return Snapshot("d1", "postgresql://db/x", 7, NOW, owned)


def something() -> Owned:
    provider = a_provider("own", tenant="acme", settings={"region": "eu"})
    return owned_of([provider], [a_credential(provider)], [a_model(provider)])


def written(snapshot: Snapshot, keys: Keyring = KEYS) -> bytes:
    return b"".join(sealed(snapshot, keys))


@given(seed=st.integers(0, 2**32))
def test_whatever_is_owned_comes_back_as_it_was(seed):
    draw = Random(seed)  # noqa: S311
    owned = {str(number): anything(Owned, draw) for number in range(2)}
    client_keys = tuple(anything(ClientKey, draw) for _ in range(2))
    snapshot = replace(a_snapshot(**owned), client_keys=client_keys)

    assert opened(written(snapshot), KEYS) == snapshot


def anything(hint, draw: Random):
    """Some value of a type: what is added to `Owned` is in it by that alone."""
    if hint in PLAIN:
        return PLAIN[hint](draw)
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        return hint(**{one.name: anything(hints[one.name], draw) for one in fields(hint)})
    if get_origin(hint) is tuple:
        return tuple(anything(get_args(hint)[0], draw) for _ in range(draw.randrange(3)))
    if get_origin(hint) is frozenset:
        return frozenset(anything(get_args(hint)[0], draw) for _ in range(draw.randrange(3)))
    if get_origin(hint) in (Mapping, dict):
        key, value = get_args(hint)
        return {anything(key, draw): anything(value, draw) for _ in range(draw.randrange(3))}
    return draw.choice(list(hint)) if isinstance(hint, EnumType) else of_union(hint, draw)


def of_union(hint, draw: Random):
    one = draw.choice(get_args(hint))
    return None if one is NoneType else anything(one, draw)


PLAIN = {
    str: lambda draw: "".join(draw.choices("a\u00e9\u732b\0 '", k=draw.randrange(4))),
    int: lambda draw: draw.choice((0, -1, 2**40, 2**63 - 1, draw.randrange(100))),
    float: lambda draw: draw.choice((0.0, 1.5, draw.random())),
    bool: lambda draw: draw.random() < 0.5,
    bytes: lambda draw: draw.randbytes(draw.randrange(4)),
    datetime: lambda draw: NOW + timedelta(microseconds=draw.randrange(10**15)),
}


def test_nothing_of_it_can_be_read_without_the_key():
    data = written(a_snapshot(acme=something()))

    assert b"acme" not in data
    assert b"THE_KEY" not in data
    with pytest.raises(BadSnapshot, match="key that is not in the key ring"):
        opened(data, Keyring.from_text(f"k2 {Scheme.FERNET_V1} {generate_key(Scheme.FERNET_V1)}"))
    with pytest.raises(BadSnapshot, match="altered"):
        opened(data, OTHERS)


def test_a_change_of_any_byte_is_found():
    data = written(a_snapshot(acme=something()))

    for place in range(len(data)):
        with pytest.raises(BadSnapshot):
            opened(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :], KEYS)


def test_a_snapshot_cut_anywhere_is_not_taken_for_a_whole_one():
    data = written(a_snapshot(acme=something(), rival=something()))

    for size in range(0, len(data), 11):
        with pytest.raises(BadSnapshot):
            opened(data[:size], KEYS)


def test_frames_of_two_snapshots_do_not_mix():
    older, newer = (written(a_snapshot(acme=something())) for _ in range(2))
    line = older.index(b"\n") + 1
    first = line + 4 + int.from_bytes(older[line : line + 4], "big")

    with pytest.raises(BadSnapshot, match="altered"):
        opened(older[:first] + newer[first:], KEYS)


def test_a_file_is_replaced_whole_and_only_its_owner_reads_it(tmp_path):
    file = SnapshotFile(tmp_path / "made" / "snapshot", KEYS)

    file.write(a_snapshot())
    file.write(a_snapshot(acme=something()))

    assert file.read() == a_snapshot(acme=something())
    assert file.path.stat().st_mode & 0o077 == 0
    assert [one.name for one in file.path.parent.iterdir()] == ["snapshot"]


def test_a_write_that_fails_leaves_the_last_one(tmp_path, monkeypatch):
    file = SnapshotFile(tmp_path / "snapshot", KEYS)
    file.write(a_snapshot())

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        file.write(a_snapshot(acme=something()))

    assert file.read() == a_snapshot()
    assert [one.name for one in tmp_path.iterdir()] == ["snapshot"]


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(BadSnapshot, match="there is no snapshot"):
        SnapshotFile(tmp_path / "snapshot", KEYS).read()


def test_an_age_is_never_negative():
    assert a_snapshot().age(NOW + timedelta(seconds=5)) == 5
    assert a_snapshot().age(NOW - timedelta(hours=5)) == 0


# --- keeping it -----------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def database():
    stored = StoredConfiguration()
    stored.save(a_provider("shared"))
    stored.save(a_provider("own", tenant="acme"))
    return stored


def a_keeper(file, configuration, **changes) -> SnapshotKeeper:
    known = {"deployment": "d1", "database": "db", "max_age": 900.0}
    keys = changes.pop("keys", None) or KnownKeys(configuration._database)
    return SnapshotKeeper(file, configuration, keys, **{**known, **changes})


async def test_client_keys_are_kept_and_a_change_of_theirs_is_written(database, tmp_path):
    file, configuration = SnapshotFile(tmp_path / "snapshot", KEYS), Configuration(database)
    keys = KnownKeys(database)
    await configuration.view(SHARED)
    keeper = a_keeper(file, configuration, keys=keys)
    await keeper.write()
    assert not keeper._is_due()
    key = ClientKey("k" * 16, "acme", frozenset(Role), NOW, NOW, b"digest", "k1")

    keys.restore([key])
    keys.revision += 1

    assert keeper._is_due()
    await keeper.write()
    assert file.read().client_keys == (key,)


@contextlib.asynccontextmanager
async def keeping(keeper):
    task = asyncio.create_task(keeper.run())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def until(file, condition) -> Snapshot:
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(BadSnapshot):
                if condition(found := file.read()):
                    return found
            await asyncio.sleep(0.01)


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(module, "_LEAST_SECONDS", 0.01)


@pytest.mark.usefixtures("hurried")
async def test_a_change_is_on_disk_soon(database, tmp_path):
    configuration = Configuration(database)
    await configuration.view("acme")
    file = SnapshotFile(tmp_path / "snapshot", KEYS)

    async with keeping(a_keeper(file, configuration)):
        first = await until(file, lambda found: "acme" in found.owned)
        database.save(a_provider("new", tenant="acme"))
        await configuration.refresh()
        second = await until(file, lambda found: found.generation == 3)

    assert first.owned["acme"] != second.owned["acme"] == configuration.loaded["acme"]


@pytest.mark.usefixtures("hurried")
async def test_a_snapshot_is_renewed_before_it_is_too_old(database, tmp_path):
    clock = Clock()
    configuration = Configuration(database, now=clock)
    await configuration.view("acme")
    file = SnapshotFile(tmp_path / "snapshot", KEYS)

    async with keeping(a_keeper(file, configuration, max_age=0.03)):
        first = await until(file, lambda _: True)
        await until(file, lambda found: found.confirmed > first.confirmed)


@pytest.mark.usefixtures("hurried")
async def test_a_restarted_replica_loads_whom_it_served_before(database, tmp_path):
    file = SnapshotFile(tmp_path / "snapshot", KEYS)
    file.write(Snapshot("d1", "db", 1, NOW, {SHARED: something(), "acme": something()}))
    configuration = Configuration(database)

    async with keeping(a_keeper(file, configuration)):
        found = await until(file, lambda found: found.generation == 0)

    assert set(found.owned) == {SHARED, "acme"}
    assert found.owned["acme"].providers[0].provider_id == "own"  # the database's, not the file's


@pytest.mark.usefixtures("hurried")
async def test_another_deployments_snapshot_tells_nothing(database, tmp_path):
    file = SnapshotFile(tmp_path / "snapshot", KEYS)
    file.write(Snapshot("another", "db", 1, NOW, {"acme": something()}))
    configuration = Configuration(database)

    async with keeping(a_keeper(file, configuration)):
        found = await until(file, lambda found: found.deployment == "d1")

    assert found.owned == {}


async def test_a_disk_that_is_full_is_logged_once_and_tried_again(database, tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    keeper = a_keeper(SnapshotFile(blocked / "snapshot", KEYS), Configuration(database))

    await keeper.write()
    await keeper.write()
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1

    blocked.unlink()
    await keeper.write()
    assert (blocked / "snapshot").exists()


# --- what is restored -----------------------------------------------------------------------------


async def test_what_was_restored_serves_while_the_database_is_away(database):
    configuration = Configuration(database)
    database.down = True

    configuration.restore({SHARED: owned_of([], [], []), "acme": something()}, 2, age=60)

    assert (await configuration.view("acme")).offers["m"]
    with pytest.raises(StorageUnavailable):
        await configuration.view("never-loaded")


async def test_what_was_restored_follows_the_database_once_it_is_back(database):
    configuration = Configuration(database)
    configuration.restore({SHARED: owned_of([], [], []), "acme": something()}, 1, age=60)

    await configuration.refresh()

    assert set((await configuration.view("acme")).providers) == {"tenants/acme/providers/own"}
    assert (await configuration.view("acme")).providers["tenants/acme/providers/own"].settings == {}
    assert configuration.generation == 2


async def test_d2_calls_are_refused_once_nothing_confirmed_the_configuration_for_too_long(database):
    clock = Clock()
    configuration = Configuration(database, max_age=900, now=clock)
    await configuration.view("acme")
    database.down = True

    clock.time += 900
    assert await configuration.view("acme")

    clock.time += 1
    with pytest.raises(StorageUnavailable, match="too old"):
        await configuration.view("acme")

    database.down = False
    await configuration.refresh()
    assert await configuration.view("acme")


async def test_the_age_counts_from_before_a_restart(database):
    configuration = Configuration(database, max_age=900, now=Clock())

    configuration.restore({SHARED: something(), "acme": something()}, 2, age=901)

    with pytest.raises(StorageUnavailable, match="too old"):
        await configuration.view("acme")


async def test_a_database_that_was_put_back_to_an_earlier_state_is_read_again(database):
    configuration = Configuration(database)
    await configuration.view("acme")
    await configuration.refresh()
    database.generations = {}
    database.providers.rows["acme"] = [a_provider("earlier", tenant="acme")]

    await configuration.refresh()

    assert "tenants/acme/providers/earlier" in (await configuration.view("acme")).providers

"""Which keys stored values need, and how a key is kept from being needed again."""

import ast
import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import String, Text, create_engine, func, make_url, select

import llm_service
from llm_service.domain.encryption import KeyCheck, ReplicaKeys, SealedRow
from llm_service.errors import EncryptionKeyMissing, ResourceNotFound
from llm_service.storage import sealed
from llm_service.storage.tables import METADATA
from llm_service.storage.tables.columns import Sealed
from tests.integration.samples import NOW, a_credential, a_provider

OLD, NEW = "sealed1:fernet-v1:old:AAAA", "sealed1:aes256gcm-v1:new:AAAA"


async def stored(database, *values: str):
    provider = a_provider()
    credentials = [
        a_credential(provider, f"c{number}", sealed=value) for number, value in enumerate(values)
    ]
    async with database.begin() as tx:
        await tx.keys.register(
            [KeyCheck(key, "fernet-v1", key * 20) for key in ("old", "new")], NOW
        )
        await tx.providers.add(provider)
        for credential in credentials:
            await tx.credentials.add(credential)
    return provider, credentials


async def retired(database, key_id: str) -> None:
    async with database.begin() as tx:
        await tx.keys.lock(key_id)
        await tx.keys.retire(key_id, NOW)


def as_row(credential, **changes) -> SealedRow:
    row = SealedRow(
        "credentials",
        "sealed",
        "acme",
        credential.provider_uid,
        credential.uid,
        credential.secret_version,
        credential.version,
        credential.sealed,
    )
    return replace(row, **changes)


async def current(database, provider, credential_id: str = "c0"):
    async with database.read() as tx:
        return await tx.credentials.get(provider.uid, credential_id)


def test_every_sealed_column_is_rewrapped():
    declared = {
        (table.name, column.name)
        for table in METADATA.sorted_tables
        for column in table.c
        if isinstance(column.type, Sealed)
    }

    assert declared == {(column.table.name, column.name) for column in sealed.COLUMNS}
    for column in sealed.COLUMNS:
        assert {"uid", "version", "secret_version"} <= set(column.table.c.keys())


def test_whatever_is_bound_to_a_column_is_bound_to_one_that_is_rewrapped():
    known = {(column.table.name, column.name) for column in sealed.COLUMNS}
    bound = {
        tuple(ast.literal_eval(word.value) for word in call.keywords[:2])
        for path in Path(llm_service.__file__).parent.rglob("*.py")
        if "Binding(" in (source := path.read_text())
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "Binding"
        and call.keywords
    }

    assert bound == known


def unregistered(url: str) -> list[str]:
    """Columns that hold a sealed value and are not of the type that says so."""
    driver = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}
    engine = create_engine(make_url(url).set(drivername=driver[make_url(url).get_backend_name()]))
    found = []
    with engine.connect() as connection:
        for table in METADATA.sorted_tables:
            for column in table.c:
                if not isinstance(column.type, String | Text):
                    continue
                holding = select(func.count()).where(column.like("sealed1:%"))
                if connection.execute(holding).scalar_one():
                    found.append(f"{table.name}.{column.name}")
    engine.dispose()
    return found


async def test_a_sealed_value_in_a_column_that_is_not_rewrapped_is_found(database, database_url):
    await stored(database, OLD, NEW)
    assert unregistered(database_url) == []

    async with database.begin() as tx:
        await tx.providers.add(a_provider("other", description=OLD))

    assert unregistered(database_url) == ["providers.description"]


async def test_values_are_counted_by_the_key_they_need(database):
    await stored(database, OLD, OLD, NEW, "")

    async with database.read() as tx:
        assert await tx.sealed.references() == {"old": 2, "new": 1}
        assert await tx.sealed.outstanding("new") == 2


async def test_a_batch_holds_what_another_key_sealed_in_order_from_behind_a_row(database):
    _, credentials = await stored(database, OLD, NEW, OLD, OLD)
    uids = sorted(one.uid for one in credentials if one.sealed == OLD)
    column = sealed.CREDENTIAL_SECRETS

    async with database.read() as tx:
        first = await tx.sealed.batch(column, "new", "", 2)
        rest = await tx.sealed.batch(column, "new", first[-1].row_uid, 2)

    assert [row.row_uid for row in first] == uids[:2]
    assert [row.row_uid for row in rest] == uids[2:]
    assert first[0] in [as_row(one) for one in credentials]
    assert OLD not in repr(first[0])


async def test_replacing_leaves_the_version_and_loses_to_any_other_change(database):
    provider, [credential] = await stored(database, OLD)

    async with database.begin() as tx:
        outdated = await tx.sealed.replace(as_row(credential, version=9), NEW)
        other = await tx.sealed.replace(as_row(credential, sealed=NEW), NEW)
        done = await tx.sealed.replace(as_row(credential), NEW)
        again = await tx.sealed.replace(as_row(credential), NEW)

    assert (outdated, other, done, again) == (False, False, True, False)
    assert await current(database, provider) == replace(credential, sealed=NEW)


async def test_whoever_writes_a_row_read_before_does_not_undo_a_rewrap(database):
    provider, [credential] = await stored(database, OLD)
    async with database.begin() as tx:
        await tx.sealed.replace(as_row(credential), NEW)

    async with database.begin() as tx:
        await tx.credentials.update(replace(credential, display_name="late"), credential.version)

    found = await current(database, provider)
    assert (found.display_name, found.sealed) == ("late", NEW)


async def test_a_new_secret_is_written_as_it_is_sealed(database):
    provider, [credential] = await stored(database, OLD)
    rotated = replace(credential, secret_version=2, sealed=NEW)

    async with database.begin() as tx:
        await tx.credentials.update(rotated, credential.version)

    assert (await current(database, provider)).sealed == NEW


async def test_nothing_can_be_stored_under_a_retired_key(database):
    provider, [credential] = await stored(database, NEW)
    await retired(database, "old")

    with pytest.raises(EncryptionKeyMissing):
        async with database.begin() as tx:
            await tx.credentials.add(a_credential(provider, "c1", sealed=OLD))
    changed = replace(credential, secret_version=2, sealed=OLD)
    with pytest.raises(EncryptionKeyMissing):
        async with database.begin() as tx:
            await tx.credentials.update(changed, credential.version)

    assert await current(database, provider) == credential
    async with database.read() as tx:
        assert await tx.sealed.references() == {"new": 1}


async def test_a_key_is_not_retired_past_a_write_that_names_it(database):
    """One of the two waits for the other, and sees what it did."""
    provider, _ = await stored(database)
    counted = []

    async def retire() -> None:
        async with database.begin() as tx:
            await tx.keys.lock("old")
            counted.append((await tx.sealed.references()).get("old", 0))

    async with database.begin() as tx:
        await tx.credentials.add(a_credential(provider, sealed=OLD))
        waiting = asyncio.create_task(retire())
        await asyncio.wait([waiting], timeout=0.2)
        assert not waiting.done()
    await waiting

    assert counted == [1]


async def test_the_first_key_under_an_id_is_the_one_that_is_known(database):
    first, second = KeyCheck("k", "fernet-v1", "a" * 64), KeyCheck("k", "fernet-v1", "b" * 64)

    async with database.begin() as tx:
        await tx.keys.register([first], NOW)
        await tx.keys.register([second], NOW + timedelta(days=1))
        [known] = await tx.keys.all()

    assert (known.check, known.create_time, known.retire_time) == (first, NOW, None)


async def test_an_unknown_key_cannot_be_locked(database):
    with pytest.raises(ResourceNotFound):
        async with database.begin() as tx:
            await tx.keys.lock("never")


async def test_a_replica_is_known_by_what_it_said_last_until_it_is_forgotten(database):
    first = ReplicaKeys("uid-1", "host", "old", ("old",), "", NOW)
    later = replace(first, primary_id="new", key_ids=("new", "old"), report_time=NOW)
    silent = replace(first, replica_uid="uid-2", report_time=NOW - timedelta(days=2))

    async with database.begin() as tx:
        for one in (first, silent, later):
            await tx.keys.report(one)
        recent = await tx.keys.replicas(NOW)
        await tx.keys.forget_before(NOW)
        everybody = await tx.keys.replicas(NOW - timedelta(days=9))
        await tx.keys.forget("uid-1")
        nobody = await tx.keys.replicas(NOW - timedelta(days=9))

    assert (recent, everybody, nobody) == ((later,), (later,), ())

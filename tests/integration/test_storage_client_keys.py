"""Client keys on both databases, and PostgreSQL's own lock between tenants."""

from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from llm_service.domain.access import (
    CALLER,
    Caller,
    ClientKey,
    ClientKeyState,
    Principal,
    Role,
    as_service,
)
from llm_service.domain.listing import Listing
from llm_service.domain.provider import RateLimits
from llm_service.errors import AlreadyExists, EtagMismatch, ResourceInUse, ResourceNotFound
from llm_service.gateway.access.client_keys import ClientKeys
from llm_service.gateway.access.known_keys import KnownKeys
from llm_service.storage import migrations
from llm_service.storage.database import Database
from llm_service.storage.tables import METADATA
from tests.integration.samples import a_credential, a_provider
from tests.unit.key_store import a_vault

NOW = datetime(2026, 6, 1, tzinfo=UTC)
TABLES = ("providers", "credentials", "models", "usage_records", "client_keys")


def a_key(key_id: str = "a" * 16, tenant: str = "acme", **changed) -> ClientKey:
    key = ClientKey(key_id, tenant, frozenset({Role.INVOKE}), NOW, NOW, b"\x00\xff" * 16, "ring")
    key = replace(key, rate_limits=RateLimits(1, 2**40, tokens_per_day=3))
    return replace(key, **changed)


@contextmanager
def called_from(tenant: str):
    token = CALLER.set(Caller(Principal("test", tenant)))
    try:
        yield
    finally:
        CALLER.reset(token)


async def test_a_key_of_the_release_before_has_no_rate_limits(database):
    key = a_key()
    async with database.begin() as tx:
        await tx.client_keys.add(key)
        await tx.client_keys._connection.execute(text("UPDATE client_keys SET rate_limits = NULL"))
    async with database.read() as tx:
        found = await tx.client_keys.find(key.key_id)

    assert found == replace(key, rate_limits=RateLimits())


async def test_a_key_comes_back_as_it_was_stored(database):
    key = a_key(
        roles=frozenset(Role),
        display_name="nightly",
        disabled=True,
        expire_time=NOW + timedelta(days=1),
        revoke_time=NOW,
    )
    async with database.begin() as tx:
        await tx.client_keys.add(key)

    async with database.read() as tx:
        assert await tx.client_keys.get("acme", key.key_id) == key
        assert await tx.client_keys.find(key.key_id) == key
        assert await tx.client_keys.find("b" * 16) is None
        assert await tx.client_keys.count() == 1
        with pytest.raises(ResourceNotFound):
            await tx.client_keys.get("other", key.key_id)


async def test_a_key_is_changed_only_from_the_version_that_was_read(database):
    async with database.begin() as tx:
        await tx.client_keys.add(a_key())
        changed = await tx.client_keys.update(a_key(disabled=True), 1)

        assert (changed.version, changed.disabled) == (2, True)
        with pytest.raises(EtagMismatch):
            await tx.client_keys.update(a_key(), 1)
        with pytest.raises(AlreadyExists):
            await tx.client_keys.add(a_key(tenant="other"))


async def test_keys_are_listed_by_owner_and_the_newest_read_first(database):
    keys = [
        a_key(letter * 16, tenant, create_time=NOW + timedelta(hours=hours))
        for letter, tenant, hours in (("a", "", 1), ("b", "acme", 3), ("c", "other", 2))
    ]
    async with database.begin() as tx:
        for key in keys:
            await tx.client_keys.add(key)

    async with database.read() as tx:
        everybodys = await tx.client_keys.list(None, Listing(10))
        acmes = await tx.client_keys.list("acme", Listing(10))
        newest = await tx.client_keys.newest(2)
        of_tenants = await tx.client_keys.newest(10, {"", "other"})

    assert everybodys.items == tuple(keys)
    assert acmes.items == (keys[1],)
    assert newest == (keys[1], keys[2])
    assert of_tenants == (keys[2], keys[0])


# --- the second lock -----------------------------------------------------------------------------


@pytest.fixture
async def confined(postgresql_url, confined_url):
    """A database whose tables belong to a user that policies hold, with rows of three owners."""
    async with Database.open(postgresql_url) as superuser, superuser.begin() as tx:
        for tenant in ("", "acme", "other"):
            provider = replace(a_provider("p", tenant), uid=f"provider-of-{tenant}")
            await tx.providers.add(provider)
            credential = replace(a_credential(provider), uid=f"credential-of-{tenant}")
            await tx.credentials.add(credential)
            await tx.client_keys.add(a_key(f"{tenant:a<16}", tenant))
    async with Database.open(confined_url) as database:
        yield database


async def rows_of(database, table: str) -> set[str]:
    """Who owns the rows a caller sees, whatever it asks for."""
    columns = METADATA.tables[table].c
    owner = columns.uid if "uid" in columns else columns.tenant
    async with database.read() as tx:
        found = await tx.providers._connection.execute(select(owner))
        return {row[0].rpartition("-of-")[2] for row in found}


async def test_a8_without_a_where_clause_a_tenant_sees_its_own_rows_and_what_it_may_use(confined):
    with called_from("acme"):
        assert await rows_of(confined, "providers") == {"", "acme"}
        assert await rows_of(confined, "credentials") == {"acme"}
        assert await rows_of(confined, "client_keys") == {"acme"}
        with as_service():
            assert await rows_of(confined, "credentials") == {"", "acme", "other"}
    assert await rows_of(confined, "client_keys") == {"", "acme", "other"}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE providers SET disabled = true WHERE tenant <> 'acme'",
        "DELETE FROM providers WHERE tenant <> 'acme'",
        "DELETE FROM credentials WHERE uid <> 'credential-of-acme'",
        "UPDATE client_keys SET disabled = true WHERE tenant <> 'acme'",
    ],
)
async def test_a8_a_tenant_changes_no_row_of_another_nor_a_shared_one(confined, statement):
    with called_from("acme"):
        async with confined.begin() as tx:
            changed = await tx.providers._connection.execute(text(statement))

            assert changed.rowcount == 0


async def test_a8_a_tenant_adds_no_row_to_another(confined):
    with called_from("acme"):
        async with confined.begin() as tx:
            await tx.client_keys.add(a_key("z" * 16, "acme"))
        for tenant in ("other", ""):
            with pytest.raises(DBAPIError, match="row-level security"):
                async with confined.begin() as tx:
                    await tx.client_keys.add(a_key("y" * 16, tenant))


async def test_a8_a_session_that_says_for_whom_it_is_not_sees_nothing(confined):
    for _ in range(2):  # on a new connection, and on one that has worked for everybody
        async with confined._reader.begin() as connection:
            for table in TABLES:
                counting = select(func.count()).select_from(METADATA.tables[table])
                assert (await connection.execute(counting)).scalar_one() == 0
        assert await rows_of(confined, "client_keys") == {"", "acme", "other"}


async def test_a_tenants_session_does_not_outlast_its_transaction(confined):
    for tenant, keys in (("acme", {"acme"}), ("other", {"other"}), ("", {"", "acme", "other"})):
        with called_from(tenant):
            assert await rows_of(confined, "client_keys") == keys


async def test_the_second_lock_can_be_taken_off_again(confined, postgresql_url):
    migrations.downgrade(postgresql_url, "0002")

    with psycopg.connect(postgresql_url.replace("+psycopg", "", 1)) as connection:
        policies = connection.execute("SELECT count(*) FROM pg_policies").fetchone()
        held = connection.execute(
            "SELECT count(*) FROM pg_class WHERE relrowsecurity OR relforcerowsecurity"
        ).fetchone()
    assert (policies, held) == ((0,), (0,))


BROKEN_KEYS = {
    "both": ["roles = '5'", "roles = '[5]'"],
    "sqlite": ["roles = '{'", "create_time = 'yesterday'", "revoke_time = 'long ago'"],
    "postgresql": ["expire_time = 'infinity'", "revoke_time = '-infinity'"],
}


async def test_a_broken_key_opens_nothing_and_costs_no_other_key_anything(database):
    broken = [*BROKEN_KEYS["both"], *BROKEN_KEYS[database.dialect]]
    ids = [f"{number:016d}" for number in range(len(broken))]
    async with database.begin() as tx:
        await tx.client_keys.add(a_key("w" * 16))
        for key_id, poison in zip(ids, broken, strict=True):
            await tx.client_keys.add(a_key(key_id))
            await tx.client_keys._connection.exec_driver_sql(
                f"UPDATE client_keys SET {poison} WHERE key_id = '{key_id}'"  # noqa: S608
            )
        await tx.config.bump("acme")
    known = KnownKeys(database)

    await known.refresh()

    states = {key_id: known.get(key_id).state(NOW) for key_id in ids}
    assert set(states.values()) == {ClientKeyState.QUARANTINED}, states
    assert known.get("w" * 16).state(NOW) is ClientKeyState.ACTIVE
    keys = ClientKeys(database, a_vault(), lambda: NOW)
    for key_id in ids:
        with pytest.raises(ResourceInUse):
            await keys.update("acme", key_id, lambda draft: draft)
        assert (await keys.revoke("acme", key_id)).unreadable == ()

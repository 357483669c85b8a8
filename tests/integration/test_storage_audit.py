"""Audit entries in both databases: only ever added, in one chain a tenant, and verified."""

import asyncio
import json
import logging
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from llm_service.bootstrap import parts
from llm_service.domain.access import CALLER, Caller, Principal
from llm_service.domain.audit import Anchor, Problem
from llm_service.domain.listing import Listing, Order
from llm_service.errors import AlreadyExists, EncryptionKeyMissing, StorageUnavailable
from llm_service.gateway.audit import log as audit_log
from llm_service.gateway.audit.log import AdminCall
from llm_service.gateway.verdicts import Verdicts
from llm_service.storage.database import Database
from llm_service.vault import Keyring, Scheme, Vault, generate_key
from tests.integration.samples import a_credential, a_model, a_provider

SYNC = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}
OLD, NEW = generate_key(Scheme.FERNET_V1), generate_key(Scheme.FERNET_V1)
ALICE = Caller(Principal("clientKeys/alice"), "/llmservice.v1.S/M", "ipv4:10.0.0.7:4711", "t" * 32)


def a_vault(*keys: str) -> Vault:
    """The last key is the primary one."""
    lines = [f"k{n} fernet-v1 {key}" for n, key in enumerate(keys, start=1)]
    return Vault(Keyring.from_text("\n".join(lines) + " primary"), "deployment")


def execute(url: str, *statements: str, **values):
    """What somebody with the database's own password does; gives the last statement's rows."""
    engine = create_engine(make_url(url).set(drivername=SYNC[make_url(url).get_backend_name()]))
    try:
        with engine.begin() as connection:
            for statement in statements:
                result = connection.execute(text(statement), values)
            return result.all() if result.returns_rows else []
    finally:
        engine.dispose()


def disarm(url: str) -> None:
    """Switch off what keeps entries from being touched, as the tables' owner can."""
    if url.startswith("postgresql"):
        execute(
            url,
            "ALTER TABLE audit_entries DISABLE TRIGGER ALL",
            "ALTER TABLE audit_chains DISABLE TRIGGER ALL",
            "GRANT ALL ON audit_entries, audit_chains TO CURRENT_USER",
        )
        return
    for (name,) in execute(url, "SELECT name FROM sqlite_master WHERE type = 'trigger'"):
        execute(url, f"DROP TRIGGER {name}")


async def tried(log, count=1, tenant="acme"):
    """Entries of calls that were refused."""
    for _ in range(count):
        call = AdminCall(ALICE, f"tenants/{tenant}/providers/one", tenant)
        await log.ended(call, "INVALID_FIELD")


async def verdict(log, tenant="acme", *anchors):
    (found,) = [one async for one in log.verify(tenant, anchors)]
    return found


async def add_twice(tx, provider):
    await tx.providers.add(provider)
    await tx.providers.add(provider)


async def test_s5_a_change_without_its_entry_is_not_stored(database, database_url):
    parts.audit(database, a_vault(NEW))
    execute(database_url, "ALTER TABLE audit_chains RENAME TO elsewhere")

    with pytest.raises(StorageUnavailable):
        async with database.begin() as tx:
            await tx.providers.add(a_provider())

    async with database.read() as tx:
        assert await tx.providers.of_tenant("acme") == ()


async def test_a_change_is_audited_in_its_own_transaction(database):
    log = parts.audit(database, a_vault(NEW))
    provider = a_provider()
    token = CALLER.set(ALICE)

    async with database.begin() as tx:
        await tx.providers.add(provider)
        await tx.credentials.add(a_credential(provider))
        await tx.models.add(provider.uid, a_model(provider))
    with pytest.raises(AlreadyExists):
        async with database.begin() as tx:
            await add_twice(tx, a_provider("other"))

    CALLER.reset(token)
    (entry,) = (await log.list("acme", Listing(10))).items
    assert (entry.principal, entry.peer_ip_address) == ("clientKeys/alice", "10.0.0.7")
    assert entry.changed_resources == (
        provider.name,
        a_credential(provider).name,
        a_model(provider).name,
    )
    assert (await verdict(log)).problem is None


async def test_what_is_written_and_taken_back_in_one_transaction_shows_no_change(database):
    log = parts.audit(database, a_vault(NEW))
    provider = a_provider()

    async with database.begin() as tx:
        await tx.providers.add(provider)
        stored = await tx.providers.get("acme", "main")
        await tx.models.add(provider.uid, a_model(provider))
        await tx.models.delete(provider.uid, a_model(provider).model_id)
        await tx.providers.update(stored, stored.version)

    (entry,) = (await log.list("acme", Listing(10))).items
    assert {one.resource for one in entry.changes} == {provider.name}
    assert all(one.old_value_json == "" for one in entry.changes)


async def test_what_the_service_rewrites_without_a_visible_change_leaves_no_entry(any_database):
    log = parts.audit(any_database, a_vault(NEW))
    provider = a_provider()
    credential = a_credential(provider, sealed="one")
    async with any_database.begin() as tx:
        await tx.providers.add(provider)
        await tx.credentials.add(credential)

    async with any_database.begin() as tx:
        await tx.credentials.update(replace(credential, sealed="sealed anew"), credential.version)

    assert len((await log.list("acme", Listing(10))).items) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entries SET principal = 'nobody'",
        "DELETE FROM audit_entries",
        "DELETE FROM audit_chains",
        "UPDATE audit_chains SET sequence = 1",
        "UPDATE audit_chains SET tenant = 'umbrella', sequence = sequence + 1",
    ],
)
async def test_the_database_refuses_whatever_is_not_an_addition(database, database_url, statement):
    log = parts.audit(database, a_vault(NEW))
    await tried(log, 2)

    with pytest.raises(DBAPIError, match="only ever"):
        execute(database_url, statement)

    assert (await verdict(log)).anchor.sequence == 2


@pytest.mark.parametrize("table", ["audit_entries", "audit_chains"])
async def test_postgresql_refuses_to_truncate(postgresql_url, table):
    with pytest.raises(DBAPIError, match="only ever"):
        execute(postgresql_url, f"TRUNCATE {table}")


async def test_sqlite_refuses_to_replace(sqlite_url):
    async with Database.open(sqlite_url) as database:
        await tried(parts.audit(database, a_vault(NEW)))

    with pytest.raises(DBAPIError, match="only ever"):
        execute(
            sqlite_url, "INSERT OR REPLACE INTO audit_entries SELECT * FROM audit_entries LIMIT 1"
        )


async def test_postgresql_takes_the_right_to_change_entries_from_the_tables_owner(
    postgres, postgresql_url
):
    rights = execute(
        postgresql_url,
        "SELECT privilege_type FROM information_schema.table_privileges"
        " WHERE table_name = 'audit_entries'",
    )

    assert {one[0] for one in rights} & {"UPDATE", "DELETE", "TRUNCATE"} == set()
    assert ("INSERT",) in rights


async def test_replicas_append_to_one_chain_without_a_gap(database_url):
    async with AsyncExitStack() as stack:
        logs = []
        for _ in range(2):
            database = await stack.enter_async_context(Database.open(database_url))
            logs.append(parts.audit(database, a_vault(NEW)))

        await asyncio.gather(*(tried(log, 10) for log in logs), tried(logs[0], 2, "umbrella"))

        found = await verdict(logs[0])
        assert (found.problem, found.anchor.sequence) == (None, 20)
        assert (await verdict(logs[1], "umbrella")).anchor.sequence == 2


def swap(url):
    execute(
        url,
        "UPDATE audit_entries SET sequence = -2 WHERE sequence = 2",
        "UPDATE audit_entries SET sequence = 2 WHERE sequence = 3",
        "UPDATE audit_entries SET sequence = 3 WHERE sequence = -2",
    )


def insert(url):
    execute(
        url,
        "UPDATE audit_entries SET sequence = -sequence WHERE sequence >= 3",
        "UPDATE audit_entries SET sequence = 1 - sequence WHERE sequence < 0",
        "INSERT INTO audit_entries SELECT tenant, 3, create_time, principal, peer_ip_address,"
        " method, resource, changed_resources, changes, error_reason, request_id, trace_id,"
        " key_id, epoch, digest, seal FROM audit_entries WHERE sequence = 2",
        "UPDATE audit_chains SET sequence = sequence + 1",
    )


def truncate(url):
    (row,) = execute(url, "SELECT digest, key_id FROM audit_entries WHERE sequence = 2")
    execute(
        url,
        "DELETE FROM audit_entries WHERE sequence > 2",
        "UPDATE audit_chains SET sequence = 2, digest = :digest, key_id = :key",
        digest=row[0],
        key=row[1],
    )


TAMPERING = {
    "modify": (
        lambda url: execute(url, "UPDATE audit_entries SET principal = 'x' WHERE sequence = 2"),
        (Problem.ENTRY_ALTERED, 2),
    ),
    "delete": (
        lambda url: execute(url, "DELETE FROM audit_entries WHERE sequence = 2"),
        (Problem.ENTRY_MISSING, 2),
    ),
    "insert": (insert, (Problem.ENTRY_ALTERED, 3)),
    "reorder": (swap, (Problem.ENTRY_ALTERED, 2)),
    "truncate": (truncate, (Problem.ENTRY_MISSING, 3)),
    "garble": (
        lambda url: execute(url, "UPDATE audit_entries SET changes = '}' WHERE sequence = 1"),
        (Problem.ENTRY_ALTERED, 1),
    ),
    "forget-the-chain": (
        lambda url: execute(url, "DELETE FROM audit_chains"),
        (Problem.ENTRY_MISSING, 1),
    ),
    "cut-the-entries-alone": (
        lambda url: execute(url, "DELETE FROM audit_entries WHERE sequence > 3"),
        (Problem.ENTRY_MISSING, 4),
    ),
}


@pytest.mark.parametrize("tampering", TAMPERING)
async def test_s6_tampering_is_found_and_placed(database, database_url, tampering):
    log = parts.audit(database, a_vault(NEW))
    await tried(log, 4)
    kept = await verdict(log)
    disarm(database_url)
    tamper, expected = TAMPERING[tampering]

    tamper(database_url)

    found = await verdict(log, "acme", kept.anchor)
    assert kept.problem is None
    assert (found.problem, found.broken_sequence) == expected


async def test_s6_sealing_anew_with_a_key_of_an_older_epoch_is_found(database, database_url):
    old, both = a_vault(OLD), a_vault(OLD, NEW)
    await tried(parts.audit(database, old), 2)
    log = parts.audit(database, both)
    await log.advance()
    kept = await verdict(log)
    disarm(database_url)
    execute(database_url, "DELETE FROM audit_entries", "DELETE FROM audit_chains")

    await tried(parts.audit(database, old), 3)

    found = await verdict(log)
    assert (kept.problem, kept.anchor.sequence) == (None, 3)
    assert found.problem is Problem.KEY_SUPERSEDED
    assert (await verdict(log, "acme", kept.anchor)).problem is Problem.ANCHOR_MISMATCH


async def test_an_anchor_of_another_history_is_a_mismatch(any_database):
    log = parts.audit(any_database, a_vault(NEW))
    await tried(log, 3)

    other = await verdict(log, "acme", Anchor("acme", 2, "0" * 64))
    of_another_tenant = await verdict(log, "acme", Anchor("umbrella", 2, "0" * 64))

    assert (other.problem, other.broken_sequence) == (Problem.ANCHOR_MISMATCH, 2)
    assert of_another_tenant.problem is None


async def test_a_chain_that_vanished_whole_is_missed_by_its_anchor(any_database, sqlite_url):
    log = parts.audit(any_database, a_vault(NEW))
    await tried(log, 3)
    kept = (await verdict(log)).anchor
    disarm(sqlite_url)
    execute(sqlite_url, "DELETE FROM audit_entries", "DELETE FROM audit_chains")

    found = {one.anchor.tenant: one async for one in log.verify(None, [kept])}

    assert found["acme"].problem is Problem.ENTRY_MISSING
    assert found[""].problem is None


async def test_a_long_chain_is_read_in_batches(any_database, monkeypatch):
    monkeypatch.setattr(audit_log, "BATCH", 2)
    log = parts.audit(any_database, a_vault(NEW))
    await tried(log, 5)

    assert (await verdict(log)).problem is None


async def test_without_a_key_entries_are_kept_and_cannot_be_verified(any_database):
    log = parts.audit(any_database, Vault(None, "deployment"))
    await tried(log)

    with pytest.raises(EncryptionKeyMissing):
        await verdict(log)

    assert (await verdict(parts.audit(any_database, a_vault(NEW)))).problem is Problem.SEAL_UNKNOWN


async def test_a_new_primary_key_takes_over_every_chain_once(any_database, monkeypatch):
    lines = []
    await tried(parts.audit(any_database, a_vault(OLD)), 2)
    log = parts.audit(any_database, a_vault(OLD, NEW))
    stale = await verdict(log)

    written = asyncio.Event()
    logger = logging.getLogger("llm_service.gateway.audit.log")
    monkeypatch.setattr(logger, "info", lambda *told: (written.set(), lines.append(told)))

    running = asyncio.create_task(log.run(every=0))
    async with asyncio.timeout(20):
        await written.wait()
        await log.advance()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    found = await verdict(log)
    newest_first = Listing(1, order_by=(Order("create_time", descending=True),))
    (entry,) = (await log.list("acme", newest_first)).items
    assert stale.problem is Problem.KEY_SUPERSEDED
    assert (found.problem, found.anchor.sequence) == (None, 3)
    assert (entry.principal, entry.method, entry.epoch) == ("llm-service", "", 2)
    assert [line[1:] for line in lines] == [("tenants/acme", 3, found.anchor.digest)]


async def test_a_replica_that_lags_behind_a_key_change_leaves_the_chains_as_they_are(any_database):
    lagging = parts.audit(any_database, a_vault(NEW, OLD))
    await tried(lagging)
    ring = f"k1 fernet-v1 {NEW} primary\nk2 fernet-v1 {OLD}"
    ahead = parts.audit(any_database, Vault(Keyring.from_text(ring), "deployment"))

    (moved,) = await ahead.advance()
    (seen,) = await lagging.advance()
    await tried(lagging)

    assert (moved.sequence, moved.key_id) == (2, "k1")
    assert seen == moved
    for log in (lagging, ahead):
        found = await verdict(log)
        assert (found.problem, found.anchor.sequence) == (None, 3)


async def test_a_credential_that_the_service_marks_is_audited_as_its_own_doing(any_database):
    log = parts.audit(any_database, a_vault(NEW))
    provider = a_provider()
    credential = a_credential(provider, sealed="sealed")
    async with any_database.begin() as tx:
        await tx.providers.add(provider)
        await tx.credentials.add(credential)
    verdicts = Verdicts(any_database)
    marked = asyncio.Event()
    any_database.before_commit(lambda tx: asyncio.sleep(0, marked.set()))

    running = asyncio.create_task(verdicts.run())
    verdicts.hear(provider, credential, rejected=True)
    async with asyncio.timeout(20):
        await marked.wait()
        async with any_database.begin():  # the writer's turn comes after the verdict's
            pass
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    (entry,) = (await log.list("acme", Listing(10))).items[1:]
    assert (entry.principal, entry.method) == ("llm-service", "")
    (change,) = entry.changes
    assert (change.resource, change.path) == (credential.name, "state")
    assert change.new_value_json == '"STATE_REJECTED"'


async def test_entries_of_a_tenant_are_found_by_index(postgresql_url, sqlite_url):
    query = (
        "SELECT * FROM audit_entries WHERE tenant = 'acme'"
        " ORDER BY create_time DESC, tenant DESC, sequence DESC LIMIT 50"
    )

    sqlite = execute(sqlite_url, f"EXPLAIN QUERY PLAN {query}")
    postgresql = execute(
        postgresql_url, "SET enable_seqscan = off", f"EXPLAIN (FORMAT JSON) {query}"
    )

    assert "TEMP B-TREE" not in str(sqlite)
    assert '"Node Type": "Sort"' not in json.dumps(postgresql[0][0])

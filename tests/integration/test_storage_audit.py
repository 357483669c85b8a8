"""Audit entries in both databases: only ever added, in one chain a tenant, and verified."""

import asyncio
import json
import logging
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from sqlalchemy.exc import DBAPIError

from llm_service.bootstrap import parts
from llm_service.domain.access import CALLER
from llm_service.domain.audit import Problem
from llm_service.domain.listing import Listing, Order
from llm_service.errors import AlreadyExists, EncryptionKeyMissing, StorageUnavailable
from llm_service.gateway.audit import log as audit_log
from llm_service.gateway.verdicts import Verdicts
from llm_service.storage.database import Database
from llm_service.vault import Keyring, Vault
from tests.integration.audited import ALICE, NEW, OLD, a_vault, execute, tried, verdict
from tests.integration.samples import a_credential, a_model, a_provider


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

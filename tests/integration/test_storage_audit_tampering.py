"""S6: whatever is done to stored audit entries is found, and where."""

import pytest

from llm_service.bootstrap import parts
from llm_service.domain.audit import Anchor, Problem
from tests.integration.audited import NEW, OLD, a_vault, disarm, execute, tried, verdict


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

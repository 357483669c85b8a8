"""The audit of a running service: its commands, its own changes, and calls that do without it."""

import asyncio
import json
import sqlite3
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from llm_service.commands import app
from llm_service.rpc.stubs import audit_service_pb2 as audit_pb
from llm_service.rpc.stubs import audit_service_pb2_grpc as audit_stubs
from llm_service.rpc.stubs import provider_admin_service_pb2 as pb
from llm_service.vault import Scheme, generate_key
from tests.e2e.service import KEY, asking, running


@pytest.fixture(scope="module")
async def audited(tmp_path_factory):
    """A service of its own, whose audit these tests may break, and its folder."""
    folder = tmp_path_factory.mktemp("audited")
    async with running(folder) as service:
        yield service, folder


@contextmanager
def beside(folder):
    """The service's database, as somebody with its file has it."""
    database = sqlite3.connect(folder / "llm-service.db")
    try:
        with database:
            yield database
    finally:
        database.close()


async def command(service, *words):
    """A command against the service, run in a thread of this process."""
    arguments = ["audit", *words, "--address", service.address]
    return await asyncio.to_thread(CliRunner().invoke, app, arguments)


async def test_the_command_lists_and_verifies(process):
    await process.service.add_provider("listed", "https://one.example/v1")

    listed = await process.command("audit", "list", "--filter", 'resource = "providers/listed"')
    verified = await process.command("audit", "verify")

    entry = json.loads(listed.out)
    assert entry["principal"] == "anonymous"
    assert entry["method"] == "/llmservice.v1.ProviderAdminService/CreateProvider"
    assert KEY not in listed.out
    assert verified.code == 0
    assert "shared: intact, " in verified.out


async def test_an_anchor_that_was_kept_is_verified_later(audited, tmp_path):
    service, _ = audited
    kept = tmp_path / "anchors"

    kept.write_text((await command(service, "anchor")).stdout)
    await service.add_provider("later", "https://one.example/v1")
    verified = await command(service, "verify", "--anchors", str(kept))

    assert json.loads(kept.read_text())["sequence"] == 1
    assert (verified.exit_code, verified.stdout) == (0, "shared: intact, 2 entries\n")


async def test_verify_exits_1_and_says_where_a_chain_is_broken(audited, tmp_path):
    kept = tmp_path / "anchors"
    kept.write_text('{"parent": "", "sequence": 1, "digest": "00"}\n')

    broken = await command(audited[0], "verify", "--tenant", "", "--anchors", str(kept))

    assert (broken.exit_code, broken.stdout) == (1, "shared: broken at 1: anchor mismatch\n")


async def test_a_new_primary_key_leaves_every_chain_intact(tmp_path):
    async with running(tmp_path, LLM_CONFIG_POLL_SECONDS="0.05") as service:
        await service.add_provider("before", "https://one.example/v1")

        ring = tmp_path / "vault.key"
        old = ring.read_text().replace(" primary", "")
        ring.write_text(f"{old}k2 fernet-v1 {generate_key(Scheme.FERNET_V1)} primary\n")
        await sealed_by(service, "k2")
        verified = await command(service, "verify")

    assert (verified.exit_code, verified.stdout) == (0, "shared: intact, 3 entries\n")


async def sealed_by(service, key_id: str) -> None:
    """Wait for the service to say that it seals with this key."""
    async with asyncio.timeout(30):
        while True:
            status = await service.admin.GetKeyringStatus(pb.GetKeyringStatusRequest())
            if any(one.primary_key_id == key_id for one in status.replicas):
                return


@pytest.mark.parametrize(
    ("held", "said"),
    [(None, "No such file"), ("else", "else than anchors"), ("[]", "else than anchors")],
)
async def test_a_file_without_anchors_is_one_line(audited, tmp_path, held, said):
    path = tmp_path / "anchors"
    if held is not None:
        path.write_text(held)

    ran = await command(audited[0], "verify", "--anchors", str(path))

    assert ran.exit_code == 1
    assert ran.stderr.startswith("llm-service: ")
    assert ran.stderr.count("\n") == 1
    assert said in ran.stderr


async def test_what_the_service_plants_at_its_first_start_is_its_own(audited):
    stub = audit_stubs.AuditServiceStub(audited[0].channel)
    request = audit_pb.ListAuditEntriesRequest(filter='principal = "llm-service"')

    (entry,) = (await stub.ListAuditEntries(request)).audit_entries

    assert (entry.name, entry.method) == ("auditEntries/1", "")
    assert {change.resource for change in entry.changes} == {"providers/echo"}


async def test_no_secret_is_in_the_audit_s_table(audited):
    service, folder = audited
    await service.add_provider("secret", "https://one.example/v1")

    with beside(folder) as database:
        text = str(database.execute("SELECT * FROM audit_entries").fetchall())

    assert KEY not in text
    assert "[redacted]" in text


async def test_s5_completions_do_not_depend_on_the_audit(audited):
    service, folder = audited
    with beside(folder) as database:
        database.execute("ALTER TABLE audit_entries RENAME TO elsewhere")

    answer = await service.completions.Complete(asking("echo-1"))

    assert answer.completion.message.parts[0].text == "Say hello."
    with beside(folder) as database:
        database.execute("ALTER TABLE elsewhere RENAME TO audit_entries")


async def test_a_chain_that_was_broken_has_no_anchor(audited):
    service, folder = audited
    with beside(folder) as database:
        database.execute("DROP TRIGGER audit_entries_update")
        database.execute("UPDATE audit_entries SET method = 'x' WHERE sequence = 1")

    anchored = await command(service, "anchor")

    assert (anchored.exit_code, anchored.stdout) == (1, "")
    assert anchored.stderr == "shared: broken, no anchor\n"

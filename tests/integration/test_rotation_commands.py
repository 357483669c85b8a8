"""A rotation, command by command: what each does, and what it refuses."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from llm_service.commands import app
from llm_service.domain.access import Role
from llm_service.domain.encryption import ReplicaKeys
from llm_service.gateway.access.client_keys import ClientKeyDraft, ClientKeys
from llm_service.gateway.manager import binding
from llm_service.vault import Keyring, Scheme, Vault, generate_key
from tests.integration.samples import a_credential, a_provider

SECRET = "sk-canary-0123456789abcdef"


@pytest.fixture
def ring(tmp_path):
    path = tmp_path / "keyring"
    path.write_text(f"k1 fernet-v1 {generate_key(Scheme.FERNET_V1)}\n")
    return path


@pytest.fixture
def keys(database_url, ring):
    """Runs `llm-service keys <words>`; None for the ring: there is no key."""

    async def run(*words: str, stdin: str = "", **environment: str | None):
        settings = {"LLM_DATABASE_URL": database_url, "LLM_KEYRING_FILE": str(ring), **environment}
        invoke = CliRunner().invoke
        return await asyncio.to_thread(invoke, app, ["keys", *words], input=stdin, env=settings)

    return run


async def stored(database, ring, count: int = 3):
    provider = a_provider()
    vault = Vault(Keyring.from_text(ring.read_text()), await database.deployment_id())
    async with database.begin() as tx:
        await tx.providers.add(provider)
        for number in range(count):
            one = a_credential(provider, f"c{number}")
            one = replace(one, sealed=vault.seal(SECRET, binding(provider, one)))
            await tx.credentials.add(one)
    return provider


async def reported(database, *key_ids: str, primary: str) -> None:
    """A replica that holds these keys."""
    async with database.begin() as tx:
        now = datetime.now(UTC)
        await tx.keys.report(ReplicaKeys("uid-1234567", "host-a", primary, key_ids, "", now))


async def add_and_promote(keys, ring) -> None:
    line = (await keys("generate", "--id", "k2")).output
    assert (await keys("add", stdin=line)).exit_code == 0
    assert (await keys("promote", "k2")).exit_code == 0
    assert Keyring.from_text(ring.read_text()).primary_id == "k2"


def words_of(text: str, key_id: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.split()[:1] == [key_id])


async def test_a_rotation_from_the_first_command_to_the_last(keys, ring, database):
    provider = await stored(database, ring)
    old = ring.read_text().split()[2]

    await add_and_promote(keys, ring)
    before = (await keys("status")).output
    rewrapped = await keys("rewrap", "--rate", "2")
    retired = await keys("retire", "k1")
    after = (await keys("status")).output

    assert words_of(before, "k1") == ["k1", "fernet-v1", "opens", "yes", "3"]
    assert words_of(before, "k2") == ["k2", "aes256gcm-v1", "primary", "yes", "0"]
    assert (rewrapped.exit_code, retired.exit_code) == (0, 0)
    assert words_of(after, "k1") == ["k1", "fernet-v1", "retired", "no", "0"]
    assert words_of(after, "k2") == ["k2", "aes256gcm-v1", "primary", "yes", "3"]
    assert old not in ring.read_text() + before + after + rewrapped.output + retired.output
    vault = Vault(Keyring.from_text(ring.read_text()), await database.deployment_id())
    async with database.read() as tx:
        found = await tx.credentials.of_provider(provider.uid)
    assert {vault.open(one.sealed, binding(provider, one)) for one in found} == {SECRET}


@pytest.mark.parametrize("scheme", list(Scheme))
async def test_a_generated_line_is_a_whole_key_ring(keys, scheme):
    line = (await keys("generate", "--scheme", scheme.value)).output

    assert Keyring.from_text(line).primary_scheme is scheme


async def test_a_key_some_replica_lacks_is_neither_promoted_nor_rewrapped_with(
    keys, ring, database
):
    await stored(database, ring)
    await reported(database, "k1", primary="k1")
    await keys("add", stdin=(await keys("generate", "--id", "k2")).output)

    promoted = await keys("promote", "k2")
    ring.write_text(ring.read_text().replace(" primary", "").rstrip() + " primary\n")
    rewrapped = await keys("rewrap")
    await reported(database, "k1", "k2", primary="k1")
    later = await keys("rewrap")

    assert promoted.exit_code == 1
    assert "not loaded yet by host-a (-1234567)" in promoted.output
    assert rewrapped.exit_code == 1
    assert "not loaded yet by host-a" in rewrapped.output
    assert later.exit_code == 0


async def test_a_key_that_is_needed_or_seals_somewhere_is_not_retired(keys, ring, database):
    await stored(database, ring)
    primary = await keys("retire", "k1")
    await add_and_promote(keys, ring)
    needed = await keys("retire", "k1")
    await keys("rewrap")
    await reported(database, "k1", "k2", primary="k1")
    sealing = await keys("retire", "k1")
    unknown = await keys("retire", "k9")

    assert "promote another one first" in primary.output
    assert "needed by 3 stored values" in needed.output
    assert "still seals on host-a" in sealing.output
    assert "no such encryption key" in unknown.output
    assert {one.exit_code for one in (primary, needed, sealing, unknown)} == {1}
    assert set(Keyring.from_text(ring.read_text()).schemes) == {"k1", "k2"}


async def test_a_key_that_client_keys_are_hashed_with_is_retired_once_they_are_revoked(
    keys, ring, database
):
    vault = Vault(Keyring.from_text(ring.read_text()), await database.deployment_id())
    client_keys = ClientKeys(database, vault)
    draft = ClientKeyDraft(roles=frozenset({Role.INVOKE}))
    made = [(await client_keys.create("acme", draft))[0] for _ in range(2)]
    await stored(database, ring)
    await add_and_promote(keys, ring)

    both = await keys("retire", "k1")
    await keys("rewrap")
    needed = await keys("retire", "k1")
    revoked = [await client_keys.revoke("acme", one.key_id) for one in made]
    retired = await keys("retire", "k1")

    values, clients = "3 stored values: rewrap them", "2 client keys: replace and revoke them"
    assert f"key k1 is needed by {values}, and by {clients}" in both.output.replace("\n", "")
    assert f"key k1 is needed by {clients}" in needed.output.replace("\n", "")
    assert {(one.digest, one.pepper_id) for one in revoked} == {(b"", "")}
    assert (needed.exit_code, retired.exit_code) == (1, 0)


async def test_a_retired_key_does_not_seal_again(keys, ring, database):
    line = ring.read_text()
    await add_and_promote(keys, ring)
    await keys("retire", "k1")
    added = await keys("add", stdin=line)

    promoted = await keys("promote", "k1")

    assert added.exit_code == 0
    assert promoted.exit_code == 1
    assert "k1 was retired" in promoted.output


async def test_another_key_under_a_known_id_is_not_promoted(keys, ring, database):
    await add_and_promote(keys, ring)
    lines = ring.read_text().splitlines()
    ring.write_text(f"k1 fernet-v1 {generate_key(Scheme.FERNET_V1)}\n{lines[1]}\n")

    promoted = await keys("promote", "k1")

    assert promoted.exit_code == 1
    assert "is not the one this deployment knows" in promoted.output
    assert "is not the one this deployment knows" in (await keys("status")).output


async def test_what_cannot_be_rewrapped_is_named_and_left(keys, ring, database):
    await stored(database, ring, 1)
    ring.write_text(f"k2 fernet-v1 {generate_key(Scheme.FERNET_V1)}")

    ran = await keys("rewrap")

    assert ran.exit_code == 1
    assert "stored secrets need keys that are not loaded: k1" in ran.output
    assert "cannot be opened: credentials.sealed of uid-" in ran.output
    assert "stored values still sealed with another key: 1" in ran.output


@pytest.mark.parametrize("words", [("add",), ("promote", "k1"), ("retire", "k1")])
async def test_keys_that_are_in_no_file_are_not_edited(keys, ring, words):
    key = ring.read_text().split()[2]

    ran = await keys(*words, stdin="", LLM_KEYRING_FILE=None, LLM_ENCRYPTION_KEY=key)

    assert ran.exit_code == 1
    assert key not in ran.output


async def test_a_ring_that_cannot_be_read_is_one_line(keys, tmp_path):
    ran = await keys("status", LLM_KEYRING_FILE=str(tmp_path / "nowhere"))

    assert ran.exit_code == 1
    assert "cannot read the key ring" in ran.output

"""External secrets are read at use, by one reader at a time, and remembered for a minute."""

import asyncio
import json
import os
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_service.domain.provider import SecretReference, SourceType
from llm_service.errors import ProviderCredentialMissing, ProviderCredentialUnreadable
from llm_service.gateway import secret_stores
from llm_service.gateway.manager import ProviderManager
from llm_service.gateway.secret_stores import SecretStores
from llm_service.gateway.secret_stores.files import MAX_BYTES, MountedFiles
from llm_service.vault import Vault
from tests.fakes import FakeAdapter, a_credential, a_provider

WHERE = SecretReference("safe", "a/b")
CANARY = "sk-canary-0123456789"


class Safe:
    """A store of one secret; counts reads, and can be made to fail or to wait."""

    def __init__(self, secret: str = CANARY) -> None:
        self.secret = secret
        self.failure: Exception | None = None
        self.reads = 0
        self.open = asyncio.Event()
        self.open.set()

    def refuse(self, reference):
        return "" if reference.path == "a/b" else "is not lent"

    async def read(self, reference):
        self.reads += 1
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        return self.secret


class Shelf:
    """A store behind its cache, and a clock to move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.safe = Safe()
        self.stores = SecretStores({"safe": self.safe}, clock=lambda: self.now)

    async def read(self) -> str:
        return (await self.stores.read(WHERE)).secret

    async def settle(self) -> None:
        """Let a reading in the background end."""
        await asyncio.gather(*self.stores._reading.values(), return_exceptions=True)


async def test_a_secret_is_read_once_however_many_ask_at_once():
    shelf = Shelf()
    shelf.safe.open.clear()

    asking = [asyncio.create_task(shelf.read()) for _ in range(50)]
    await asyncio.sleep(0)
    shelf.safe.open.set()

    assert set(await asyncio.gather(*asking)) == {CANARY}
    assert shelf.safe.reads == 1


async def test_who_leaves_does_not_end_the_reading_for_others():
    shelf = Shelf()
    shelf.safe.open.clear()
    leaving, staying = asyncio.create_task(shelf.read()), asyncio.create_task(shelf.read())
    await asyncio.sleep(0)

    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    shelf.safe.open.set()

    assert leaving.cancelled()
    assert await staying == CANARY
    assert shelf.safe.reads == 1


async def test_a_changed_secret_is_noticed_within_a_minute():
    shelf = Shelf()
    await shelf.read()
    shelf.safe.secret = "sk-next"

    shelf.now = 44
    early = await shelf.read()
    shelf.now = 60
    late = await shelf.read()

    assert (early, late) == (CANARY, "sk-next")


async def test_a_secret_in_use_is_read_again_before_its_minute_ends_and_nobody_waits():
    shelf = Shelf()
    await shelf.read()
    shelf.safe.secret = "sk-next"
    shelf.safe.open.clear()

    shelf.now = 50
    meanwhile = await shelf.read()
    shelf.safe.open.set()
    await shelf.settle()

    assert meanwhile == CANARY
    assert await shelf.read() == "sk-next"
    assert shelf.safe.reads == 2


async def test_a_store_that_fails_is_forgiven_for_a_minute_and_no_longer():
    shelf = Shelf()
    await shelf.read()
    shelf.safe.failure = ProviderCredentialUnreadable("the store is away")

    shelf.now = 59
    assert await shelf.read() == CANARY
    await shelf.settle()
    assert await shelf.read() == CANARY
    shelf.now = 61
    with pytest.raises(ProviderCredentialUnreadable):
        await shelf.read()


async def test_a_failure_is_told_to_all_who_wait_and_remembered_for_a_second():
    shelf = Shelf()
    shelf.safe.failure = ProviderCredentialMissing("there is none")

    told = await asyncio.gather(*(shelf.read() for _ in range(5)), return_exceptions=True)
    with pytest.raises(ProviderCredentialMissing):
        await shelf.read()
    reads = shelf.safe.reads
    shelf.safe.failure, shelf.now = None, 1.0

    assert await shelf.read() == CANARY
    assert reads == 1
    assert len({id(error) for error in told}) == 5, "each caller adds to its own"


async def test_what_nobody_uses_is_forgotten():
    shelf, other = Shelf(), SecretReference("nowhere", "a")
    held = await shelf.stores.read(WHERE)
    with pytest.raises(ProviderCredentialMissing):
        await shelf.stores.read(other)

    shelf.now = 59
    shelf.stores.forget_unused()
    kept = len(shelf.stores._held), len(shelf.stores._failed)
    shelf.now = 60
    shelf.stores.forget_unused()

    assert CANARY not in repr(held)
    assert kept == (1, 1)
    assert not shelf.stores._held
    assert not shelf.stores._failed


async def test_a_store_that_does_not_answer_in_time_is_unreadable(monkeypatch):
    monkeypatch.setattr(secret_stores, "READ_SECONDS", 0)
    shelf = Shelf()
    shelf.safe.open.clear()

    with pytest.raises(ProviderCredentialUnreadable):
        await shelf.read()


async def test_a_store_with_a_bug_fails_its_reader_and_is_asked_again():
    shelf = Shelf()
    shelf.safe.failure = KeyError("a bug")

    for _ in range(2):
        with pytest.raises(KeyError):
            await shelf.read()

    assert shelf.safe.reads == 2


async def test_a_store_that_is_not_there_lends_nothing():
    stores = SecretStores({})

    assert stores.refuse(WHERE)
    with pytest.raises(ProviderCredentialMissing):
        await stores.read(WHERE)


async def test_closing_gives_up_a_reading():
    shelf = Shelf()
    shelf.safe.open.clear()
    asking = asyncio.create_task(shelf.read())
    await asyncio.sleep(0)

    await shelf.stores.aclose()

    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_an_adapter_is_opened_anew_for_a_rotated_secret_and_for_no_other():
    shelf, opened = Shelf(), []

    def connect(kind, account, egress):
        opened.append(account.secret)
        return FakeAdapter()

    provider = a_provider(kind="openai-compatible", base_uri="https://vendor.example/v1")
    pointer = a_credential(provider, source_type=SourceType.SECRET_REFERENCE, reference=WHERE.text)
    manager = ProviderManager(Vault(None, "d"), None, {}, connect, secret_stores=shelf.stores)

    first = await manager.open(provider, pointer)
    shelf.now = 61
    same = await manager.open(provider, pointer)
    shelf.safe.secret, shelf.now = "sk-next", 122
    other = await manager.open(provider, pointer)
    await manager.aclose()

    assert opened == [CANARY, "sk-next"]
    assert same is first
    assert other is not first
    assert first.retired


# --- mounted files --------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    lent = tmp_path / "lent"
    lent.mkdir()
    (tmp_path / "outside").write_text("outside-canary")
    return lent


async def read(folder, path, **more):
    return await MountedFiles([folder]).read(SecretReference("file", str(path), **more))


async def test_a_file_is_read_without_the_line_break_at_its_end(folder):
    (folder / "key").write_text("sk-mounted\n")

    assert await read(folder, folder / "key") == "sk-mounted"


async def test_a_secret_mounted_as_kubernetes_does_is_followed_to_its_next_version(folder):
    for version in ("v1", "v2"):
        (folder / version).mkdir()
        (folder / version / "key").write_text(f"sk-{version}")
    (folder / "..data").symlink_to("v1")
    (folder / "key").symlink_to("..data/key")

    before = await read(folder, folder / "key")
    (folder / "..next").symlink_to("v2")
    os.replace(folder / "..next", folder / "..data")

    assert (before, await read(folder, folder / "key")) == ("sk-v1", "sk-v2")


async def test_an_entry_of_a_json_file_is_a_secret(folder):
    (folder / "keys.json").write_text(json.dumps({"openai": "sk-a", "n": 1}))
    (folder / "plain").write_text("sk-canary")

    assert await read(folder, folder / "keys.json", key="openai") == "sk-a"
    for key in ("n", "other"):
        with pytest.raises(ProviderCredentialUnreadable):
            await read(folder, folder / "keys.json", key=key)
    assert "canary" not in repr(await failure(read(folder, folder / "plain", key="openai")))


@pytest.mark.parametrize(
    "path",
    [
        "{folder}/../outside",
        "{folder}/./key",
        "{folder}//key",
        "{folder}/",
        "{folder}",
        "{folder}-more/key",
        "/etc/passwd",
        "key",
        "",
        "{folder}/key\0",
        "/proc/self/environ",
    ],
)
async def test_a_path_outside_the_lent_folders_is_refused_and_never_read(folder, path):
    reference = SecretReference("file", path.format(folder=folder))
    store = MountedFiles([folder])

    assert store.refuse(reference) == "is not below a folder the operator lends"
    with pytest.raises(ProviderCredentialMissing):
        await store.read(reference)


async def test_a_link_that_leads_outside_looks_like_no_file(folder):
    (folder / "link").symlink_to(folder.parent / "outside")
    (folder / "up").symlink_to(folder.parent)

    missing = await failure(read(folder, folder / "nothing"))

    assert str(await failure(read(folder, folder / "link"))) == str(missing)
    assert str(await failure(read(folder, folder / "up" / "outside"))) == str(missing)
    assert isinstance(missing, ProviderCredentialMissing)


async def test_what_is_no_secret_cannot_be_read_and_is_not_quoted(folder):
    (folder / "big").write_text("c" * (MAX_BYTES + 1))
    (folder / "binary").write_bytes(b"canary\xff\xfe")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "circle").symlink_to("circle")

    for name in ("big", "binary", "folder", "pipe", "circle"):
        error = await failure(read(folder, folder / name))
        assert isinstance(error, ProviderCredentialUnreadable), name
        assert "canary" not in f"{error!r} {error.__context__!r} {error.__cause__!r}"


async def test_an_empty_file_is_a_missing_secret_and_a_large_one_is_read(folder):
    (folder / "empty").write_text("\n")
    (folder / "large").write_text("c" * MAX_BYTES)

    assert isinstance(await failure(read(folder, folder / "empty")), ProviderCredentialMissing)
    assert len(await read(folder, folder / "large")) == MAX_BYTES


def test_a_file_has_no_versions(folder):
    reference = SecretReference("file", f"{folder}/key", version="1")

    assert MountedFiles([folder]).refuse(reference)
    assert not MountedFiles([folder]).refuse(replace(reference, version=""))


@given(parts=st.lists(st.sampled_from(["..", ".", "", "a", "key", "link", "up"]), max_size=5))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_path_reads_what_lies_outside(folder, parts):
    if not (folder / "up").exists():
        (folder / "up").symlink_to(folder.parent)
        (folder / "link").symlink_to(folder.parent / "outside")
        (folder / "key").write_text("sk-inside")

    path = "/".join([str(folder), *parts, "outside"])

    assert isinstance(await failure(read(folder, path)), ProviderCredentialMissing)


async def failure(reading):
    """How it fails; that it does not is an AssertionError."""
    try:
        secret = await reading
    except (ProviderCredentialMissing, ProviderCredentialUnreadable) as error:
        return error
    raise AssertionError(f"read: {len(secret)} characters")

"""Adapters are opened once for each version, shared, and closed when nobody needs them any more."""

import asyncio
import threading
from contextlib import suppress
from dataclasses import replace

import pytest

from llm_service.domain.provider import SourceType
from llm_service.errors import (
    EgressDenied,
    EncryptionKeyMissing,
    ProviderCredentialMissing,
    ProviderCredentialUnreadable,
)
from llm_service.gateway import manager as module
from llm_service.gateway.manager import ProviderManager, binding
from llm_service.providers.base import Account
from llm_service.vault import Keyring, Scheme, Vault, generate_key
from tests.fakes import FakeAdapter, a_credential, a_provider

PROVIDER = a_provider(kind="openai-compatible", base_uri="https://vendor.example/v1")
CREDENTIAL = a_credential(PROVIDER)
SECRET = "sk-0123456789"


class ClosingAdapter(FakeAdapter):
    """Says when it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.gone = asyncio.Event()

    async def aclose(self) -> None:
        await super().aclose()
        self.gone.set()


class Opener:
    """A manager, and what it opened."""

    def __init__(self, vault: Vault | None = None, **environment: str) -> None:
        self.opened: list[tuple[str, object, int]] = []
        self.adapters: list[ClosingAdapter] = []
        self.manager = ProviderManager(
            vault or Vault(None, "d"), None, {"THE_KEY": SECRET, **environment}, self._connect
        )

    def _connect(self, kind, account, egress):
        self.opened.append((kind, account, threading.get_ident()))
        self.adapters.append(ClosingAdapter())
        return self.adapters[-1]

    async def open(self, provider=PROVIDER, credential=CREDENTIAL):
        return await self.manager.open(provider, credential)


async def closed(adapter: ClosingAdapter) -> None:
    async with asyncio.timeout(10):
        await adapter.gone.wait()


async def test_an_adapter_is_opened_once_off_the_event_loop_however_many_ask_at_once():
    opener = Opener()

    lives = await asyncio.gather(*(opener.open() for _ in range(20)))

    assert len(opener.opened) == 1
    assert all(live is lives[0] for live in lives)
    assert opener.opened[0][2] != threading.get_ident()


async def test_an_account_has_the_address_the_settings_and_the_secret():
    opener = Opener()

    await opener.open(replace(PROVIDER, settings={"a": "b"}))

    kind, account, _ = opener.opened[0]
    assert kind == "openai-compatible"
    assert (account.base_uri, account.settings, account.secret) == (
        "https://vendor.example/v1",
        {"a": "b"},
        SECRET,
    )
    assert SECRET not in repr(account)


async def test_a_provider_without_a_credential_is_opened_without_a_secret():
    opener = Opener()

    first = await opener.open(credential=None)
    second = await opener.open(credential=None)

    assert first is second
    assert opener.opened[0][1].secret == ""


@pytest.mark.parametrize(
    ("provider", "address", "port"),
    [
        pytest.param(PROVIDER, "vendor.example", 443, id="https"),
        pytest.param(replace(PROVIDER, base_uri="http://a.example"), "a.example", 80, id="http"),
        pytest.param(
            replace(PROVIDER, base_uri="http://a.example:8080"), "a.example", 8080, id="port"
        ),
        pytest.param(a_provider(kind="openai"), "api.openai.com", 443, id="the kind's own"),
        pytest.param(a_provider(kind="echo"), "", 0, id="none"),
    ],
)
async def test_an_open_adapter_knows_where_it_calls(provider, address, port):
    live = await Opener().open(provider, None)

    assert (live.address, live.port) == (address, port)


@pytest.mark.parametrize(
    ("provider", "credential"),
    [
        pytest.param(replace(PROVIDER, version=2), CREDENTIAL, id="of the provider"),
        pytest.param(PROVIDER, replace(CREDENTIAL, version=2), id="of the credential"),
    ],
)
async def test_a_newer_version_closes_the_older_adapter(provider, credential):
    opener = Opener()
    old = await opener.open()

    new = await opener.open(provider, credential)

    assert new is not old
    await closed(opener.adapters[0])
    assert [adapter.closed for adapter in opener.adapters] == [1, 0]
    assert await opener.open(provider, credential) is new


async def test_another_credential_of_the_same_provider_closes_nothing():
    opener = Opener()
    first = await opener.open()

    await opener.open(PROVIDER, a_credential(PROVIDER, "other"))

    assert await opener.open() is first
    assert not first.retired


async def test_a_retired_adapter_is_closed_after_its_last_call_and_only_once():
    opener = Opener()
    old = await opener.open()

    with old as adapter:
        with old:
            await opener.open(replace(PROVIDER, version=2))
        assert old.retired
        assert not opener.adapters[0].gone.is_set()
        assert adapter.closed == 0

    await closed(opener.adapters[0])
    assert adapter.closed == 1


async def test_a_use_ends_with_its_block_even_if_that_raises():
    opener = Opener()
    live = await opener.open()

    with suppress(ValueError), live:
        raise ValueError

    assert live.uses == 0


async def test_a_failed_opening_is_tried_again_by_the_next_call():
    refusals = [EgressDenied("no")]

    def connect(kind, account, egress):
        if refusals:
            raise refusals.pop()
        return FakeAdapter()

    manager = ProviderManager(Vault(None, "d"), None, {"THE_KEY": SECRET}, connect)
    with pytest.raises(EgressDenied):
        await manager.open(PROVIDER, CREDENTIAL)

    live = await manager.open(PROVIDER, CREDENTIAL)

    assert await manager.open(PROVIDER, CREDENTIAL) is live


async def sweeping(opener: Opener, monkeypatch, idle_seconds: float) -> asyncio.Task[None]:
    monkeypatch.setattr(module, "_SWEEP_SECONDS", 0)
    monkeypatch.setattr(module, "_IDLE_SECONDS", idle_seconds)
    return asyncio.create_task(opener.manager.sweep())


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_sweep_closes_what_is_idle_and_leaves_what_is_in_use(monkeypatch):
    opener = Opener()
    used = await opener.open()
    await opener.open(PROVIDER, a_credential(PROVIDER, "idle"))

    with used:
        sweep = await sweeping(opener, monkeypatch, idle_seconds=-1)
        await closed(opener.adapters[1])
        await stopped(sweep)

        assert not used.retired
        assert opener.adapters[0].closed == 0


async def test_a_sweep_leaves_what_was_used_lately(monkeypatch):
    opener = Opener()
    recent = await opener.open()
    old = await opener.open(PROVIDER, a_credential(PROVIDER, "old"))
    old.last_use -= 601

    sweep = await sweeping(opener, monkeypatch, idle_seconds=600)
    await closed(opener.adapters[1])
    await stopped(sweep)

    assert not recent.retired
    assert await opener.open() is recent


async def test_an_adapter_swept_away_is_opened_again_when_needed(monkeypatch):
    opener = Opener()
    first = await opener.open()
    sweep = await sweeping(opener, monkeypatch, idle_seconds=-1)
    await closed(opener.adapters[0])
    await stopped(sweep)

    second = await opener.open()

    assert second is not first
    assert len(opener.opened) == 2


async def test_closing_the_manager_closes_every_adapter():
    opener = Opener()
    for name in ("a", "b", "c"):
        await opener.open(PROVIDER, a_credential(PROVIDER, name))

    await opener.manager.aclose()

    assert [adapter.closed for adapter in opener.adapters] == [1, 1, 1]


async def test_closing_a_manager_that_opened_nothing_does_nothing():
    await Opener().manager.aclose()


# --- secrets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", [{"THE_KEY": ""}, {"ANOTHER": "x"}])
async def test_a_variable_that_is_not_set_is_a_missing_credential(environment):
    manager = ProviderManager(Vault(None, "d"), None, environment, Opener()._connect)

    with pytest.raises(ProviderCredentialMissing) as failure:
        await manager.open(PROVIDER, CREDENTIAL)

    assert CREDENTIAL.name in str(failure.value)
    assert "THE_KEY" not in str(failure.value)


@pytest.mark.parametrize("source", [SourceType.SECRET_REFERENCE, SourceType.WORKLOAD_IDENTITY])
async def test_a_source_nobody_can_read_is_a_missing_credential(source):
    with pytest.raises(ProviderCredentialMissing):
        await Opener().open(PROVIDER, replace(CREDENTIAL, source_type=source))


async def test_an_identity_that_is_lent_is_a_credential_without_a_secret():
    opened = []

    def connect(kind, account, egress):
        opened.append(account)
        return ClosingAdapter()

    manager = ProviderManager(Vault(None, "d"), None, {}, connect, workload_identity=True)
    await manager.open(PROVIDER, replace(CREDENTIAL, source_type=SourceType.WORKLOAD_IDENTITY))

    assert opened == [Account(PROVIDER.base_uri, {}, "", SourceType.WORKLOAD_IDENTITY)]


async def test_an_adapter_is_told_where_its_secret_comes_from():
    vault = sealing_vault()
    opener = Opener(vault)

    await opener.open(PROVIDER, None)
    await opener.open(PROVIDER, CREDENTIAL)
    await opener.open(PROVIDER, sealed(vault, version=2))

    sources = [account.source for _, account, _ in opener.opened]
    assert sources == [None, SourceType.ENVIRONMENT_VARIABLE, SourceType.API_KEY]


def sealing_vault() -> Vault:
    return Vault(Keyring.from_text(generate_key(Scheme.FERNET_V1)), "d")


def sealed(vault: Vault, **changes):
    bare = replace(CREDENTIAL, source_type=SourceType.API_KEY, reference="")
    whole = replace(bare, sealed=vault.seal(SECRET, binding(PROVIDER, bare)))
    return replace(whole, **changes)


async def test_a_sealed_secret_is_opened_for_the_row_it_was_sealed_for():
    vault = sealing_vault()
    opener = Opener(vault)

    await opener.open(PROVIDER, sealed(vault))

    assert opener.opened[0][1].secret == SECRET


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"uid": "uid-of-another"}, id="another row"),
        pytest.param({"secret_version": 2}, id="another secret"),
        pytest.param({"sealed": "sealed1:fernet-v1:gone:AAAA"}, id="another key"),
        pytest.param({"sealed": "nothing of the kind"}, id="no ciphertext"),
    ],
)
async def test_a_secret_that_cannot_be_opened_is_unreadable(changes):
    vault = sealing_vault()
    opener = Opener(vault)

    with pytest.raises(ProviderCredentialUnreadable):
        await opener.open(PROVIDER, sealed(vault, **changes))

    assert opener.opened == []


@pytest.mark.parametrize("source", [SourceType.API_KEY, SourceType.ENVIRONMENT_VARIABLE])
async def test_a_credential_entered_for_another_address_is_missing_and_not_opened(source):
    vault = sealing_vault()
    opener = Opener(vault)
    bound = replace(
        CREDENTIAL, source_type=source, origin="https://vendor.example:443", reference="THE_KEY"
    )
    bound = replace(bound, sealed=vault.seal(SECRET, binding(PROVIDER, bound)))

    with pytest.raises(ProviderCredentialMissing) as failure:
        await opener.open(replace(PROVIDER, base_uri="https://evil.example/v1"), bound)
    await opener.open(PROVIDER, bound)

    assert "another address" in str(failure.value)
    assert [account.base_uri for _, account, _ in opener.opened] == [PROVIDER.base_uri]


@pytest.mark.parametrize("reference", ["", "THE_KEY", "[1]", "{}", '["a"]'])
async def test_a_reference_that_is_none_is_a_missing_credential(reference):
    pointer = replace(CREDENTIAL, source_type=SourceType.SECRET_REFERENCE, reference=reference)

    with pytest.raises(ProviderCredentialMissing):
        await Opener().open(PROVIDER, pointer)


async def test_a_secret_of_another_tenants_provider_is_unreadable():
    vault = sealing_vault()

    with pytest.raises(ProviderCredentialUnreadable):
        await Opener(vault).open(replace(PROVIDER, tenant="acme"), sealed(vault))


async def test_a_sealed_secret_without_a_key_ring_says_that_the_key_is_missing():
    with pytest.raises(EncryptionKeyMissing):
        await Opener().open(PROVIDER, sealed(sealing_vault()))

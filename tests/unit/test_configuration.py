"""What a tenant can reach is read once, kept through outages, and read again when it changed."""

import asyncio
import logging
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service import catalog
from llm_service.domain.model_config import Selector
from llm_service.domain.provider import ModelStage
from llm_service.errors import StorageUnavailable
from llm_service.gateway import configuration as module
from llm_service.gateway.configuration import SHARED, Configuration, Owned, view_of
from llm_service.gateway.offers import models_of
from tests.fakes import a_credential, a_model, a_model_config, a_provider
from tests.unit.stored_configuration import StoredConfiguration


@pytest.fixture
def database():
    stored = StoredConfiguration()
    shared = a_provider("shared")
    stored.save(shared, a_model(shared), credentials=[a_credential(shared)])
    return stored


async def test_a_tenant_reaches_its_own_and_what_is_shared(database):
    own = a_provider("own", tenant="acme")
    database.save(own, a_model(own), credentials=[a_credential(own)])

    view = await Configuration(database).view("acme")

    assert set(view.providers) == {"providers/shared", "tenants/acme/providers/own"}
    assert set(view.credentials) == {"uid-shared", "uid-own"}
    assert [provider.provider_id for provider, _ in view.offers["m"]] == ["own", "shared"]
    assert "tenants/acme/providers/own/models/m" in view.models


async def test_a_tenant_does_not_reach_another_tenants(database):
    own = a_provider("own", tenant="acme")
    database.save(own, a_model(own, "secret"))

    view = await Configuration(database).view("other")

    assert set(view.providers) == {"providers/shared"}
    assert "secret" not in view.offers


async def test_nobody_in_particular_reaches_what_is_shared_once(database):
    view = await Configuration(database).view(SHARED)

    assert len(view.offers["m"]) == 1
    assert database.reads() == [SHARED]


async def test_a_view_is_read_once_and_never_waits_again(database):
    configuration = Configuration(database)

    first, second = await asyncio.gather(configuration.view("acme"), configuration.view("acme"))
    database.down = True
    third = await configuration.view("acme")

    assert first is second is third
    assert database.reads() == [SHARED, "acme"]


async def test_what_is_shared_is_read_once_for_all_tenants(database):
    configuration = Configuration(database)

    await configuration.view("a")
    await configuration.view("b")

    assert database.reads() == [SHARED, "a", "b"]


async def test_a_view_that_was_never_read_needs_the_database(database):
    configuration = Configuration(database)
    database.down = True

    with pytest.raises(StorageUnavailable):
        await configuration.view("acme")

    database.down = False
    assert await configuration.view("acme")


async def test_a_refresh_reads_only_loaded_tenants_that_changed(database):
    configuration = Configuration(database)
    await configuration.view("a")
    await configuration.view("b")
    await configuration.refresh()
    before = await configuration.view("b")
    database.reads()
    database.save(a_provider("new", tenant="a"))
    database.save(a_provider("new", tenant="never-loaded"))

    await configuration.refresh()

    assert database.reads() == ["a"]
    assert "tenants/a/providers/new" in (await configuration.view("a")).providers
    assert await configuration.view("b") is before
    assert database.reads() == []


async def test_a_refresh_without_changes_reads_nothing(database):
    configuration = Configuration(database)
    view = await configuration.view("a")
    await configuration.refresh()
    database.reads()

    await configuration.refresh()

    assert database.reads() == []
    assert (await configuration.view("a")).providers == view.providers


async def test_a_shared_change_reaches_every_tenant(database):
    configuration = Configuration(database)
    await configuration.view("a")
    await configuration.view("b")
    database.save(a_provider("new"))

    await configuration.refresh()

    for tenant in ("a", "b"):
        assert "providers/new" in (await configuration.view(tenant)).providers


async def test_a_view_knows_the_generation_it_is_of(database):
    configuration = Configuration(database)
    await configuration.view("a")
    database.save(a_provider("new", tenant="a"))

    await configuration.refresh()

    assert (await configuration.view("a")).generation == 2


async def test_a_refresh_that_fails_half_way_is_made_up_for_by_the_next(database):
    configuration = Configuration(database)
    before = await configuration.view("a")
    database.save(a_provider("new", tenant="a"))
    whole = database.models.of_tenant

    async def broken(tenant):
        raise StorageUnavailable("down")

    database.models.of_tenant = broken
    with pytest.raises(StorageUnavailable):
        await configuration.refresh()
    kept = await configuration.view("a")
    database.models.of_tenant = whole
    await configuration.refresh()

    assert kept is before
    assert "tenants/a/providers/new" in (await configuration.view("a")).providers


async def test_an_outage_keeps_the_last_snapshot_and_is_logged_once(database, caplog):
    configuration = Configuration(database)
    before = await configuration.view("a")
    caplog.set_level(logging.WARNING)
    database.down = True
    follower = asyncio.create_task(configuration.follow(1))

    for _ in range(3):
        await tick(database)
    during = await configuration.view("a")
    logged = len(caplog.records)
    database.down = False
    database.save(a_provider("new", tenant="a"))
    await tick(database)
    after = await configuration.view("a")
    database.down = True
    await tick(database)
    follower.cancel()
    with pytest.raises(asyncio.CancelledError):
        await follower

    assert during is before
    assert logged == 1
    assert "tenants/a/providers/new" in after.providers
    assert len(caplog.records) == 2
    assert database.listeners == 0


async def tick(database) -> None:
    """Let the follower look once; it has looked when it waits for the tick after that."""
    database.ticks.put_nowait(None)
    database.ticks.put_nowait(None)
    async with asyncio.timeout(10):
        await database.ticks.join()


async def test_what_nobody_foresaw_is_logged_and_does_not_end_the_following(database, caplog):
    configuration = Configuration(database)
    generations, database.generations = database.generations, None
    follower = asyncio.create_task(configuration.follow(1))
    for _ in range(100):  # turns of the loop, of which it takes a few
        await asyncio.sleep(0)

    database.generations = generations
    await configuration.refresh()

    assert not follower.done()
    assert "serving the last snapshot" in caplog.text
    follower.cancel()
    await asyncio.gather(follower, return_exceptions=True)


async def test_the_least_used_tenant_is_forgotten_and_read_again(database, monkeypatch):
    monkeypatch.setattr(module, "_KEPT_TENANTS", 3)  # the shared one is one of them
    configuration = Configuration(database)
    await configuration.view("a")
    await configuration.view("b")
    await configuration.view("a")
    await configuration.view("c")
    database.reads()

    await configuration.view("a")
    await configuration.view("c")
    assert database.reads() == []

    await configuration.view("b")
    assert database.reads() == ["b"]


async def test_tenants_with_much_are_forgotten_sooner(database, monkeypatch):
    monkeypatch.setattr(module, "_KEPT_RESOURCES", 10)
    for tenant in "abcde":
        for number in range(3):
            database.save(a_provider(f"p{number}", tenant=tenant))
    configuration = Configuration(database)

    for tenant in "abcde":
        await configuration.view(tenant)

    assert list(configuration.loaded) == [SHARED, "d", "e"]
    assert set((await configuration.view("a")).providers) >= {"tenants/a/providers/p0"}


async def test_a_tenant_too_large_for_the_bound_is_served_all_the_same(database, monkeypatch):
    monkeypatch.setattr(module, "_KEPT_RESOURCES", 1)
    database.save(a_provider("own", tenant="acme"))
    configuration = Configuration(database)

    first, second = await configuration.view("acme"), await configuration.view("acme")

    assert first is second


async def test_a_known_tenant_waits_for_no_read_of_another(database):
    configuration = Configuration(database)
    await configuration.view("a")
    database.save(a_provider("new"))
    await configuration.refresh()
    held = asyncio.Event()
    whole = database.providers.of_tenant

    async def slow(tenant):
        await held.wait()
        return await whole(tenant)

    database.providers.of_tenant = slow
    waiting = asyncio.create_task(configuration.view("b"))
    await asyncio.sleep(0)

    async with asyncio.timeout(10):
        view = await configuration.view("a")

    assert "providers/new" in view.providers
    assert not waiting.done()
    held.set()
    assert await waiting


# --- models ---------------------------------------------------------------------------------------


def test_the_built_in_models_of_a_kind_belong_to_each_of_its_providers():
    provider = a_provider("mine", "openai")

    models = models_of(provider, ())

    assert {model.provider_name for model in models} == {"providers/mine"}
    assert {model.provider_model for model in models} == {
        model.provider_model
        for model in catalog.built_in("openai")
        if model.stage is not ModelStage.RETIRED
    }


@pytest.mark.parametrize(
    "identity",
    [
        pytest.param({"model_id": "echo-1", "provider_model": "another"}, id="by id"),
        pytest.param({"model_id": "another", "provider_model": "echo-1"}, id="by upstream id"),
    ],
)
def test_a_row_stands_for_the_built_in_model_it_names(identity):
    provider = a_provider()
    row = a_model(provider, **identity)

    assert models_of(provider, [row]) == (row,)


def test_a_retired_built_in_model_is_not_offered(monkeypatch):
    retired = replace(catalog.built_in("echo")[0], stage=ModelStage.RETIRED)
    monkeypatch.setattr(catalog, "built_in", lambda kind: (retired,))

    assert models_of(a_provider(), ()) == ()


def test_a_model_is_offered_once_under_its_id_its_upstream_id_and_each_alias():
    provider = a_provider(kind="openai-compatible")
    model = a_model(provider, "m", provider_model="vendor/m", aliases=("fast", "m"))
    own = Owned((provider,), {}, {provider.name: (model,)})

    view = view_of(1, Owned((), {}, {}), own, "acme")

    assert view.offers == dict.fromkeys(("m", "vendor/m", "fast"), ((provider, model),))
    assert view.models == {model.name: model}


def test_a_disabled_model_is_offered_so_that_a_refusal_can_say_why():
    provider = a_provider(disabled=True)
    own = Owned((provider,), {}, {provider.name: (a_model(provider, disabled=True),)})

    assert "m" in view_of(1, Owned((), {}, {}), own, "acme").offers


async def test_enabled_model_configurations_are_found_by_selector_the_tenants_own_first(database):
    off = a_model_config("off", Selector("a"), disabled=True)
    shared, own = a_model_config("main"), a_model_config("main", Selector("a"), tenant="acme")
    database.model_configs.rows = {"": [shared, off], "acme": [own]}

    view = await Configuration(database).view("acme")

    assert view.configs == ({("a", "", ""): own}, {("", "", ""): shared})
    assert (await Configuration(database).view(SHARED)).configs == ({("", "", ""): shared},)


KINDS = st.sampled_from(["echo", "openai", "deepseek", "openai-compatible"])
NAMES = st.sampled_from(["m", "fast", "echo-1", "deepseek-chat", "gpt-5", "vendor/m"])


@given(
    kinds=st.lists(KINDS, max_size=4),
    rows=st.lists(st.tuples(st.integers(0, 3), NAMES, NAMES, st.lists(NAMES, max_size=2))),
)
def test_what_is_offered_is_every_model_under_each_of_its_names(kinds, rows):
    providers = [a_provider(f"p{place}", kind) for place, kind in enumerate(kinds)]
    models: dict[str, tuple] = {}
    for place, model_id, upstream, aliases in rows:
        if place < len(providers):
            row = a_model(
                providers[place], model_id, provider_model=upstream, aliases=tuple(aliases)
            )
            others = models.get(row.provider_name, ())
            if row.model_id not in {other.model_id for other in others}:
                models[row.provider_name] = (*others, row)

    view = view_of(1, Owned(tuple(providers), {}, models), Owned((), {}, {}), "acme")

    every = [(p, m) for p in providers for m in models_of(p, models.get(p.name, ()))]
    expected: dict[str, list] = {}
    for provider, model in every:
        for name in {model.model_id, model.provider_model, *model.aliases}:
            expected.setdefault(name, []).append((provider, model))
    assert {name: sorted(pairs, key=repr) for name, pairs in view.offers.items()} == {
        name: sorted(pairs, key=repr) for name, pairs in expected.items()
    }
    assert dict(view.models) == {model.name: model for _, model in every}

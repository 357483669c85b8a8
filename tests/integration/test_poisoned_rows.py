"""D4: a row broken behind the service's back costs only itself, and says so."""

import logging
from dataclasses import replace

from llm_service.domain.listing import Comparison, Listing, Operator
from llm_service.domain.model_config import Selector
from llm_service.gateway.admin.states import State, credential_state, provider_state
from llm_service.gateway.configuration import Configuration
from llm_service.providers import provider_kind
from llm_service.rpc.convert.model import from_model
from llm_service.rpc.convert.model_config import from_model_config
from llm_service.rpc.stubs import model_pb2
from llm_service.storage.database import Database
from tests.fakes import a_model_config
from tests.integration.samples import NOW, a_credential, a_model, a_provider

DEEP = "'" + "[" * 3000 + "]" * 3000 + "'"
HUGE = "1" + "0" * 40

ON_BOTH = [
    "providers SET kind = 'a-kind-of-tomorrow'",
    "providers SET settings = '[]'",
    """providers SET settings = '{"region": 5}'""",
    """providers SET settings = '{"region": null}'""",
    """providers SET labels = '"x"'""",
    """providers SET rate_limits = '{"requests_per_minute": "many"}'""",
    f"""providers SET rate_limits = '{{"requests_per_minute": {HUGE}}}'""",
    """providers SET timeouts = '{"connect": "soon"}'""",
    """providers SET timeouts = '{"connect": 1e300}'""",
    "providers SET timeouts = '3'",
    f"providers SET settings = {DEEP}",
    "credentials SET source_type = 'telepathy'",
    "credentials SET sealed = 'sealed1:fernet-v1'",
    "credentials SET sealed = 'sealed1:rot13:k:AAAA'",
    "credentials SET sealed = 'sk-in-the-clear'",
    "credentials SET rate_limits = '[1]'",
    "models SET origin = 'rumour'",
    "models SET stage = 'fashionable'",
    "models SET aliases = '5'",
    "models SET aliases = '[1, 2]'",
    """models SET capabilities = '{"tools": "some"}'""",
    """models SET price = '{"items": []}'""",
    f"""models SET price = '{{"version": "v", "items":
        [{{"meter": "input_tokens", "nano_usd_per_million": {HUGE}}}]}}'""",
    """models SET input_modalities = '["smell"]'""",
    """models SET default_params = '{"temperature": "warm"}'""",
    "models SET dated_prices = '5'",
    """models SET dated_prices = '[{"items": []}]'""",
    "model_configs SET targets = '[5]'",
    """model_configs SET params = '{"temperature": "warm"}'""",
    "model_configs SET limits = '[]'",
    f"model_configs SET routing = {DEEP}",
    """model_configs SET labels = '"x"'""",
]
ON_POSTGRESQL = [
    "providers SET create_time = 'infinity'",
    "providers SET update_time = '0044-03-15 BC'",
    "credentials SET expire_time = 'infinity'",
    "models SET sync_time = '-infinity'",
    "model_configs SET create_time = 'infinity'",
]
ON_SQLITE = [
    "providers SET settings = '{'",
    "providers SET display_name = CAST(X'ff' AS TEXT)",
    "providers SET weight = 'heavy'",
    "providers SET create_time = 'yesterday'",
    "providers SET labels = X'ff'",
    """providers SET labels = '{"a": "\\ud800"}'""",
    """providers SET timeouts = '{"connect": NaN}'""",
    "credentials SET rate_limits = ''",
    "credentials SET create_time = 5",
    "credentials SET secret_version = 'two'",
    "models SET price = '{]'",
    "models SET context_window_tokens = 'long'",
    "model_configs SET targets = '{]'",
    "model_configs SET agent = CAST(X'ff' AS TEXT)",
]
POISONS = {"sqlite": (*ON_BOTH, *ON_SQLITE), "postgresql": (*ON_BOTH, *ON_POSTGRESQL)}
KEYS = {
    "providers": "provider_id = 'ill'",
    "credentials": "credential_id = 'ill'",
    "models": "model_id = 'ill'",
    "model_configs": "config_id = 'ill'",
}
ILL = {
    "providers": "providers/ill",
    "credentials": "providers/well/credentials/ill",
    "models": "providers/well/models/ill",
    "model_configs": "modelConfigs/ill",
}
HEALTHY = {
    "sealed": "sealed1:fernet-v1:k1:AAAA",
    "obfuscated_secret": "...9f3a",
}


async def test_d4_each_poisoned_row_quarantines_only_itself(database, caplog):
    poisons = dict(enumerate(POISONS[database.dialect]))
    for number, poison in poisons.items():
        await fill(database, f"t{number}")
        await break_one(database, f"t{number}", poison)
    configuration = Configuration(database)  # as after a restart

    wrong = {}
    for number, poison in poisons.items():
        found = await symptoms(database, configuration, f"t{number}")
        if found != expected(f"t{number}", poison.partition(" ")[0]):
            wrong[poison] = found

    assert wrong == {}
    assert len(poisons) > 20
    assert configuration.quarantined == len(poisons)
    warned = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warned) == len(poisons)
    assert all(line.endswith(" is quarantined: its row is broken") for line in warned)


async def symptoms(database, configuration, tenant: str) -> dict[str, object]:
    view = await configuration.view(tenant)
    await configuration.refresh()
    return {
        "quarantined": configuration.loaded[tenant].quarantined,
        "shown": await shown(database, tenant),
        "served": reachable(view),
        "usable": usable(view),
        "configs": {config.config_id for config in view.configs[0].values()},
    }


def expected(tenant: str, table: str) -> dict[str, object]:
    ill = f"tenants/{tenant}/{ILL[table]}"
    keys = {
        f"tenants/{tenant}/providers/{one}"
        for one in (
            "well/credentials/default",
            "well/credentials/ill",
            "ill/credentials/default",
            "also-well/credentials/default",
        )
    }
    models = {"well-model", "also-well-model", "ill"}
    return {
        "quarantined": (ill,),
        "shown": {ill},
        "served": models - {"ill"} if table == "models" else models,
        "usable": keys - {ill},
        "configs": {"well", "ill"} - ({"ill"} if table == "model_configs" else set()),
    }


async def test_what_is_quarantined_is_repaired_by_an_update(database):
    await fill(database)
    await break_one(database, "acme", "providers SET settings = '[]'")
    configuration = Configuration(database)
    await configuration.view("acme")

    async with database.begin() as tx:
        broken = await tx.providers.get("acme", "ill", for_update=True)
        mended = await tx.providers.update(replace(broken, settings={}), broken.version)
        await tx.config.bump("acme")
    await configuration.refresh()

    assert broken.unreadable == ("settings",)
    assert mended.unreadable == ()
    assert configuration.quarantined == 0
    assert not (await configuration.view("acme")).providers["tenants/acme/providers/ill"].disabled


async def test_what_no_driver_can_read_is_repaired_or_deleted_all_the_same(sqlite_url):
    async with Database.open(sqlite_url) as database:
        await fill(database)
        for poison in (
            "models SET price = '{]'",
            "model_configs SET targets = '{]'",
            "providers SET settings = '{'",
            "credentials SET rate_limits = '{'",
        ):
            await break_one(database, "acme", poison)

        async with database.begin() as tx:
            ill = await tx.providers.get("acme", "ill", for_update=True)
            await tx.providers.update(replace(ill, settings={}), ill.version)
            well = await tx.providers.get("acme", "well")
            model = await tx.models.get(well.uid, "ill")
            await tx.models.update(well.uid, replace(model, price=None), model.version)
            await tx.models.delete(well.uid, "ill")
            config = await tx.model_configs.get("acme", "ill", for_update=True)
            mended = await tx.model_configs.update(replace(config, targets=()), config.version)
            key = await tx.credentials.get(well.uid, "ill")
            await tx.credentials.update(replace(key, disabled=True), key.version)
            await tx.credentials.delete(key.uid)

    assert config.unreadable == ("targets",)
    assert mended.unreadable == ()


async def test_a_search_passes_over_what_cannot_be_searched(sqlite_url):
    async with Database.open(sqlite_url) as database:
        await fill(database)
        await break_one(database, "acme", "providers SET labels = '{'")

        async with database.read() as tx:
            wanted = Listing(filter=Comparison("labels.team", Operator.EQ, "x"), limit=10)
            found = await tx.providers.list("acme", wanted)

    assert [provider.provider_id for provider in found.items] == ["well"]


async def test_a_page_goes_on_after_a_row_that_cannot_be_read(database):
    await fill(database)
    await break_one(database, "acme", f"providers SET settings = {DEEP}")

    async with database.read() as tx:
        first = await tx.providers.list("acme", Listing(limit=2))
        second = await tx.providers.list("acme", Listing(limit=2, after=first.after))

    assert [one.provider_id for one in (*first.items, *second.items)] == [
        "also-well",
        "ill",
        "well",
    ]


def test_a_number_no_field_can_hold_is_shown_as_quarantine():
    model = a_model(a_provider(), context_window_tokens=2**40)

    shown = from_model(model)

    assert shown.state == model_pb2.Model.STATE_QUARANTINED
    assert shown.name == model.name


async def fill(database, tenant: str = "acme") -> None:
    well = a_provider("well", tenant, labels={"team": "x"})
    ill, also = a_provider("ill", tenant), a_provider("also-well", tenant)
    async with database.begin() as tx:
        for one in (well, ill, also):
            await tx.providers.add(one)
            await tx.config.bump(one.tenant)
            await tx.credentials.add(a_credential(one, **HEALTHY))
        await tx.credentials.add(a_credential(well, "ill", **HEALTHY))
        await tx.models.add(well.uid, a_model(well, "well-model"))
        await tx.models.add(well.uid, a_model(well, "ill"))
        await tx.models.add(also.uid, a_model(also, "also-well-model"))
        for one in ("well", "ill"):
            await tx.model_configs.add(a_model_config(one, Selector(agent=one), tenant))


async def break_one(database, tenant: str, poison: str) -> None:
    """Set one column of the row called "ill" of the poison's table, and of no other tenant's."""
    table = poison.partition(" ")[0]
    owner = f"tenant = '{tenant}'"
    own = "SELECT uid FROM providers WHERE"
    owned = table in ("providers", "model_configs")
    where = owner if owned else f"provider_uid IN ({own} {owner})"
    async with database.begin() as tx:
        await tx.providers._connection.exec_driver_sql(
            f"UPDATE {poison} WHERE {KEYS[table]} AND {where}"
        )


def reachable(view) -> set[str]:
    return {
        name
        for name in ("well-model", "also-well-model", "ill")
        for provider, model in view.offers.get(name, ())
        if not provider.disabled and not model.disabled
    }


def usable(view) -> set[str]:
    return {
        one.name
        for credentials in view.credentials.values()
        for one in credentials
        if not one.disabled and one.name.startswith("tenants/")
    }


async def shown(database, tenant: str) -> set[str]:
    """What an operator is shown as quarantined."""
    async with database.read() as tx:
        providers = (await tx.providers.list(tenant, Listing(limit=10))).items
        models = (await tx.models.list([tenant], Listing(limit=10))).items
        configs = (await tx.model_configs.list(tenant, Listing(limit=10))).items
        credentials = await tx.credentials.of_providers([one.uid for one in providers])
    kind = provider_kind("openai")
    owners = {one.uid: one for one in providers}
    states = {
        **{one.name: provider_state(one, kind, credentials, NOW) for one in providers},
        **{one.name: credential_state(one, owners[one.provider_uid], NOW) for one in credentials},
    }
    ill = {name for name, state in states.items() if state is State.QUARANTINED}
    told = [*map(from_model, models), *map(from_model_config, configs)]
    return ill | {one.name for one in told if "QUARANTINED" in state_of(one)}


def state_of(message) -> str:
    return type(message).State.Name(message.state)

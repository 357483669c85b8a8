import asyncio
from dataclasses import replace

import pytest

from llm_service.domain.completion import (
    Effort,
    GenerationParams,
    Preference,
    Reasoning,
    RoutingOptions,
)
from llm_service.domain.listing import Comparison, Listing, Operator, Order
from llm_service.domain.model_config import ModelConfig, Selector, TargetSpec
from llm_service.errors import AlreadyExists, EtagMismatch, InvalidField, ResourceNotFound
from tests.integration.samples import NOW, NUMBERS


def a_config(config_id="main", tenant="acme", **changes) -> ModelConfig:
    return ModelConfig(tenant, config_id, f"uid-{next(NUMBERS)}", NOW, NOW, **changes)


def a_full_config() -> ModelConfig:
    reasoning = Reasoning(Effort.HIGH, 5, include_thoughts=True)
    return a_config(
        selector=Selector("risk-reviewer", "u.1", "reasoning"),
        display_name="Müller & 猫",
        targets=(
            TargetSpec("gpt-4o", "providers/o/credentials/agent", GenerationParams(seed=3)),
            TargetSpec("claude", fallback_reasons=("PROVIDER_UNAVAILABLE",)),
        ),
        params=GenerationParams(temperature=0.7, stop_sequences=("a", "b"), reasoning=reasoning),
        limits=GenerationParams(max_output_tokens=2**31 - 1),
        routing=RoutingOptions(
            fallback_models=("x",),
            disable_fallback=False,
            preference=Preference.COST,
            attempt_timeout=1.5,
            max_cost_nano_usd=2**60,
            min_output_tokens_per_second=0.5,
        ),
        disabled=True,
        locked=True,
        labels={"team": "x", 'quo"ted.key': "\\"},
    )


async def stored(database, *configs):
    async with database.begin() as tx:
        for config in configs:
            await tx.model_configs.add(config)


async def test_a_configuration_comes_back_as_it_went_in(database):
    full, plain = a_full_config(), a_config("plain")

    await stored(database, full, plain)

    async with database.read() as tx:
        assert await tx.model_configs.get("acme", "main") == full
        assert await tx.model_configs.of_tenant("acme") == (full, plain)
        assert await tx.model_configs.of_tenant("") == ()


async def test_a_tenant_has_one_configuration_of_each_id(database):
    await stored(database, a_config())

    with pytest.raises(AlreadyExists, match="of that id"):
        await stored(database, a_config(selector=Selector("other")))


@pytest.mark.parametrize(
    "selector", [Selector(), Selector("a"), Selector(user="u"), Selector("a", "u", "tools")]
)
async def test_a_tenant_has_one_configuration_of_each_selector(database, selector):
    await stored(database, a_config("one", selector=selector, disabled=True))

    with pytest.raises(AlreadyExists, match="with that selector"):
        await stored(database, a_config("two", selector=selector))

    await stored(database, a_config("two", tenant="other", selector=selector))
    await stored(database, a_config("two", tenant="", selector=selector))


async def test_of_two_who_set_the_default_at_once_one_is_refused(database):
    outcomes = await asyncio.gather(
        stored(database, a_config("one")), stored(database, a_config("two")), return_exceptions=True
    )

    assert sorted(map(type, outcomes), key=str) == sorted([AlreadyExists, type(None)], key=str)


async def test_an_update_cannot_take_another_configurations_selector(database):
    mine, other = a_config("one", selector=Selector("a")), a_config("two")
    await stored(database, mine, other)

    with pytest.raises(AlreadyExists, match="with that selector"):
        async with database.begin() as tx:
            await tx.model_configs.update(replace(mine, selector=Selector()), 1)

    async with database.read() as tx:
        assert await tx.model_configs.get("acme", "one") == mine


async def test_an_update_needs_the_version_it_was_made_from(database):
    config = a_config()
    await stored(database, config)

    async with database.begin() as tx:
        updated = await tx.model_configs.update(replace(config, locked=True), 1)
    with pytest.raises(EtagMismatch):
        async with database.begin() as tx:
            await tx.model_configs.update(config, 1)

    async with database.read() as tx:
        assert await tx.model_configs.get("acme", "main") == updated
    assert (updated.version, updated.locked) == (2, True)


async def test_a_deleted_configuration_is_gone_and_leaves_its_selector_free(database):
    await stored(database, a_config())
    with pytest.raises(EtagMismatch):
        async with database.begin() as tx:
            await tx.model_configs.delete("acme", "main", 2)

    async with database.begin() as tx:
        await tx.model_configs.delete("acme", "main", 1)

    with pytest.raises(ResourceNotFound):
        async with database.begin() as tx:
            await tx.model_configs.delete("acme", "main")
    with pytest.raises(ResourceNotFound):
        async with database.read() as tx:
            await tx.model_configs.get("acme", "main")
    await stored(database, a_config("again"))


async def test_lists_are_filtered_by_selector_and_labels_and_ordered(database):
    configs = [
        a_config("a", selector=Selector("risk"), labels={"team": "x"}),
        a_config("b", selector=Selector("risk", interaction="tools"), locked=True),
        a_config("c", selector=Selector(user="u"), display_name="First"),
        a_config("d", tenant=""),
    ]
    await stored(database, *configs)

    async def ids(tenant, **listing):
        async with database.read() as tx:
            page = await tx.model_configs.list(tenant, Listing(10, **listing))
        return [config.config_id for config in page.items]

    def where(field, value, operator=Operator.EQ):
        return Comparison(field, operator, value)

    assert await ids(None) == ["d", "a", "b", "c"]
    assert await ids("acme", filter=where("selector.agent", "risk")) == ["a", "b"]
    assert await ids("acme", filter=where("selector.user", "u")) == ["c"]
    assert await ids("acme", filter=where("selector.interaction", "tools")) == ["b"]
    assert await ids("acme", filter=where("labels.team", "x")) == ["a"]
    assert await ids("acme", filter=where("locked", value=True)) == ["b"]
    assert await ids("acme", order_by=(Order("display_name", descending=True),)) == ["c", "b", "a"]
    with pytest.raises(InvalidField):
        await ids("acme", filter=where("nothing", "x"))


async def test_pages_go_on_where_the_last_one_ended(database):
    configs = [a_config(f"c{n}", selector=Selector(f"a{n}")) for n in range(5)]
    await stored(database, *configs)

    found, after = [], None
    while True:
        async with database.read() as tx:
            page = await tx.model_configs.list("acme", Listing(2, after=after))
        found += page.items
        if (after := page.after) is None:
            break

    assert found == configs

"""The price of a configuration's target: what calls it serves are charged at."""

from dataclasses import replace
from datetime import timedelta

import pytest

from llm_service.domain.completion import Attribution
from llm_service.domain.model_config import Selector, TargetSpec
from llm_service.domain.provider import Price, PriceItem
from llm_service.gateway.admin.config_rules import model_config
from llm_service.gateway.admin.drafts import ModelConfigDraft
from llm_service.rpc.convert.model_config import from_model_config_draft, to_model_config_draft
from tests.fakes import NOW, FakeAdapter, a_model_config, an_answer
from tests.unit.two_providers import World

AGENT = Attribution("default", agent="7")
OWN = Price("", (PriceItem("input-tokens", 10_000_000_000), PriceItem("output-tokens", 0)))


def an_agents(price: Price) -> World:
    target = TargetSpec("providers/one/models/m", price=price)
    config = a_model_config("agent-7", Selector(agent="7"), targets=(target,), version=3)
    return World(FakeAdapter(an_answer(), an_answer()), configs=(config,))


async def test_a_configurations_price_is_charged_and_named_after_it():
    world = an_agents(OWN)

    completion = await world.complete(model="", attribution=AGENT)
    other = await world.complete(attribution=replace(AGENT, agent="8"))

    assert completion.cost.total_nano_usd == 7 * 10_000
    assert completion.cost.price_version == "modelConfigs/agent-7@3"
    assert world.ledger.records[0].attempt.cost == completion.cost
    assert next(iter(world.ledger.opened.values())).price.version == "modelConfigs/agent-7@3"
    assert other.cost.price_version == "v1"


async def test_its_own_version_and_time_stand():
    begun = NOW - timedelta(days=1)
    world = an_agents(replace(OWN, version="contract-9", effective_time=begun))

    completion = await world.complete(model="", attribution=AGENT)

    assert completion.cost.price_version == "contract-9"
    assert completion.cost.price_effective_time == begun


async def test_before_it_holds_the_models_own_price_does():
    world = an_agents(replace(OWN, effective_time=NOW.replace(year=NOW.year + 100)))

    completion = await world.complete(model="", attribution=AGENT)

    assert completion.cost.price_version == "v1"


def test_the_contract_carries_it():
    draft = ModelConfigDraft(targets=(TargetSpec("m", price=OWN), TargetSpec("n")))

    assert to_model_config_draft(from_model_config_draft(draft)) == draft


@pytest.mark.parametrize(
    ("tenant", "model", "fine"),
    [
        ("", "providers/one/models/m", True),
        ("", "m", True),
        ("acme", "tenants/acme/providers/one/models/m", True),
        ("acme", "providers/one/models/m", False),
        ("acme", "m", False),
    ],
)
def test_a_tenant_prices_its_own_providers_only(tenant, model, fine):
    draft = ModelConfigDraft(targets=(TargetSpec(model, price=OWN),))

    violations = [v.field for v in model_config(draft, tenant)]

    assert violations == ([] if fine else ["model_config.targets[0].price"])


def test_a_price_that_is_none_is_named():
    wrong = Price("v", (PriceItem("input-tokens", -1),))
    draft = ModelConfigDraft(targets=(TargetSpec("m", price=wrong),))

    (violation,) = model_config(draft, "")

    assert violation.field == "model_config.targets[0].price.items[0].nano_usd_per_million"

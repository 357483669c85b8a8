"""Agents' own configurations, taken over: what becomes of each row."""

import pytest
from cryptography.fernet import Fernet

from llm_service.domain.completion import GenerationParams
from llm_service.domain.model_config import Selector
from llm_service.domain.provider import PriceItem
from llm_service.gateway.admin.imports.steps import Outcome
from llm_service.gateway.manager import binding
from tests.integration.importing import (
    CANARY,
    agent_row,
    agents,
    lines,
    sealed,
)


async def test_an_agents_row_becomes_its_configuration_with_key_fallback_and_price(importing):
    one = await agents(
        importing,
        agent_row(
            1,
            temperature=0.2,
            max_tokens=1000,
            top_p=0.9,
            api_key_encrypted=sealed(CANARY),
            fallback_provider="claude",
            fallback_model="claude-3-haiku-20240307",
            cost_per_1k_input_tokens=0.00015,
            cost_per_1k_output_tokens=0.0006,
            metadata_json='{"team": "risk", "deep": {"no": 1}}',
        ),
    )

    report = await one.run()

    found = await one.everything()
    config = found.configs["modelConfigs/agent-7"]
    credential = found.credentials["providers/openai/credentials/agent-config-1"]
    provider = found.providers["providers/openai"]
    assert config.selector == Selector(agent="7")
    assert [(t.model, t.credential) for t in config.targets] == [
        ("providers/openai/models/gpt-4o", credential.name),
        ("providers/anthropic/models/claude-3-haiku-20240307", ""),
    ]
    assert config.params == GenerationParams(temperature=0.2, top_p=0.9, max_output_tokens=1000)
    assert (config.disabled, config.labels) == (False, {"team": "risk"})
    assert one.vault.open(credential.sealed, binding(provider, credential)) == CANARY
    assert credential.weight == 0
    assert provider.default_credential == "providers/openai/credentials/default"
    assert config.targets[0].price.items == (
        PriceItem("input-tokens", 150_000_000),
        PriceItem("output-tokens", 600_000_000),
    )
    assert lines(report, Outcome.LEFT) == [
        "agent_llm_configs[1]: left out metadata_json.deep: is no single value, so no label"
    ]
    assert not lines(report, Outcome.FAILED)


async def test_several_rows_of_an_agent_become_one_chain_each_with_its_own_parameters(
    importing_here,
):
    one = await agents(
        importing_here,
        agent_row(1, temperature=0.1, max_tokens=10),
        agent_row(2, provider="grok", model_name="grok-3", temperature=0.9),
        agent_row(3, model_name="gpt-4o-mini", enabled=False),
        agent_row(4, agent_id=8, enabled=False),
    )

    report = await one.run()

    configs = (await one.everything()).configs
    chain = configs["modelConfigs/agent-7"]
    assert [(t.model, t.params) for t in chain.targets] == [
        (
            "providers/openai/models/gpt-4o",
            GenerationParams(temperature=0.1, max_output_tokens=10),
        ),
        ("providers/xai/models/grok-3", GenerationParams(temperature=0.9)),
    ]
    assert chain.params == GenerationParams()
    assert configs["modelConfigs/agent-8"].disabled
    assert lines(report, Outcome.FAILED) == [
        "agent_llm_configs[3]: could not import: it is switched off, and other rows of agent 7 "
        "are not"
    ]


async def test_a_row_whose_key_cannot_be_opened_is_reported_and_the_others_go_on(importing_here):
    strange = sealed(CANARY, Fernet.generate_key().decode())
    one = await agents(
        importing_here,
        agent_row(1, api_key_encrypted=strange),
        agent_row(2, agent_id=8, provider="watson"),
        agent_row(3, agent_id=9),
    )

    report = await one.run()

    assert lines(report, Outcome.FAILED) == [
        "agent_llm_configs[1]: could not import: it was not sealed with the key in OLD_KEY",
        "agent_llm_configs[2]: could not import: provider is no kind of provider of this service: "
        "'watson'",
    ]
    assert set((await one.everything()).configs) == {"modelConfigs/agent-9"}


@pytest.mark.parametrize(
    ("old_key", "why"),
    [
        ("", "the key it is sealed with must be in OLD_KEY"),
        ("no key at all", "OLD_KEY holds no Fernet key"),
    ],
)
async def test_without_the_old_key_rows_with_secrets_say_so(importing_here, old_key, why):
    one = await agents(importing_here, agent_row(1, api_key_encrypted=sealed(CANARY)))

    report = await one.run(old_key=old_key)

    assert lines(report) == [f"agent_llm_configs[1]: could not import: {why}"]


async def test_each_agent_keeps_its_own_price_of_a_model(importing_here):
    one = await agents(
        importing_here,
        agent_row(1, cost_per_1k_input_tokens=0.001),
        agent_row(2, agent_id=8, cost_per_1k_input_tokens=0.002),
        agent_row(3, agent_id=9, cost_per_1k_input_tokens=-1.0, temperature=9.0),
    )

    report = await one.run()

    assert lines(report, Outcome.LEFT) == [
        "agent_llm_configs[3]: left out cost_per_1k_input_tokens: is no price in whole "
        "nano-dollars for a million tokens",
        "agent_llm_configs[3]: left out temperature: must be between 0 and 2",
    ]
    configs = (await one.everything()).configs
    prices = [configs[f"modelConfigs/agent-{n}"].targets[0].price for n in (7, 8)]
    assert [price.items for price in prices] == [
        (PriceItem("input-tokens", 1_000_000_000),),
        (PriceItem("input-tokens", 2_000_000_000),),
    ]

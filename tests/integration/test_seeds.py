"""What `llm-service seed` plants, and that it never touches what is there."""

from dataclasses import replace

import pytest

from llm_service.domain.model_config import Selector
from llm_service.gateway.admin.drafts import ModelConfigDraft
from llm_service.gateway.admin.model_configs import ModelConfigs
from llm_service.gateway.admin.models import Models
from llm_service.gateway.admin.providers import Providers
from llm_service.gateway.admin.secrets import Secrets
from llm_service.gateway.admin.seeds import ECHO, Seeds
from llm_service.gateway.model_catalogue import ModelCatalogue
from llm_service.providers.egress import Egress
from llm_service.vault import Vault

USUAL = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY")
REGISTRY = {
    "providers/openai/models/gpt-4": (10, True),
    "providers/openai/models/gpt-3-5-turbo": (20, True),
    "providers/azure/models/gpt-4": (30, False),
    "providers/anthropic/models/claude-3-haiku-20240307": (40, False),
    "providers/anthropic/models/claude-3-sonnet-20240229": (41, False),
    "providers/anthropic/models/claude-3-opus-20240229": (42, False),
    "providers/bedrock/models/anthropic-claude-v2": (50, False),
    "providers/google/models/gemini-pro": (60, False),
    "providers/fireworks/models/accounts-fireworks-models-mixtral-8x7b-instruct": (70, False),
    "providers/ollama/models/llama2": (80, True),
    "providers/ollama/models/llama3": (81, False),
}
INTERACTIONS = {
    "reasoning": ("gpt-4o", 0.7),
    "tools": ("gpt-4o-mini", 0.1),
    "subagents": ("gpt-4o-mini", 0.5),
    "planning": ("gpt-4o", 0.2),
    "embeddings": ("text-embedding-3-small", 0.0),
}


@pytest.fixture
async def seeds(database):
    egress = Egress(["127.0.0.1:11434"])
    yield Seeds(
        Providers(database, Secrets(Vault(None, "deployment"), USUAL), egress),
        Models(database),
        ModelConfigs(database),
        {},
        USUAL,
    )
    await egress.aclose()


async def everything(database):
    async with database.read() as tx:
        configs = await tx.model_configs.of_tenant("")
        return await tx.providers.of_tenant(""), await tx.models.of_tenant(""), configs


async def test_the_registry_has_its_models_with_priorities_and_switches_and_their_chain(
    seeds, database
):
    lines = await seeds.plant_registry()

    _, models, configs = await everything(database)
    by_id = {config.config_id: config for config in configs}
    assert {m.name: (m.priority, not m.disabled) for m in models} == REGISTRY
    assert {f"created {name}" for name in REGISTRY} <= set(lines)
    assert by_id["default"].selector == Selector()
    assert [target.model for target in by_id["default"].targets] == list(REGISTRY)


async def test_each_interaction_has_its_model_and_temperature(seeds, database):
    await seeds.plant_registry()

    *_, configs = await everything(database)
    found = {
        c.selector.interaction: (c.targets[0].model, c.params.temperature)
        for c in configs
        if c.selector.interaction
    }
    assert found == {
        name: (f"providers/openai/models/{model}", temperature)
        for name, (model, temperature) in INTERACTIONS.items()
    }


async def test_a_planted_model_knows_its_window_and_its_price(seeds, database):
    await seeds.plant_registry()

    model = await ModelCatalogue(database).named("", "openai", "gpt-4")

    assert model.context_window_tokens == 8192
    assert {item.meter for item in model.price.items} >= {"input-tokens", "output-tokens"}


async def test_what_an_operator_changed_stays_and_twice_is_as_once(seeds, database):
    await seeds.configs.create("", "mine", ModelConfigDraft(display_name="mine"))
    await seeds.plant_registry()
    await seeds.models.update(
        "", "openai", "gpt-4", lambda model: replace(model, priority=99, disabled=True)
    )
    before = await everything(database)

    lines = await seeds.plant_registry()

    assert await everything(database) == before
    assert not [line for line in lines if line.startswith("created")]
    assert {c.config_id for c in before[2]} == {"mine", *INTERACTIONS}


async def test_without_leave_to_dial_it_a_local_server_is_not_planted_and_that_is_said(
    seeds, database
):
    guarded = Providers(database, Secrets(Vault(None, "deployment"), USUAL), Egress([]))

    lines = await replace(seeds, providers=guarded).plant_registry()

    said = "\n".join(lines)
    assert "did not create providers/ollama: provider.base_uri" in said
    assert "did not create providers/ollama/models/llama2: there is no such provider" in said


async def test_a_provider_of_another_kind_under_the_same_id_gets_no_models(seeds):
    await seeds.providers.create("", "openai", ECHO)

    lines = await seeds.plant_registry()

    assert "did not create providers/openai/models/gpt-4: the provider is of kind echo" in lines


async def test_a_first_start_plants_only_what_works_at_once(seeds, database):
    environment = {"OPENAI_API_KEY": "sk-0123456789"}
    ollama = "http://127.0.0.1:11434"

    bare = await seeds.plant()
    with_key = await replace(seeds, environment=environment, ollama_url=ollama).plant()

    providers, _, configs = await everything(database)
    assert bare == ["created providers/echo"]
    assert "created modelConfigs/tools" in with_key
    assert [p.provider_id for p in providers] == ["echo", "ollama", "openai"]
    assert {c.config_id for c in configs} == set(INTERACTIONS)

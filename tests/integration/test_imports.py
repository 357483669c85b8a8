"""Configuration of four other systems, taken over: what becomes of each row."""

from dataclasses import replace
from uuid import UUID

import pytest
from cryptography.fernet import Fernet

from llm_service.domain.completion import GenerationParams
from llm_service.domain.model_config import Selector
from llm_service.domain.provider import PriceItem, RateLimits, SourceType
from llm_service.errors import StorageUnavailable
from llm_service.gateway.admin.imports import systems
from llm_service.gateway.admin.imports.steps import Outcome
from llm_service.gateway.manager import binding
from llm_service.providers.egress import Egress
from llm_service.storage.imports import ForeignDatabaseError
from llm_service.vault import Keyring, Scheme, Vault, generate_key
from tests.integration import other_systems as others
from tests.integration.importing import CANARY, Importing, lines, sealed

ONE, TWO, THREE = (str(UUID(int=n)) for n in (1, 2, 3))
ACME = "t-" + TWO


@pytest.fixture
async def importing(request, database, database_url, tmp_path):
    """`importing(system)`: a database of the same kind to import from, and one to import into."""
    if database_url.startswith("postgresql"):
        url = request.getfixturevalue("empty_postgresql_url")
    else:
        url = f"sqlite+aiosqlite:///{tmp_path / 'other.db'}"
    keyring = Keyring.from_text(generate_key(Scheme.FERNET_V1))
    egress = Egress(["127.0.0.1:11434", "127.0.0.1:1234"])
    yield lambda system: Importing(database, Vault(keyring, "deployment"), egress, system, url)
    await egress.aclose()


def agent_row(id_: int, agent_id: int = 7, **fields):
    return {"id": id_, "agent_id": agent_id, "provider": "openai", "model_name": "gpt-4o", **fields}


async def agents(importing, *rows) -> Importing:
    one = importing("agent-llm-configs")
    ids = sorted({row["agent_id"] for row in rows})
    await others.fill(
        one.url,
        others.AGENT_LLM_CONFIGS,
        agent_configs=[{"id": id_} for id_ in ids],
        agent_llm_configs=rows,
    )
    return one


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
    assert found.models["providers/openai/models/gpt-4o"].price.items == (
        PriceItem("input-tokens", 150_000_000),
        PriceItem("output-tokens", 600_000_000),
    )
    assert lines(report, Outcome.LEFT) == [
        "agent_llm_configs[1]: left out metadata_json.deep: is no single value, so no label"
    ]
    assert not lines(report, Outcome.FAILED)


async def test_several_rows_of_an_agent_become_one_chain_each_with_its_own_parameters(importing):
    one = await agents(
        importing,
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


async def test_a_row_whose_key_cannot_be_opened_is_reported_and_the_others_go_on(importing):
    strange = sealed(CANARY, Fernet.generate_key().decode())
    one = await agents(
        importing,
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
async def test_without_the_old_key_rows_with_secrets_say_so(importing, old_key, why):
    one = await agents(importing, agent_row(1, api_key_encrypted=sealed(CANARY)))

    report = await one.run(old_key=old_key)

    assert lines(report) == [f"agent_llm_configs[1]: could not import: {why}"]


async def test_two_prices_of_one_model_are_not_both_taken(importing):
    one = await agents(
        importing,
        agent_row(1, cost_per_1k_input_tokens=0.001),
        agent_row(2, agent_id=8, cost_per_1k_input_tokens=0.002),
        agent_row(3, agent_id=9, cost_per_1k_input_tokens=-1.0, temperature=9.0),
    )

    report = await one.run()

    assert lines(report, Outcome.LEFT) == [
        "agent_llm_configs[2]: left out providers/openai/models/gpt-4o: agent_llm_configs[1] has "
        "another price for it",
        "agent_llm_configs[3]: left out cost_per_1k_input_tokens: is no price in whole "
        "nano-dollars for a million tokens",
        "agent_llm_configs[3]: left out temperature: must be between 0 and 2",
    ]


def llm_row(id_: str, provider: str, model_name: str, **fields):
    name = fields.pop("name", f"{provider} {model_name}")
    return {"id": id_, "name": name, "provider": provider, "model_name": model_name, **fields}


async def registry(importing, *rows) -> Importing:
    one = importing("llms")
    await others.fill(one.url, others.LLMS, llms=rows)
    return one


async def test_rows_of_a_registry_become_accounts_models_and_a_chain_from_the_default(importing):
    openai = {"api_key_env": "OPENAI_API_KEY"}
    one = await registry(
        importing,
        llm_row(
            "a",
            "openai",
            "gpt-4",
            name="OpenAI GPT-4",
            description="The good one",
            auth_meta=openai,
            config={"temperature": 0, "max_tokens": 2000, "streaming": True},
            priority=10,
        ),
        llm_row("b", "openai", "gpt-3.5-turbo", auth_meta=openai, priority=20, owner="ann"),
        llm_row("c", "ollama", "llama2", is_default=True, priority=80),
        llm_row("d", "anthropic", "claude-3-opus-20240229", enabled=False, priority=42),
        llm_row("e", "openai", "gpt-4o", scope="acme", is_default=True, auth_meta=openai),
    )

    report = await one.run()

    found, acme = await one.everything(), await one.everything("acme")
    gpt4 = found.models["providers/openai/models/gpt-4"]
    credential = found.credentials["providers/openai/credentials/default"]
    assert (gpt4.display_name, gpt4.description, gpt4.priority) == (
        "OpenAI GPT-4",
        "The good one",
        10,
    )
    assert gpt4.default_params == GenerationParams(temperature=0.0, max_output_tokens=2000)
    assert credential.source_type is SourceType.ENVIRONMENT_VARIABLE
    assert credential.reference == "OPENAI_API_KEY"
    assert found.models["providers/openai/models/gpt-3-5-turbo"].labels == {"owner": "ann"}
    assert found.models["providers/anthropic/models/claude-3-opus-20240229"].disabled
    default = found.configs["modelConfigs/default"]
    assert default.selector == Selector()
    assert [target.model.rpartition("/")[2] for target in default.targets] == [
        "llama2",
        "gpt-4",
        "gpt-3-5-turbo",
    ]
    assert set(acme.configs) == {"tenants/acme/modelConfigs/default"}
    assert lines(report, Outcome.LEFT, Outcome.FAILED) == [
        "llms[a]: left out config.streaming: each call chooses by the RPC it makes"
    ]


async def test_addresses_come_from_no_variable_and_keys_only_from_those_that_are_lent(importing):
    one = await registry(
        importing,
        llm_row(
            "a",
            "azure",
            "gpt-4",
            auth_meta={"endpoint_env": "AZURE_BASE", "api_version_env": "AZURE_VERSION"},
        ),
        llm_row("b", "google", "gemini-pro", auth_meta={"api_key_env": "DATABASE_PASSWORD"}),
        llm_row(
            "c",
            "bedrock",
            "anthropic.claude-v2",
            auth_meta={
                "aws_access_key_id_env": "A",
                "aws_secret_access_key_env": "B",
                "region": "us-east-1",
            },
        ),
        llm_row("d", "ollama", "llama3", auth_meta={"base_url": "http://10.0.0.1:11434"}),
        llm_row("e", "openai", "gpt-4", auth_meta={"api_key": CANARY}, config={"oddity": 1}),
    )

    report = await one.run()

    found = await one.everything()
    assert found.providers["providers/azure"].disabled
    assert found.providers["providers/azure"].base_uri.endswith(".invalid")
    [own] = [name for name in found.providers if name.startswith("providers/openai-")]
    assert found.credentials[f"{own}/credentials/default"].source_type is SourceType.API_KEY
    failed = "\n".join(lines(report, Outcome.FAILED))
    assert "llms[a]: could not import auth_meta.endpoint: no address is read from" in failed
    assert "llms[a]: could not import auth_meta.api_version_env: only keys are read" in failed
    assert "llms[b]: could not import providers/google-" in failed
    assert "credential.environment_variable: is not on the operator's allow-list" in failed
    assert "llms[c]: could not import auth_meta.aws_access_key_id: a key in two parts" in failed
    assert "llms[d]: could not import providers/ollama-" in failed
    assert "models/llama3: its provider was not imported" in failed
    assert lines(report, Outcome.LEFT) == [
        "llms[e]: left out config.oddity: is no parameter of this service"
    ]
    assert CANARY not in "\n".join(lines(report))


async def test_rows_with_one_model_are_told_apart_by_name_and_one_name_is_taken_once(importing):
    one = await registry(
        importing,
        llm_row("a", "openai", "gpt-4", name="GPT-4 cold", config={"temperature": 0}),
        llm_row("b", "openai", "gpt-4", name="GPT-4 hot", config={"temperature": 1}),
        llm_row("c", "openai", "gpt-4", name="gpt 4 HOT"),
        llm_row("d", "openai", "o3", is_default=True, enabled=False),
        llm_row("e", "openai", "o4", auth_meta={}, config={}),
    )

    report = await one.run()

    models = (await one.everything()).models
    assert models["providers/openai/models/gpt-4-cold"].default_params.temperature == 0
    assert models["providers/openai/models/gpt-4-hot"].default_params.temperature == 1
    assert lines(report, Outcome.FAILED, Outcome.LEFT) == [
        "llms[c]: could not import: llms[b] is providers/openai/models/gpt-4-hot already",
        "llms[d]: left out is_default: it is switched off",
    ]


async def tenants(importing, *rows, usage=()) -> Importing:
    one = importing("llm-providers")
    await others.fill(
        one.url,
        others.LLM_PROVIDERS,
        tenants=[{"id": id_} for id_ in sorted({row["tenant_id"] for row in rows})],
        llm_providers=rows,
        llm_provider_usage=usage,
    )
    return one


def tenant_row(id_: str, provider_type: str, secret: str = CANARY, **fields):
    return {
        "id": id_,
        "tenant_id": TWO,
        "provider_type": provider_type,
        "encrypted_api_key": sealed(secret),
        **fields,
    }


async def test_a_tenants_provider_keeps_its_key_switches_settings_and_default_model(importing):
    config = {
        "organization": "org-1",
        "model": "gpt-4",
        "temperature": 0.3,
        "requests_per_minute": 60,
        "colour": "red",
    }
    one = await tenants(
        importing,
        tenant_row(ONE, "openai", config=config, is_default=True),
        tenant_row(TWO, "claude", config={"temperature": 1}, is_active=False),
        tenant_row(THREE, "ollama", encrypted_api_key="none"),
        usage=[
            {"id": ONE, "provider_id": ONE, "date": "2026-01-01", "model": "m", "request_count": 3},
            {"id": TWO, "provider_id": ONE, "date": "2026-01-02", "model": "m", "request_count": 4},
        ]
        if importing("llm-providers").url.startswith("sqlite")
        else [],
    )

    report = await one.run()

    found = await one.everything(ACME)
    openai = found.providers[f"tenants/{ACME}/providers/openai"]
    credential = found.credentials[openai.default_credential]
    model = found.models[f"{openai.name}/models/gpt-4"]
    default = found.configs[f"tenants/{ACME}/modelConfigs/default"]
    assert one.vault.open(credential.sealed, binding(openai, credential)) == CANARY
    assert (openai.settings, openai.priority) == ({"organization": "org-1"}, 0)
    assert openai.rate_limits == RateLimits(requests_per_minute=60)
    assert model.default_params == GenerationParams(temperature=0.3)
    assert [target.model for target in default.targets] == [model.name]
    assert found.providers[f"tenants/{ACME}/providers/anthropic"].disabled
    assert f"tenants/{ACME}/providers/ollama" in found.providers
    left = lines(report, Outcome.LEFT)
    assert f"llm_providers[{ONE}]: left out config.colour: is no setting of kind openai" in left
    assert not lines(report, Outcome.FAILED)
    assert any("encrypted_api_key: ollama needs none" in line for line in left)
    if one.url.startswith("sqlite"):
        assert any("2 daily sums of 7 calls, 2026-01-01 to 2026-01-02" in line for line in left)


async def test_a_provider_whose_key_cannot_be_opened_is_made_and_gets_it_the_next_time(importing):
    one = await tenants(
        importing, tenant_row(ONE, "openai", is_default=True), tenant_row(TWO, "watson")
    )

    without = await one.run(old_key=Fernet.generate_key().decode())
    between = await one.everything(ACME)
    again = await one.run()

    assert lines(without, Outcome.FAILED) == [
        f"llm_providers[{ONE}]: could not import encrypted_api_key: it was not sealed with the "
        "key in OLD_KEY",
        f"llm_providers[{TWO}]: could not import: provider_type is no kind of provider of this "
        "service: 'watson'",
    ]
    assert between.credentials == {}
    assert lines(again, Outcome.CREATED) == [
        f"llm_providers[{ONE}]: created tenants/{ACME}/providers/openai/credentials/default"
    ]


async def interactions(importing, providers, models=(), globals_=(), users=()) -> Importing:
    one = importing("llm-config")
    await others.fill(
        one.url,
        others.LLM_CONFIG,
        llm_providers=providers,
        llm_provider_models=models,
        llm_global_config=globals_,
        llm_user_config=users,
    )
    return one


async def test_interactions_and_users_become_configurations_with_their_selectors(importing):
    one = await interactions(
        importing,
        [
            {"id": ONE, "name": "OpenAI", "provider_type": "openai"},
            {
                "id": TWO,
                "name": "LM Studio",
                "provider_type": "custom",
                "api_base_url": "http://127.0.0.1:1234/v1",
            },
        ],
        models=[
            {
                "id": ONE,
                "provider_id": TWO,
                "model_name": "my-model",
                "supports_tools": False,
                "supports_embeddings": True,
                "context_window": 8192,
                "cost_per_1k_input_tokens": "0.000150",
            }
        ],
        globals_=[
            {
                "interaction_type": "planning",
                "provider_id": ONE,
                "model_name": "gpt-4o",
                "temperature": 0.2,
            }
        ],
        users=[
            {
                "id": ONE,
                "user_id": "Ann",
                "interaction_type": "planning",
                "provider_id": TWO,
                "model_name": "my-model",
                "temperature": 0.5,
                "max_tokens": 99,
            },
            {
                "id": TWO,
                "user_id": "ann@corp",
                "interaction_type": "planning",
                "provider_id": TWO,
                "model_name": "my-model",
            },
        ],
    )

    report = await one.run()

    found = await one.everything()
    model = found.models["providers/lm-studio/models/my-model"]
    planning = found.configs["modelConfigs/planning"]
    [of_ann] = [c for c in found.configs.values() if c.selector.user]
    assert found.providers["providers/lm-studio"].kind == "openai-compatible"
    assert model.capabilities.tools is False
    assert model.embedding is not None
    assert model.context_window_tokens == 8192
    assert model.price.items == (PriceItem("input-tokens", 150_000_000),)
    assert planning.selector == Selector(interaction="planning")
    assert planning.targets[0].model == "providers/openai/models/gpt-4o"
    assert planning.params == GenerationParams(temperature=0.2)
    assert of_ann.selector == Selector(user="Ann", interaction="planning")
    assert of_ann.params == GenerationParams(temperature=0.5, max_output_tokens=99)
    assert lines(report, Outcome.FAILED) == [
        f"llm_user_config[{TWO}]: could not import: user_id is nothing a call could name it by"
    ]


async def test_a_path_of_a_secret_needs_a_store_and_one_name_is_one_provider(importing):
    one = await interactions(
        importing,
        [
            {
                "id": ONE,
                "name": "OpenAI",
                "provider_type": "openai",
                "api_key_secret_path": "corp/dev/llm/openai",
            },
            {"id": TWO, "name": "openai", "provider_type": "openai"},
        ],
        globals_=[{"interaction_type": "tools", "provider_id": TWO, "model_name": "gpt-4o"}],
    )

    without = await one.run()
    unknown = await one.run(secret_store="nowhere")

    assert lines(without, Outcome.FAILED) == [
        f"llm_providers[{ONE}]: could not import api_key_secret_path: its key is in a store of "
        "secrets, at corp/dev/llm/openai: say which with --secret-store",
        f"llm_providers[{TWO}]: could not import: llm_providers[{ONE}] is providers/openai already",
        "llm_global_config[tools]: could not import: its provider was not imported",
    ]
    assert any(
        line.startswith(
            f"llm_providers[{ONE}]: could not import providers/openai/credentials/default:"
        )
        for line in lines(unknown, Outcome.FAILED)
    )


@pytest.fixture(params=sorted(systems.SYSTEMS))
async def filled(request, importing):
    """Each system with something in each of its tables."""
    match request.param:
        case "agent-llm-configs":
            yield (
                await agents(
                    importing,
                    agent_row(1, api_key_encrypted=sealed(CANARY), cost_per_1k_input_tokens=0.3),
                    agent_row(2, agent_id=8, temperature=0.25, metadata_json='{"a": "b"}'),
                ),
                "",
            )
        case "llms":
            yield (
                await registry(
                    importing,
                    llm_row("a", "openai", "gpt-4", is_default=True, config={"temperature": 0.1}),
                    llm_row("b", "openai", "gpt-4o", auth_meta={"api_key": CANARY}, owner="me"),
                ),
                "",
            )
        case "llm-providers":
            config = {"model": "gpt-4", "top_p": 0.5}
            yield (
                await tenants(importing, tenant_row(ONE, "openai", is_default=True, config=config)),
                ACME,
            )
        case _:
            yield (
                await interactions(
                    importing,
                    [{"id": ONE, "name": "OpenAI", "provider_type": "openai"}],
                    [{"id": ONE, "provider_id": ONE, "model_name": "m", "context_window": 1}],
                    [{"interaction_type": "tools", "provider_id": ONE, "model_name": "m"}],
                ),
                "",
            )


async def test_twice_is_as_once(filled):
    one, tenant = filled
    first = await one.run()
    before = await one.everything(tenant)

    second = await one.run()

    assert lines(first, Outcome.CREATED)
    assert await one.everything(tenant) == before
    assert lines(second, Outcome.CREATED, Outcome.KEPT, Outcome.FAILED) == []
    assert CANARY not in "\n".join(lines(first + second)) + repr(first)


async def test_a_dry_run_says_what_a_run_does_and_changes_nothing(filled):
    one, tenant = filled
    before = await one.everything(tenant)

    async with one.database.rehearsal() as rehearsal:
        dry = await one.run(rehearsal)

    assert await one.everything(tenant) == before
    assert lines(dry) == lines(await one.run())


async def test_what_an_operator_changed_is_kept_and_said(filled):
    one, tenant = filled
    await one.run()
    found = await one.everything(tenant)
    config = next(iter(found.configs.values()))
    async with one.database.begin() as tx:
        mine = replace(config, display_name="mine")
        await tx.model_configs.update(mine, config.version)
    before = await one.everything(tenant)

    report = await one.run()

    assert await one.everything(tenant) == before
    assert [line.partition(": ")[2] for line in lines(report, Outcome.KEPT)] == [
        f"kept {config.name}: it is there already, and differs from this row"
    ]


async def test_a_provider_of_another_kind_or_a_deleted_one_is_not_built_on(importing):
    one = await agents(
        importing,
        agent_row(1, fallback_provider="claude", fallback_model="c"),
        agent_row(2, agent_id=8, provider="claude", model_name="c"),
        agent_row(3, agent_id=9, provider="deepseek", model_name="d"),
    )
    await one.run()
    async with one.database.begin() as tx:
        for provider_id in ("anthropic", "deepseek"):
            stored = await tx.providers.get("", provider_id)
            changed = replace(stored, kind="echo")
            if provider_id == "deepseek":
                changed = replace(stored, delete_time=stored.create_time)
            await tx.providers.update(changed, stored.version)
        for config_id in ("agent-7", "agent-8"):
            await tx.model_configs.delete("", config_id, None)

    report = await one.run()

    failed = lines(report, Outcome.FAILED)
    assert [
        target.model for target in (await one.everything()).configs["modelConfigs/agent-7"].targets
    ] == ["providers/openai/models/gpt-4o"]
    assert any("providers/anthropic: it is there already, of kind echo" in line for line in failed)
    assert any("providers/deepseek: it is there already, and was deleted" in one for one in failed)
    assert any("agent-8: what it would use first was not imported" in line for line in failed)
    assert any("models/c of modelConfigs/agent-7: no such provider" in line for line in failed)


async def test_a_table_or_a_column_that_is_missing_is_named(importing):
    one = importing("llms")
    await others.fill(one.url, "CREATE TABLE something (id TEXT)")
    with pytest.raises(ForeignDatabaseError, match="no table llms"):
        await one.run()
    await others.change(one.url, "CREATE TABLE llms (id TEXT, name TEXT)")
    with pytest.raises(ForeignDatabaseError, match="no column provider, model_name"):
        await one.run()


@pytest.mark.parametrize(
    ("dsn", "error"),
    [
        ("no url", ForeignDatabaseError),
        ("mysql://u:secret@h/d", ForeignDatabaseError),
        ("sqlite://", ForeignDatabaseError),
        ("sqlite:////nowhere/at/all.db", StorageUnavailable),
        ("postgresql://u:secret@127.0.0.1:1/d", StorageUnavailable),
    ],
)
async def test_a_database_that_cannot_be_read_says_so_without_its_password(dsn, error):
    with pytest.raises(error) as failure:
        await systems.read("llms", dsn)

    assert "secret" not in str(failure.value)


async def test_the_other_database_is_only_read(tmp_path):
    path = tmp_path / "other.db"
    await others.fill(f"sqlite+aiosqlite:///{path}", others.LLMS, llms=[llm_row("a", "b", "c")])
    before = path.read_bytes()

    tables = await systems.read("llms", f"sqlite:///{path}")

    assert [row["name"] for row in tables["llms"]] == ["b c"]
    assert path.read_bytes() == before

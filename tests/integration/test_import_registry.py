"""A registry of models, taken over: what becomes of each row."""

from llm_service.domain.completion import GenerationParams
from llm_service.domain.model_config import Selector
from llm_service.domain.provider import SourceType
from llm_service.gateway.admin.imports.steps import Outcome
from tests.integration.importing import (
    CANARY,
    lines,
    llm_row,
    registry,
)


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


async def test_addresses_come_from_no_variable_and_keys_only_from_those_that_are_lent(
    importing_here,
):
    one = await registry(
        importing_here,
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


async def test_rows_with_one_model_are_told_apart_by_name_and_one_name_is_taken_once(
    importing_here,
):
    one = await registry(
        importing_here,
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

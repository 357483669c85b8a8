"""Models by interaction and by user, taken over: what becomes of each row."""

from llm_service.domain.completion import GenerationParams
from llm_service.domain.model_config import Selector
from llm_service.domain.provider import PriceItem, SecretReference, SourceType
from llm_service.gateway.admin.imports.steps import Outcome
from llm_service.gateway.secret_stores import SecretStores
from llm_service.gateway.secret_stores.files import MountedFiles
from tests.integration.importing import (
    ONE,
    TWO,
    interactions,
    lines,
)


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


async def test_a_path_of_a_secret_needs_a_store_and_one_name_is_one_provider(importing_here):
    one = await interactions(
        importing_here,
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


async def test_a_path_in_a_known_store_becomes_a_reference_to_it(importing_here, tmp_path):
    path = str(tmp_path / "openai")
    one = await interactions(
        importing_here,
        [{"id": ONE, "name": "A", "provider_type": "openai", "api_key_secret_path": path}],
    )
    one.stores = SecretStores({"file": MountedFiles([tmp_path])})

    report = await one.run(secret_store="file")

    credential = (await one.everything()).credentials["providers/a/credentials/default"]
    assert credential.source_type is SourceType.SECRET_REFERENCE
    assert SecretReference.of_text(credential.reference) == SecretReference("file", path)
    assert not lines(report, Outcome.FAILED)

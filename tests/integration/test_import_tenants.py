"""Tenants' providers and their keys, taken over: what becomes of each row."""

from cryptography.fernet import Fernet

from llm_service.domain.completion import GenerationParams
from llm_service.domain.provider import RateLimits
from llm_service.gateway.admin.imports.steps import Outcome
from llm_service.gateway.manager import binding
from tests.integration.importing import (
    ACME,
    CANARY,
    ONE,
    THREE,
    TWO,
    lines,
    tenant_row,
    tenants,
)


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


async def test_a_provider_whose_key_cannot_be_opened_is_made_and_gets_it_the_next_time(
    importing_here,
):
    one = await tenants(
        importing_here, tenant_row(ONE, "openai", is_default=True), tenant_row(TWO, "watson")
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

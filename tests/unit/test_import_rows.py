"""Rows of other systems as nobody should have written them: each says why, and none breaks off."""

import pytest

from llm_service.gateway.admin.config_rules import MAX_TARGETS
from llm_service.gateway.admin.imports import agents, fields, interactions, registry, tenants
from llm_service.gateway.admin.imports.fields import Unusable
from llm_service.gateway.admin.imports.steps import (
    Circumstances,
    Entry,
    Outcome,
    WantConfig,
    WantCredential,
    WantModel,
    WantProvider,
)

HERE = Circumstances(tenant="acme")
AGENT = {"id": 1, "agent_id": 7, "provider": "openai", "model_name": "gpt-4o"}
LLM = {"id": "a", "name": "A", "provider": "openai", "model_name": "gpt-4o"}
OF_TENANT = {"id": 1, "tenant_id": "corp", "provider_type": "openai", "encrypted_api_key": ""}


def told(steps) -> list[str]:
    return [str(step) for step in steps if isinstance(step, Entry)]


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (
            {"agent_id": "a b"},
            "could not import: agent_id is nothing a call could name",
        ),
        ({"model_name": " "}, "could not import: model_name is empty"),
        ({"metadata_json": "{"}, "left out metadata_json: is no JSON"),
        ({"metadata_json": "[1]"}, "left out metadata_json: is no JSON object"),
        (
            {"metadata_json": {"a": "x" * 300}},
            "left out metadata_json.a: is no label: too long",
        ),
        ({"temperature": "warm"}, "left out temperature: is no number"),
        ({"temperature": True}, "left out temperature: is no number"),
        ({"max_tokens": 1.5}, "left out max_tokens: must be between 1 and 2147483647"),
        ({"cost_per_1k_input_tokens": "nan"}, "left out cost_per_1k_input_tokens: is no number"),
        ({"cost_per_1k_input_tokens": 1e-13}, "left out cost_per_1k_input_tokens: is no price"),
        ({"fallback_provider": "watson", "fallback_model": "w"}, "fallback_provider is no kind of"),
    ],
)
def test_what_an_agents_row_cannot_mean_is_said(row, line):
    [found] = told(agents.steps([AGENT | row], HERE))

    assert found.startswith("agent_llm_configs[1]: ")
    assert line in found


def test_a_fallback_without_a_provider_is_of_the_same_one_and_texts_can_be_switches():
    row = {"fallback_model": "gpt-4o-mini", "enabled": "no", "metadata_json": '{"beta": true}'}

    [config] = [one for one in agents.steps([AGENT | row], HERE) if isinstance(one, WantConfig)]

    assert config.draft.disabled
    assert config.draft.labels == {"beta": "true"}
    assert [target.model for target in config.draft.targets] == [
        "tenants/acme/providers/openai/models/gpt-4o",
        "tenants/acme/providers/openai/models/gpt-4o-mini",
    ]


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"auth_meta": "{"}, "could not import: auth_meta is no JSON"),
        ({"config": "[]"}, "left out config: is no JSON object"),
        ({"auth_meta": {"colour": "red"}}, "could not import auth_meta.colour: is no setting of"),
    ],
)
def test_what_a_registrys_row_cannot_mean_is_said(row, line):
    [found] = told(registry.steps([LLM | row], HERE))

    assert found.startswith(f"llms[a]: {line}")


def test_a_chain_has_as_many_models_as_a_configuration_takes_and_the_others_are_named():
    rows = [
        LLM | {"id": f"{n:02}", "name": f"M{n}", "model_name": f"m{n}", "is_default": n == 0}
        for n in range(MAX_TARGETS + 1)
    ]
    rows[1]["priority"] = "soon"

    steps = list(registry.steps(rows, HERE))

    [config] = [one for one in steps if isinstance(one, WantConfig)]
    assert len(config.draft.targets) == MAX_TARGETS
    assert told(steps) == [
        "llms[16]: left out tenants/acme/providers/openai/models/m16 of the default: a chain has "
        "at most 16 models"
    ]


def test_settings_that_are_written_out_are_settings_and_no_secret_names_an_account():
    azure = {"endpoint": "https://a.example", "deployment_name": "d", "api_version": "v1"}
    rows = [
        LLM | {"provider": "azure_openai", "auth_meta": azure},
        LLM | {"id": "b", "name": "B", "auth_meta": {"api_key": "sk-one"}},
        LLM | {"id": "c", "name": "B", "auth_meta": {"api_key": "sk-two"}, "model_name": "o3"},
    ]

    first, one, two = (
        step for step in registry.steps(rows, HERE) if isinstance(step, WantProvider)
    )

    assert (first.draft.kind, first.draft.base_uri) == ("azure", "https://a.example")
    assert first.draft.settings == {"deployment": "d", "api_version": "v1"}
    assert one.provider_id == two.provider_id
    assert "sk-" not in repr((one, two))


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"tenant_id": None}, "could not import: it is of no tenant"),
        ({"config": "{"}, "could not import: config is no JSON"),
        ({"config": {"temperature": 1}}, "left out config.temperature: is of no one model"),
        ({"config": {"requests_per_minute": "many"}}, "left out config.requests_per_minute: is no"),
        ({"is_default": True}, "left out is_default: it names no model"),
        ({"encrypted_api_key": "x"}, "could not import encrypted_api_key: the key it is sealed"),
    ],
)
def test_what_a_tenants_row_cannot_mean_is_said(row, line):
    [found] = told(tenants.steps([OF_TENANT | row], [], HERE))

    assert found.startswith(f"llm_providers[1]: {line}")


def test_daily_sums_stay_where_they_are_and_their_provider_is_told():
    usage = [
        {"provider_id": "p", "date": "2026-01-02", "request_count": 4},
        {"provider_id": "p", "date": "2026-01-01", "request_count": None},
    ]

    [entry] = tenants.steps([], usage, HERE)

    assert entry.outcome is Outcome.LEFT
    assert "2 daily sums of 4 calls, 2026-01-01 to 2026-01-02" in entry.why


def test_a_model_of_no_provider_or_with_a_strange_window_is_said():
    tables = {
        "llm_providers": [
            {"id": 1, "name": "A", "provider_type": "openai"},
            {"id": 2, "name": "B", "provider_type": "watson"},
        ],
        "llm_provider_models": [
            {"id": 1, "provider_id": 2, "model_name": "m"},
            {"id": 2, "provider_id": 1, "model_name": "m", "context_window": "wide"},
        ],
        "llm_global_config": [
            {"interaction_type": "planning", "provider_id": 1, "model_name": "m.1"},
            {"interaction_type": "tools", "provider_id": 1, "model_name": "m-1"},
        ],
        "llm_user_config": [],
    }

    assert told(interactions.steps(tables, HERE)) == [
        "llm_providers[2]: could not import: provider_type is no kind of provider of this "
        "service: 'watson'",
        "llm_provider_models[1]: could not import: its provider was not imported",
        "llm_provider_models[2]: left out context_window: is no number",
        "llm_global_config[tools]: could not import: tenants/acme/providers/a/models/m-1 is "
        "another model already",
    ]


@pytest.mark.parametrize(
    ("written", "tenant"),
    [
        ("acme", "acme"),
        ("3f2b", "t-3f2b"),
        ("Acme", "acme-"),
        ("acme!", "acme-"),
    ],
)
def test_tenants_that_differ_have_ids_that_differ(written, tenant):
    assert fields.tenant_id(written).startswith(tenant[:5])
    assert fields.tenant_id(written) == fields.tenant_id(written)
    others = {"acme", "3f2b", "Acme", "acme!"} - {written}
    assert fields.tenant_id(written) not in map(fields.tenant_id, others)


def test_a_tenant_without_a_name_is_none():
    with pytest.raises(Unusable):
        fields.tenant_id("")


def test_what_steps_hold_of_a_secret_is_not_in_their_repr():
    steps = list(registry.steps([LLM | {"auth_meta": {"api_key": "sk-canary"}}], HERE))

    assert any(isinstance(step, WantModel) for step in steps)
    assert not any(isinstance(step, WantCredential) for step in steps)
    assert "sk-canary" not in repr(steps) + repr(Circumstances(old_key="sk-canary"))

"""What the id of a model tells of it."""

import pytest

from llm_service.providers.converse.families import Thinks, base_model, family

ARN = "arn:aws:bedrock:eu-west-1"


@pytest.mark.parametrize(
    ("model", "base"),
    [
        ("anthropic.claude-v2:1", "anthropic.claude-v2:1"),
        ("us.anthropic.claude-sonnet-4-6", "anthropic.claude-sonnet-4-6"),
        ("us-gov.anthropic.claude-sonnet-4-6", "anthropic.claude-sonnet-4-6"),
        ("global.amazon.nova-2-lite-v1:0", "amazon.nova-2-lite-v1:0"),
        (f"{ARN}::foundation-model/amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
        (f"{ARN}:1:inference-profile/eu.amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
        (f"{ARN}:1:application-inference-profile/ab12", ""),
        (f"{ARN}:1:provisioned-model/ab12", ""),
        ("openai.gpt-5.6-luna", "openai.gpt-5.6-luna"),
        ("us.openai.gpt-5.6-luna", "openai.gpt-5.6-luna"),
        ("apac.nvidia.nemotron-3.5", "nvidia.nemotron-3.5"),
        ("some-model", "some-model"),
        ("", ""),
    ],
)
def test_a_model_is_known_without_its_region(model, base):
    assert base_model(model) == base


@pytest.mark.parametrize(
    ("model", "thinks", "sampling", "json_schema"),
    [
        ("anthropic.claude-instant-v1", Thinks.NOT, True, False),
        ("anthropic.claude-v2:1", Thinks.NOT, True, False),
        ("anthropic.claude-3-haiku-20240307-v1:0", Thinks.NOT, True, False),
        ("anthropic.claude-3-7-sonnet-20250219-v1:0", Thinks.BUDGET, True, False),
        ("anthropic.claude-opus-4-20250514-v1:0", Thinks.BUDGET, True, False),
        ("anthropic.claude-haiku-4-5-20251001-v1:0", Thinks.BUDGET, True, True),
        ("anthropic.claude-opus-4-6-v1", Thinks.EITHER, True, True),
        ("anthropic.claude-opus-4-7", Thinks.EFFORT, False, False),
        ("anthropic.claude-sonnet-5", Thinks.EFFORT, False, False),
        ("anthropic.claude-mythos-preview", Thinks.EFFORT, False, True),
        ("amazon.nova-pro-v1:0", Thinks.NOT, True, False),
        ("amazon.titan-text-express-v1", Thinks.NOT, True, False),
        ("mistral.ministral-3-8b-instruct", Thinks.NOT, True, True),
        ("deepseek.v3-v1:0", Thinks.NOT, True, True),
        ("deepseek.r1-v1:0", Thinks.NOT, True, False),
        ("zai.glm-4.7", Thinks.CONFIG, True, False),
        ("moonshotai.kimi-k2.5", Thinks.CONFIG, True, True),
    ],
)
def test_a_model_has_the_facts_of_its_family_and_version(model, thinks, sampling, json_schema):
    facts = family(model)

    assert (facts.thinks, facts.sampling, facts.json_schema) == (thinks, sampling, json_schema)
    assert facts.name == model.partition(".")[0]


@pytest.mark.parametrize(
    "model", [f"{ARN}:1:application-inference-profile/ab12", "some-model", "gpt-5.6", ""]
)
def test_nothing_unknown_stands_in_the_way(model):
    facts = family(model)

    assert facts.name == ""
    assert facts.sampling
    assert facts.stops
    assert facts.caches
    assert facts.tool_status
    assert facts.forces_tools

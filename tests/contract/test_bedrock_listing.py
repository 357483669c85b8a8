"""Models as Bedrock lists them: foundation models, and profiles through which others are called."""

from datetime import UTC, datetime

import pytest
from bedrock_vendor import bedrock
from fakes import converse
from msgspec.json import encode

from llm_service import errors
from llm_service.domain.content import Modality
from llm_service.domain.provider import ModelOrigin, ModelStage

ARN = "arn:aws:bedrock:eu-west-1"
NOVA = {
    "modelArn": f"{ARN}::foundation-model/amazon.nova-pro-v1:0",
    "modelId": "amazon.nova-pro-v1:0",
    "modelName": "Nova Pro",
    "inputModalities": ["TEXT", "IMAGE", "VIDEO", "SMELL"],
    "outputModalities": ["TEXT"],
    "responseStreamingSupported": True,
    "inferenceTypesSupported": ["ON_DEMAND"],
    "modelLifecycle": {"status": "LEGACY", "endOfLifeTime": "2027-01-02T00:00:00Z"},
}
CLAUDE = {
    "modelId": "anthropic.claude-sonnet-4-6",
    "modelName": "Claude Sonnet 4.6",
    "inputModalities": ["TEXT", "IMAGE"],
    "outputModalities": ["TEXT"],
    "responseStreamingSupported": True,
    "inferenceTypesSupported": ["INFERENCE_PROFILE"],
    "modelLifecycle": {"status": "ACTIVE"},
}
EMBED = {
    "modelId": "cohere.embed-v4:0",
    "outputModalities": ["EMBEDDING"],
    "inferenceTypesSupported": [],
    "modelLifecycle": {"endOfLifeTime": 1798761600},
}
PROVISIONED = {
    **NOVA,
    "modelId": "amazon.nova-pro-v1:0:24k",
    "inferenceTypesSupported": ["PROVISIONED"],
}


def profile(name: str, *, own: bool = False, models=("anthropic.claude-sonnet-4-6",)) -> dict:
    return {
        "inferenceProfileName": f"Profile {name}",
        "inferenceProfileId": name,
        "inferenceProfileArn": f"{ARN}:123456789012:application-inference-profile/{name}",
        "models": [{"modelArn": f"{ARN}::foundation-model/{model}"} for model in models],
        "status": "ACTIVE",
        "type": "APPLICATION" if own else "SYSTEM_DEFINED",
    }


async def listed(*replies, status=200):
    async with bedrock(region="eu-west-1") as (vendor, adapter):
        for reply in replies[:1]:
            vendor.say(encode(reply))
        for reply in replies[1:]:
            vendor.say(encode(reply), status=status)
        models = await adapter.models(5.0)
        for asked in vendor.asked:
            converse.check_authorization(asked)
        return {model.provider_model: model for model in models}, [a.path for a in vendor.asked]


async def test_models_are_listed_by_the_id_to_call_them_by():
    models, paths = await listed(
        {"modelSummaries": [NOVA, CLAUDE, EMBED, PROVISIONED]},
        {"inferenceProfileSummaries": [profile("eu.x")], "nextToken": "a b/+"},
        {"inferenceProfileSummaries": [profile("eu.anthropic.claude-sonnet-4-6")]},
        {"inferenceProfileSummaries": [profile("ab12", own=True), {"type": "APPLICATION"}, 5]},
    )

    assert list(models) == [
        "amazon.nova-pro-v1:0",
        "cohere.embed-v4:0",
        "eu.x",
        "eu.anthropic.claude-sonnet-4-6",
        f"{ARN}:123456789012:application-inference-profile/ab12",
    ]
    assert paths == [
        "/foundation-models",
        "/inference-profiles?maxResults=1000&type=SYSTEM_DEFINED",
        "/inference-profiles?maxResults=1000&type=SYSTEM_DEFINED&nextToken=a%20b%2F%2B",
        "/inference-profiles?maxResults=1000&type=APPLICATION",
    ]


async def test_what_the_vendor_tells_of_a_model_is_kept():
    models, _ = await listed({"modelSummaries": [NOVA, EMBED]}, {}, {})

    nova, embed = models.values()
    assert nova.display_name == "Nova Pro"
    assert nova.origin is ModelOrigin.DISCOVERED
    assert nova.input_modalities == (Modality.TEXT, Modality.IMAGE, Modality.VIDEO)
    assert nova.output_modalities == (Modality.TEXT,)
    assert nova.capabilities.streaming is True
    assert nova.stage is ModelStage.DEPRECATED
    assert nova.retire_time == datetime(2027, 1, 2, tzinfo=UTC)
    assert embed.output_modalities == (Modality.EMBEDDING,)
    assert embed.embedding is not None
    assert embed.retire_time == datetime(2027, 1, 1, tzinfo=UTC)


async def test_a_profile_has_the_facts_of_the_model_behind_it():
    models, _ = await listed(
        {"modelSummaries": [CLAUDE]},
        {"inferenceProfileSummaries": [profile("eu.anthropic.claude-sonnet-4-6")]},
        {"inferenceProfileSummaries": [profile("ab12", own=True, models=())]},
    )

    known, unknown = models.values()
    assert known.display_name == "Profile eu.anthropic.claude-sonnet-4-6"
    assert known.model_id == "eu-anthropic-claude-sonnet-4-6"
    assert known.input_modalities == (Modality.TEXT, Modality.IMAGE)
    assert known.stage is ModelStage.STABLE
    assert unknown.model_id == "profile-ab12"


async def test_an_account_that_may_not_list_profiles_still_has_its_models():
    models, _ = await listed({"modelSummaries": [NOVA]}, {"message": "no"}, status=403)

    assert list(models) == ["amazon.nova-pro-v1:0"]


@pytest.mark.parametrize("reply", [{}, [], "x"])
async def test_a_list_that_is_none_is_a_protocol_error(reply):
    with pytest.raises(errors.ProviderProtocolError):
        await listed(reply)


async def test_a_list_that_is_no_json_is_a_protocol_error():
    async with bedrock() as (vendor, adapter):
        vendor.say(b"<html>")

        with pytest.raises(errors.ProviderProtocolError):
            await adapter.models(5.0)


@pytest.mark.parametrize("moment", ["soon", "", None, [], 1e300])
async def test_a_time_that_is_none_is_unknown(moment):
    life = {"status": "ACTIVE", "endOfLifeTime": moment}

    models, _ = await listed({"modelSummaries": [{**NOVA, "modelLifecycle": life}]}, {}, {})

    assert models["amazon.nova-pro-v1:0"].retire_time is None

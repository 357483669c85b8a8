"""Stored configurations decide what serves a call, from one call to the next."""

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from llm_service.rpc.stubs import common_pb2, generation_pb2, provider_pb2
from llm_service.rpc.stubs import completion_pb2 as completion_pb
from llm_service.rpc.stubs import completion_service_pb2 as completions_pb
from llm_service.rpc.stubs import config_service_pb2 as pb
from llm_service.rpc.stubs import config_service_pb2_grpc as stubs
from llm_service.rpc.stubs import embedding_service_pb2 as embedding_pb
from llm_service.rpc.stubs import embedding_service_pb2_grpc as embedding_stubs
from llm_service.rpc.stubs import provider_admin_service_pb2 as admin_pb
from tests.e2e.service import asking, running

CAPPED = "tenants/default/modelConfigs/capped"


@pytest.fixture(scope="module")
async def service(tmp_path_factory):
    """A service of its own with two providers that echo: what is stored here touches all calls."""
    folder = tmp_path_factory.mktemp("configured")
    async with running(folder, LLM_DEFAULT_MODEL="providers/echo/models/echo-1") as one:
        await one.add_provider("other", "", kind="echo", key="")
        yield one


def who(**attribution) -> common_pb2.Attribution:
    return common_pb2.Attribution(**attribution)


async def stored(service, config_id, **fields):
    return await stubs.ConfigServiceStub(service.channel).CreateModelConfig(
        pb.CreateModelConfigRequest(
            parent="tenants/default",
            model_config_id=config_id,
            model_config=pb.ModelConfig(**fields),
        )
    )


async def explained(service, **asked):
    return await stubs.ConfigServiceStub(service.channel).ResolveModelConfig(
        pb.ResolveModelConfigRequest(**asked)
    )


async def finished(service, request) -> completion_pb.Completion:
    request.stream_options.include_completion = True
    events = [event async for event in service.completions.StreamComplete(request, timeout=20)]
    return events[-1].finished.completion


async def refusal(call) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call
    info = error_details_pb2.ErrorInfo()
    packed = dict(failure.value.trailing_metadata())["grpc-status-details-bin"]
    any(one.Unpack(info) for one in status_pb2.Status.FromString(packed).details)
    return failure.value.code(), info.reason


async def test_the_next_call_uses_what_was_configured_a_moment_ago(service):
    planning = who(interaction="planning.custom")
    before = await finished(service, asking("", attribution=planning))

    await stored(
        service,
        "planning",
        selector=pb.Selector(interaction="planning.custom"),
        targets=[pb.Target(model="providers/other/models/echo-1")],
    )
    after = await finished(service, asking("", attribution=planning))
    another = await finished(service, asking("", attribution=who(interaction="else")))
    (record,) = await service.records(after.id)

    assert (before.served_by.provider, before.served_by.model_config) == ("providers/echo", "")
    assert after.served_by.provider == "providers/other"
    assert after.served_by.model_config == "tenants/default/modelConfigs/planning"
    assert record.attempt.target.model_config == "tenants/default/modelConfigs/planning"
    assert another.served_by.provider == "providers/echo"


async def test_an_explanation_agrees_with_what_the_call_then_does(service):
    await stored(
        service,
        "capped",
        selector=pb.Selector(agent="capped"),
        targets=[
            pb.Target(model="providers/other/models/echo-1"),
            pb.Target(model="providers/echo/models/echo-1"),
        ],
        params=generation_pb2.GenerationParams(stop_sequences=["stop"]),
        limits=generation_pb2.GenerationParams(max_output_tokens=2),
    )
    params = generation_pb2.GenerationParams(max_output_tokens=50)
    asked = {"attribution": who(agent="capped"), "params": params}

    explanation = await explained(service, **asked)
    served = await finished(service, asking("", "one two three", **asked))
    count = await service.completions.CountTokens(
        completions_pb.CountTokensRequest(completion=asking("", **asked))
    )
    estimates = await service.completions.EstimateCost(
        completions_pb.EstimateCostRequest(completion=asking("", **asked), all_targets=True)
    )

    chain = [target.model for target in explanation.targets]
    assert chain == ["providers/other/models/echo-1", "providers/echo/models/echo-1"]
    assert (served.served_by.model, served.served_by.model_config) == (chain[0], CAPPED)
    assert served.finish_reason == completion_pb.FINISH_REASON_MAX_OUTPUT_TOKENS
    assert ("PARAMETER_LOWERED", "params.max_output_tokens") in {
        (warning.reason, warning.field) for warning in served.warnings
    }
    assert count.model == chain[0]
    assert [(one.model, one.max_output_tokens) for one in estimates.estimates] == [
        (model, 2) for model in chain
    ]
    assert explanation.params == generation_pb2.GenerationParams(
        stop_sequences=["stop"], max_output_tokens=2
    )
    assert explanation.matched_configs == [CAPPED]
    assert dict(explanation.origins) == {
        "targets[0].model": CAPPED,
        "targets[1].model": CAPPED,
        "params.stop_sequences": CAPPED,
        "params.max_output_tokens": CAPPED,
        "routing.max_attempts": "built-in",
    }


async def test_an_explanation_of_what_nobody_configured_names_the_environment(service):
    explanation = await explained(
        service, routing=generation_pb2.RoutingOptions(max_attempts=1, fallback_models=["echo-1"])
    )

    assert [target.model for target in explanation.targets] == ["providers/echo/models/echo-1"]
    assert explanation.origins["targets[0].model"] == "environment:LLM_DEFAULT_MODEL"
    assert explanation.origins["routing.max_attempts"] == "request"
    assert not explanation.matched_configs


async def test_a_locked_scope_refuses_a_request_that_chooses(service):
    locked = who(agent="locked")
    await stored(service, "locked", selector=pb.Selector(agent="locked"), locked=True)
    refused = grpc.StatusCode.PERMISSION_DENIED, "MODEL_NOT_ALLOWED"

    assert await refusal(explained(service, attribution=locked, model="echo-1")) == refused
    call = service.completions.Complete(asking("echo-1", attribution=locked), timeout=20)
    assert await refusal(call) == refused
    assert (await finished(service, asking("", attribution=locked))).served_by.provider


async def test_an_agents_own_key_is_used_and_no_other(service, vendor):
    await service.add_provider("keys", vendor.base_uri)
    await service.admin.CreateCredential(
        admin_pb.CreateCredentialRequest(
            parent="providers/keys",
            credential_id="agent",
            credential=provider_pb2.Credential(api_key="sk-of-the-agent-0123456789"),
        )
    )
    key = "providers/keys/credentials/agent"
    target = pb.Target(model="providers/keys/models/m", credential=key)
    await stored(service, "keyed", selector=pb.Selector(agent="keyed"), targets=[target])
    request = asking("", attribution=who(agent="keyed"))

    explanation = await explained(service, attribution=request.attribution)
    off = provider_pb2.Credential(name=key, disabled=True)
    await service.admin.UpdateCredential(admin_pb.UpdateCredentialRequest(credential=off))
    disabled = await refusal(service.completions.Complete(request, timeout=20))

    assert explanation.targets[0].credential == key
    assert explanation.origins["targets[0].credential"].endswith("modelConfigs/keyed")
    assert disabled == (grpc.StatusCode.FAILED_PRECONDITION, "PROVIDER_CREDENTIAL_MISSING")
    assert vendor.asked == []


async def test_embeddings_without_a_model_are_of_the_one_configured_for_them(service):
    ask = embedding_pb.EmbedRequest(inputs=[embedding_pb.EmbedInput(text="x")])
    embed = embedding_stubs.EmbeddingServiceStub(service.channel).Embed
    none = await refusal(embed(ask, timeout=20))

    await stored(
        service,
        "embeddings",
        selector=pb.Selector(interaction="embeddings"),
        targets=[pb.Target(model="providers/other/models/echo-1")],
    )
    answer = await embed(ask, timeout=20)

    assert none == (grpc.StatusCode.FAILED_PRECONDITION, "NO_ROUTE")
    assert answer.served_by.provider == "providers/other"
    assert answer.served_by.model_config == "tenants/default/modelConfigs/embeddings"

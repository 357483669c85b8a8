"""ResolveModelConfig, through the wire: what it says, and each way it fails."""

import grpc

from llm_service.rpc.stubs import common_pb2
from llm_service.rpc.stubs import config_service_pb2 as pb
from llm_service.rpc.stubs.generation_pb2 import GenerationParams, Reasoning, RoutingOptions
from tests.rpc.administered import refusal
from tests.rpc.provider_calls import KEY, created
from tests.rpc.test_config import created as configured

CODE = grpc.StatusCode
RISK = common_pb2.Attribution(tenant="tenants/acme", agent="risk")


def resolved(service, attribution=RISK, **fields):
    return service.configs.ResolveModelConfig(
        pb.ResolveModelConfigRequest(attribution=attribution, **fields)
    )


async def test_every_value_says_where_it_is_from(service):
    await created(service, kind="openai", key=KEY)
    await configured(
        service,
        "agent",
        selector=pb.Selector(agent="risk"),
        params=GenerationParams(temperature=0.1, reasoning=Reasoning(budget_tokens=50)),
        limits=GenerationParams(reasoning=Reasoning(budget_tokens=20), max_output_tokens=100),
    )
    await configured(
        service,
        "default",
        parent="",
        targets=[pb.Target(model="gpt-4o", params=GenerationParams(seed=3))],
        params=GenerationParams(temperature=0.9, top_p=0.5),
        routing=RoutingOptions(max_attempts=2, fallback_models=["gpt-4o-mini"]),
    )

    answer = await resolved(service, params=GenerationParams(presence_penalty=1))

    agent, default = "tenants/acme/modelConfigs/agent", "modelConfigs/default"
    assert dict(answer.origins) == {
        "targets[0].model": default,
        "targets[0].credential": "providers/one",
        "targets[1].model": default,
        "targets[1].credential": "providers/one",
        "params.presence_penalty": "request",
        "params.temperature": agent,
        "params.top_p": default,
        "params.seed": default,
        "params.reasoning.budget_tokens": agent,
        "params.max_output_tokens": agent,
        "routing.max_attempts": default,
        "routing.fallback_models": default,
    }
    assert [target.model for target in answer.targets] == [
        "providers/one/models/gpt-4o",
        "providers/one/models/gpt-4o-mini",
    ]
    assert answer.params == answer.targets[0].params
    assert (answer.params.seed, answer.params.max_output_tokens) == (3, 100)
    assert answer.params.reasoning.budget_tokens == 20
    assert not answer.targets[1].params.HasField("seed")
    assert answer.matched_configs == [agent, default]


async def test_a_call_that_could_not_be_made_is_refused_as_the_call_would_be(service):
    nothing = await refusal(resolved(service))
    unknown = await refusal(resolved(service, model="nobodys"))
    await created(service, disabled=True)
    disabled = await refusal(resolved(service, model="echo-1"))
    await configured(service, locked=True)
    locked = await refusal(resolved(service, model="echo-1"))

    assert (nothing.code, nothing.reason) == (CODE.FAILED_PRECONDITION, "NO_ROUTE")
    assert (unknown.code, unknown.reason) == (CODE.NOT_FOUND, "MODEL_NOT_FOUND")
    assert disabled.reason == "PROVIDER_DISABLED"
    assert (locked.code, locked.reason) == (CODE.PERMISSION_DENIED, "MODEL_NOT_ALLOWED")


async def test_a_bad_request_names_all_that_is_wrong(service):
    refused = await refusal(
        resolved(
            service,
            common_pb2.Attribution(tenant="acme", agent=" "),
            model="m" * 513,
            params=GenerationParams(temperature=9),
            routing=RoutingOptions(max_attempts=0),
        )
    )

    assert refused.fields == (
        "model",
        "attribution.agent",
        "attribution.tenant",
        "params.temperature",
        "routing.max_attempts",
    )

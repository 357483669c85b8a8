"""A request is converted whole, or refused with every bad field named."""

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from llm_service.domain.completion import (
    Attribution,
    CompletionRequest,
    GenerationParams,
    MidStreamFailure,
    RoutingOptions,
)
from llm_service.domain.content import (
    FunctionTool,
    JsonObjectFormat,
    Message,
    Part,
    Role,
    Text,
    ToolChoice,
    ToolMode,
)
from llm_service.errors import InvalidField
from llm_service.rpc.convert.request import DEFAULT_TENANT, to_request
from llm_service.rpc.stubs import common_pb2, content_pb2, generation_pb2, tool_pb2
from llm_service.rpc.stubs import completion_pb2 as pb

HELLO = Message(Role.USER, (Part(Text("hello")),))


def asking(**fields) -> pb.CompletionRequest:
    part = content_pb2.ContentPart(text="hello")
    message = content_pb2.Message(role=content_pb2.ROLE_USER, parts=[part])
    return pb.CompletionRequest(**{"model": "m", "messages": [message], **fields})


def attributed(**fields) -> pb.CompletionRequest:
    return asking(attribution=common_pb2.Attribution(**fields))


def streaming(**fields) -> pb.CompletionRequest:
    return asking(stream_options=pb.StreamOptions(**fields))


def bad_fields(message, prefix="") -> list[str]:
    with pytest.raises(InvalidField) as failure:
        to_request(message, prefix)
    return [violation.field for violation in failure.value.violations]


def test_the_least_request_has_defaults_everywhere():
    assert to_request(asking()) == CompletionRequest(
        model="m",
        messages=(HELLO,),
        params=GenerationParams(),
        attribution=Attribution(DEFAULT_TENANT),
    )


def test_a_full_request_is_converted_whole():
    message = asking(
        params=generation_pb2.GenerationParams(temperature=0),
        tools=[tool_pb2.Tool(function=tool_pb2.FunctionTool(name="weather"))],
        tool_choice=tool_pb2.ToolChoice(
            mode=tool_pb2.ToolChoice.MODE_REQUIRED, allowed_tools=["weather"]
        ),
        response_format=tool_pb2.ResponseFormat(json_object=tool_pb2.JsonObjectFormat()),
        routing=generation_pb2.RoutingOptions(max_attempts=1),
        attribution=common_pb2.Attribution(
            tenant="tenants/acme",
            agent="a",
            user="u",
            interaction="planning",
            session="s-1",
            labels={"team": "x"},
        ),
        stream_options=pb.StreamOptions(
            heartbeat_interval=Duration(seconds=2),
            include_completion=True,
            mid_stream_failure=pb.StreamOptions.MID_STREAM_FAILURE_RESTART,
        ),
        response_cache=pb.ResponseCache(enabled=True),
        provider_options_json={"openai": '{"user": "x"}'},
        strict_params=True,
    )

    assert to_request(message) == CompletionRequest(
        model="m",
        messages=(HELLO,),
        params=GenerationParams(temperature=0),
        attribution=Attribution("acme", "a", "u", "planning", "s-1", {"team": "x"}),
        tools=(FunctionTool("weather"),),
        tool_choice=ToolChoice(ToolMode.REQUIRED, ("weather",)),
        response_format=JsonObjectFormat(),
        routing=RoutingOptions(max_attempts=1),
        heartbeat_seconds=2.0,
        include_completion=True,
        mid_stream_failure=MidStreamFailure.RESTART,
        provider_options_json={"openai": '{"user": "x"}'},
        response_cache=True,
        strict_params=True,
    )


def test_a_choice_that_is_present_but_empty_is_not_a_missing_one():
    message = asking(tool_choice=tool_pb2.ToolChoice())

    assert to_request(message).tool_choice == ToolChoice()
    assert to_request(asking()).tool_choice is None


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_any_text_arrives_as_it_was_sent(text):
    part = content_pb2.ContentPart(text=text)
    message = content_pb2.Message(role=content_pb2.ROLE_USER, parts=[part])

    request = to_request(pb.CompletionRequest(messages=[message]))

    assert request.messages[0].parts[0].content == Text(text)


@pytest.mark.parametrize(
    ("message", "field"),
    [
        pytest.param(pb.CompletionRequest(), "messages", id="no messages"),
        pytest.param(
            asking(messages=list(asking().messages) * 10_001), "messages", id="too many messages"
        ),
        pytest.param(asking(model="m" * 513), "model", id="model"),
        pytest.param(
            asking(messages=[content_pb2.Message(role=content_pb2.ROLE_USER)]),
            "messages[0].parts",
            id="message",
        ),
        pytest.param(
            asking(params=generation_pb2.GenerationParams(top_k=0)), "params.top_k", id="params"
        ),
        pytest.param(asking(tools=[tool_pb2.Tool()]), "tools[0]", id="tools"),
        pytest.param(
            asking(tool_choice=tool_pb2.ToolChoice(allowed_tools=["x"])),
            "tool_choice.allowed_tools[0]",
            id="tool choice",
        ),
        pytest.param(
            asking(
                response_format=tool_pb2.ResponseFormat(
                    json_schema=tool_pb2.JsonSchemaFormat(name="n")
                )
            ),
            "response_format.json_schema.schema_json",
            id="response format",
        ),
        pytest.param(
            asking(routing=generation_pb2.RoutingOptions(max_attempts=0)),
            "routing.max_attempts",
            id="routing",
        ),
        pytest.param(attributed(tenant="acme"), "attribution.tenant", id="a bare tenant"),
        pytest.param(attributed(tenant="tenants/"), "attribution.tenant", id="no tenant"),
        pytest.param(attributed(tenant="tenants/A"), "attribution.tenant", id="a bad tenant"),
        pytest.param(attributed(agent="a b"), "attribution.agent", id="agent"),
        pytest.param(attributed(user="é"), "attribution.user", id="user"),
        pytest.param(attributed(interaction="x" * 129), "attribution.interaction", id="long"),
        pytest.param(attributed(session="a/b"), "attribution.session", id="session"),
        pytest.param(
            attributed(labels={str(n): "" for n in range(17)}), "attribution.labels", id="labels"
        ),
        pytest.param(attributed(labels={"": "x"}), "attribution.labels", id="an empty key"),
        pytest.param(attributed(labels={"k" * 65: "x"}), "attribution.labels", id="a long key"),
        pytest.param(attributed(labels={"k": "é" * 129}), "attribution.labels", id="a long value"),
        pytest.param(
            streaming(heartbeat_interval=Duration()),
            "stream_options.heartbeat_interval",
            id="no interval",
        ),
        pytest.param(
            streaming(heartbeat_interval=Duration(seconds=601)),
            "stream_options.heartbeat_interval",
            id="a long interval",
        ),
        pytest.param(
            streaming(mid_stream_failure=99), "stream_options.mid_stream_failure", id="choice"
        ),
        pytest.param(
            asking(provider_options_json={"openai": "[]"}),
            "provider_options_json['openai']",
            id="options",
        ),
        pytest.param(asking(request_id="1"), "request_id", id="no UUID"),
    ],
)
def test_a_bad_field_is_named_with_its_place(message, field):
    assert bad_fields(message) == [field]
    assert bad_fields(message, "completion.") == [f"completion.{field}"]


def test_every_bad_field_is_named_at_once():
    message = asking(
        model="m" * 513,
        params=generation_pb2.GenerationParams(temperature=3),
        attribution=common_pb2.Attribution(agent=" ", user=" "),
        request_id="x",
    )

    assert bad_fields(message) == [
        "model",
        "params.temperature",
        "attribution.agent",
        "attribution.user",
        "request_id",
    ]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (pb.StreamOptions.MID_STREAM_FAILURE_UNSPECIFIED, MidStreamFailure.ABORT),
        (pb.StreamOptions.MID_STREAM_FAILURE_ABORT, MidStreamFailure.ABORT),
        (pb.StreamOptions.MID_STREAM_FAILURE_RESTART, MidStreamFailure.RESTART),
    ],
)
def test_a_broken_stream_aborts_unless_it_may_restart(number, expected):
    assert to_request(streaming(mid_stream_failure=number)).mid_stream_failure is expected


def test_a_request_without_a_heartbeat_has_none():
    assert to_request(streaming(include_completion=True)).heartbeat_seconds is None

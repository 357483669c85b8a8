"""Any conversation, with any kind: a request its vendor takes, or a refusal before dialling."""

import pytest
from calls import call, message, user
from conversations import conversations
from every_vendor import DIALECTS, KINDS, connected
from fakes.said import Call as Called
from fakes.said import Finish, Said
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shared_calls import streamed, whole

from llm_service.domain.completion import Effort, GenerationParams, Reasoning
from llm_service.domain.content import (
    FunctionTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    Part,
    Role,
    Text,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from llm_service.errors import CapabilityNotSupported, InvalidField

every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
TOOLS = tuple(FunctionTool(name) for name in ("weather", "time", "look_up-2"))

PARAMS = st.builds(
    GenerationParams,
    temperature=st.sampled_from([None, 0.0, 0.7]),
    top_p=st.sampled_from([None, 0.9]),
    top_k=st.sampled_from([None, 40]),
    max_output_tokens=st.sampled_from([None, 100, 4000]),
    stop_sequences=st.sampled_from([(), ("END",)]),
    seed=st.sampled_from([None, 7]),
    frequency_penalty=st.sampled_from([None, 0.5]),
    presence_penalty=st.sampled_from([None, -0.5]),
    reasoning=st.one_of(
        st.none(),
        st.builds(
            Reasoning,
            st.sampled_from([None, *Effort]),
            st.sampled_from([None, 0, 1024, 2048]),
            st.sampled_from([None, True, False]),
        ),
    ),
    top_logprobs=st.sampled_from([None, 0, 3]),
)
CHOICES = st.sampled_from(
    [
        None,
        ToolChoice(),
        ToolChoice(ToolMode.NONE),
        ToolChoice(ToolMode.REQUIRED),
        ToolChoice(ToolMode.REQUIRED, ("time",)),
        ToolChoice(ToolMode.AUTO, ("time", "weather"), parallel=False),
    ]
)
FORMATS = st.sampled_from(
    [None, JsonObjectFormat(), JsonSchemaFormat("place", '{"type": "object", "properties": {}}')]
)


@every_kind
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(conversations(), PARAMS, CHOICES, FORMATS)
async def test_any_conversation_arrives_or_is_refused(kind, messages, params, choice, wanted):
    asked = call(
        *messages,
        model=kind.model,
        params=params,
        tools=TOOLS,
        tool_choice=choice,
        response_format=wanted,
    )
    refused = False
    async with connected(kind) as (vendor, adapter):
        try:
            answer = await whole(kind, vendor, adapter, asked, Said(text="{}"))
        except (CapabilityNotSupported, InvalidField):
            refused = True
        if refused:
            assert not vendor.asked
            return

        more = call(
            *messages, message(Role.ASSISTANT, *answer.parts), user("And now?"), model=kind.model
        )
        await streamed(kind, vendor, adapter, more, Said(text="Well."))


@pytest.mark.parametrize("kind", DIALECTS, ids=lambda kind: kind.label)
@pytest.mark.parametrize("first", DIALECTS, ids=lambda kind: f"from {kind.label}")
async def test_a_conversation_goes_on_with_another_vendor(first, kind):
    said = Said(
        thinking="I think.",
        signature="c2ln",
        text="A moment.",
        calls=(Called("toolu_01A", "weather", '{"a": 1}'), Called("call_2", "time", "")),
        finish=Finish.TOOL_CALLS,
    )
    opening = call(user("Weather and time?"), model=first.model, tools=TOOLS)
    async with connected(first) as (vendor, adapter):
        begun = await streamed(first, vendor, adapter, opening, said)
    results = [
        Part(ToolResult(part.content.id, part.content.name, (Part(Text("fine")),)))
        for part in begun.parts
        if isinstance(part.content, ToolCall)
    ]
    turns = (user("Weather and time?"), message(Role.ASSISTANT, *begun.parts))
    going_on = call(*turns, message(Role.TOOL, *results), model=kind.model, tools=TOOLS)

    async with connected(kind) as (vendor, adapter):
        answer = await whole(kind, vendor, adapter, going_on, Said(text="Fine weather."))

    assert vendor.asked[-1].body.count(b"fine") == 2
    assert answer.parts[-1].content == Text("Fine weather.")
    if first.name != kind.name:
        assert b"c2ln" not in vendor.asked[-1].body

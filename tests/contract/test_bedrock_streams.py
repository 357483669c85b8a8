"""The blocks of Converse answers, streamed and whole, in order and out of it."""

import base64

from bedrock_answers import HELLO, answer, contents, state, whole
from bedrock_wire import (
    call,
    decoder,
    delta,
    ended,
    event,
    frame,
    read,
    read_all,
    start,
    stop,
    text,
)

from llm_service.domain.completion import FinishReason, UsageUpdate
from llm_service.domain.content import Citation, Media, Modality, Text, Thinking, ToolCall
from llm_service.errors import ProviderProtocolError
from llm_service.providers.base import Accepted, Ended
from llm_service.providers.converse.parts import Names
from llm_service.providers.fold import fold


def test_the_first_event_names_the_model_and_the_request():
    events = read([*HELLO, *ended()])

    assert events[0] == Accepted("some.model", "req-1", ())
    assert isinstance(events[-1], Ended)


def test_a_stream_ends_with_its_metadata_whichever_comes_first():
    reason, metadata = ended()

    for order in ([reason, metadata], [metadata, reason]):
        reader = decoder()
        for piece in [*HELLO, order[0]]:
            reader.feed(piece)
        assert not reader.done
        events = reader.feed(order[1])
        assert reader.done
        assert events[-1].usage.input_tokens == 3


def test_usage_that_comes_before_the_end_is_told_at_once():
    reason, metadata = ended()

    events = read([*HELLO, metadata, reason])

    assert [e.usage.output_tokens for e in events if isinstance(e, UsageUpdate)] == [2]


def test_a_stream_without_metadata_ends_with_unknown_usage():
    folded = answer(*HELLO, ended()[0])

    assert folded.usage is None
    assert folded.finish_reason is FinishReason.STOP


def test_what_follows_the_end_is_ignored():
    assert contents(answer(*HELLO, *ended(), text("more"), b"rubbish")) == [Text("Hello")]


def test_a_broken_message_after_the_reason_to_finish_does_no_harm():
    folded = fold(read([*HELLO, ended()[0], ended()[1][:-5]]))

    assert folded.usage is None


def test_blocks_of_every_kind_come_in_their_order():
    folded = answer(
        delta(0, reasoningContent={"text": "Hm"}),
        delta(0, reasoningContent={"text": "m"}),
        delta(0, reasoningContent={"signature": "c2l"}),
        delta(0, reasoningContent={"signature": "nbg=="}),
        stop(0),
        delta(1, reasoningContent={"redactedContent": "cmVk"}),
        stop(1),
        text("", 2),
        stop(2),
        text("Hel", 3),
        text("lo", 3),
        *call(4, "tooluse_1", "weather", '{"a"', ": 1}"),
        *ended("tool_use"),
    )

    assert contents(folded) == [
        Thinking("Hmm"),
        Thinking("", redacted=True),
        Text("Hello"),
        ToolCall("tooluse_1", "weather", '{"a": 1}'),
    ]
    assert state(folded.parts[0])["thinking"] == {"signature": "c2lnbg==", "family": "anthropic"}
    assert state(folded.parts[1])["thinking"] == {"redacted": "cmVk", "family": "anthropic"}


def test_whole_and_streamed_are_the_same_answer():
    thought = {"reasoningText": {"text": "Hm", "signature": "c2ln"}}
    use = {"toolUseId": "tooluse_1", "name": "weather", "input": {"a": 1}, "type": "tool_use"}
    cited = {"title": "doc", "sourceContent": [{"text": "source"}]}

    one = whole(
        {"reasoningContent": thought},
        {"citationsContent": {"content": [{"text": "Hello"}], "citations": [cited]}},
        {"toolUse": use},
        reason="tool_use",
    )
    other = answer(
        delta(0, reasoningContent={"text": "Hm"}),
        delta(0, reasoningContent={"signature": "c2ln"}),
        stop(0),
        delta(1, citation=cited),
        text("Hello", 1),
        stop(1),
        *call(2, "tooluse_1", "weather", '{"a": 1}'),
        *ended("tool_use"),
    )

    assert one == other


def test_a_signature_may_come_without_thinking_to_see():
    folded = answer(delta(0, reasoningContent={"signature": "c2ln"}), stop(0), *HELLO, *ended())

    assert contents(folded) == [Thinking(""), Text("Hello")]
    assert state(folded.parts[0])["thinking"]["signature"] == "c2ln"


def test_calls_that_all_have_index_zero_are_separate():
    folded = answer(
        *call(0, "a", "weather", '{"x":1}'), *call(0, "b", "time", "{}"), *ended("tool_use")
    )

    assert contents(folded) == [ToolCall("a", "weather", '{"x":1}'), ToolCall("b", "time", "{}")]


def test_a_call_that_begins_twice_is_one_and_pieces_after_a_lost_index_are_its_own():
    begun = start(1, toolUse={"toolUseId": "a", "name": "weather"})

    folded = answer(begun, begun, delta(7, toolUse={"input": "{}"}), stop(1), *ended("tool_use"))

    assert contents(folded) == [ToolCall("a", "weather", "{}")]


def test_a_call_without_an_id_gets_one_that_no_other_turn_has():
    folded = answer(
        start(0, toolUse={"name": "a"}), start(1, toolUse={"name": "b"}), *ended("tool_use")
    )

    assert [c.id for c in contents(folded)] == ["call_req-1_0", "call_req-1_1"]


def test_arguments_of_no_call_are_a_protocol_error():
    events, failure = read_all([*HELLO, delta(1, toolUse={"input": "{}"})])

    assert isinstance(failure, ProviderProtocolError)
    assert len(events) > 1


def test_a_name_with_leaked_marks_is_the_callers_tool_when_it_has_that_one():
    said = call(0, "a", "weather<|channel|>json", "{}")

    known = answer(*said, *ended("tool_use"), names=Names(tools=frozenset({"weather"})))
    unknown = answer(*said, *ended("tool_use"))

    assert contents(known)[0].name == "weather"
    assert contents(unknown)[0].name == "weather<|channel|>json"


def test_the_tool_that_brings_json_about_is_text_and_its_call_a_proper_end():
    names = Names("json", frozenset({"weather"}))
    said = call(0, "a", "json", '{"a"', ":1}")

    alone = answer(*said, *ended("tool_use"), names=names)
    beside = answer(*said, *call(1, "b", "weather", "{}"), *ended("tool_use"), names=names)

    assert contents(alone) == [Text('{"a":1}')]
    assert alone.finish_reason is FinishReason.STOP
    assert alone.provider_finish_reason == "tool_use"
    assert contents(beside) == [Text('{"a":1}'), ToolCall("b", "weather", "{}")]
    assert beside.finish_reason is FinishReason.TOOL_CALLS


def test_what_the_vendor_ran_is_a_call_of_its_own_and_its_result_is_kept():
    folded = answer(
        start(
            0,
            toolUse={"toolUseId": "a", "name": "nova_grounding", "type": "server_tool_use"},
        ),
        delta(0, toolUse={"input": "{}"}),
        stop(0),
        start(1, toolResult={"toolUseId": "a", "type": "nova_result", "status": "success"}),
        delta(1, toolResult=[{"text": "found"}]),
        delta(1, toolResult=[{"json": {"a": 1}}]),
        stop(1),
        *HELLO,
        *ended(),
    )

    assert contents(folded) == [
        ToolCall("a", "nova_grounding", "{}", server_side=True),
        Text(""),
        Text("Hello"),
    ]
    assert state(folded.parts[0]) == {"tool_use": {"type": "server_tool_use"}}
    assert state(folded.parts[1])["block"]["toolResult"] == {
        "toolUseId": "a",
        "type": "nova_result",
        "status": "success",
        "content": [{"text": "found"}, {"json": {"a": 1}}],
    }


def test_an_image_of_the_model_is_a_part():
    encoded = base64.b64encode(b"\x89PNG").decode()

    streamed = answer(
        start(0, image={"format": "png"}),
        delta(0, image={"source": {"bytes": encoded}}),
        stop(0),
        *ended(),
    )
    one = whole({"image": {"format": "png", "source": {"bytes": encoded}}})

    image = Media(Modality.IMAGE, data=b"\x89PNG", mime_type="image/png")
    assert contents(streamed) == contents(one) == [image]


def test_an_image_that_is_not_base64_or_not_there_is_no_image():
    _, failure = read_all([delta(0, image={"source": {"bytes": "***"}}), stop(0)])
    folded = answer(start(0, image={"format": "png"}), stop(0), *ended())

    assert isinstance(failure, ProviderProtocolError)
    assert state(folded.parts[0]) == {"block": {"image": {"format": "png"}}}


def test_blocks_and_pieces_nobody_knows_are_kept():
    streamed = answer(start(0, holo={"a": 1}), delta(1, smell=["rose"]), *HELLO[1:], *ended())
    one = whole({"holo": {"a": 1}}, {"text": "Hello"})

    assert state(streamed.parts[0]) == state(one.parts[0]) == {"block": {"holo": {"a": 1}}}
    assert state(streamed.parts[1]) == {"block": {"smell": ["rose"]}}
    assert contents(streamed)[-1] == Text("Hello")


def test_an_event_nobody_knows_is_passed_over():
    assert contents(answer(event("novelty", {"a": 1}), *HELLO, *ended())) == [Text("Hello")]


def test_events_named_twice_or_only_inside_are_read():
    inside = frame(b'{"messageStop":{"stopReason":"end_turn"}}', message_type="event")
    twice = event("contentBlockDelta", {"contentBlockDelta": {"delta": {"text": "Hello"}}})

    assert contents(answer(twice, inside)) == [Text("Hello")]


def test_citations_span_the_text_they_came_with():
    web = {"location": {"web": {"url": "https://a.example", "domain": "a.example"}}}
    found = {"source": "https://b.example/x", "title": "B", "sourceContent": [{"text": "b"}]}

    folded = answer(
        delta(0, citation=web), text("Größe", 0), delta(0, citation=found), stop(0), *ended()
    )

    assert folded.parts[0].citations == (
        Citation("https://a.example", "a.example", "", 0, 5),
        Citation("https://b.example/x", "B", "b", 0, 5),
    )
    assert state(folded.parts[0]) == {"citations": [web, found]}


def test_fields_of_the_models_own_answer_survive_whole_and_streamed():
    fields = {"delta": {"stop_sequence": None}}
    end = event("messageStop", {"stopReason": "end_turn", "additionalModelResponseFields": fields})

    streamed = answer(*HELLO, end, ended()[1])
    said = whole({"text": "Hello"}, additionalModelResponseFields=fields)

    for one in (streamed, said):
        assert contents(one) == [Text("Hello"), Text("")]
        assert state(one.parts[1]) == {"additional_fields": fields}

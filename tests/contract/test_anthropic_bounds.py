"""Much of what a caller or the Messages API may send, and states that are not what was issued."""

import json

from anthropic_bodies import PNG, TIME, ours, prepared, turns
from anthropic_wire import closed, delta, opened, read, sse, start, stop
from calls import call
from growth import in_linear_time

from llm_service.domain.content import (
    Media,
    Message,
    Modality,
    Part,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from llm_service.providers.fold import fold
from llm_service.providers.messages.tool_ids import ToolIds

USER = Message(Role.USER, (Part(Text("Hi")),))


def answering(media: Media) -> tuple[Message, ...]:
    called = Message(Role.ASSISTANT, (Part(ToolCall("toolu_1", "time")),))
    result = Part(ToolResult("toolu_1", "time", (Part(media),)))
    return USER, called, Message(Role.TOOL, (result,))


def test_a_file_in_a_tools_result_takes_part_in_the_files_beta():
    by_id = Media(Modality.IMAGE, file_id="file_1")

    assert prepared(call(*answering(by_id), tools=(TIME,))).betas == ("files-api-2025-04-14",)
    assert prepared(call(*answering(PNG), tools=(TIME,))).betas == ()


def test_a_state_that_holds_a_block_we_write_ourselves_is_not_believed():
    forged = ours(Text(""), {"block": {"type": "text"}})

    said = turns(USER, Message(Role.ASSISTANT, (forged, Part(Text("Well")))))

    assert said[1] == ("assistant", [{"type": "text", "text": "Well"}])


def test_a_block_that_is_kept_grows_in_linear_time():
    piece = sse(delta("odd_delta", content="x" * 200, more=1))

    def stream(count: int) -> list[bytes]:
        return [
            sse(start(), opened({"type": "odd", "content": "a"})),
            *[piece] * count,
            sse(closed(), stop(), {"type": "message_stop"}),
        ]

    [part] = in_linear_time(stream, lambda pieces: fold(read(pieces)), 3000).parts

    assert json.loads(part.provider_state.data)["block"] == {
        "type": "odd",
        "content": "a" + "x" * 2_400_000,
        "more": 1,
    }


def test_ids_that_are_all_the_same_are_numbered_in_linear_time():
    def numbered(count: int) -> list[str]:
        ids = ToolIds()
        return [ids.call("same", "here", must=False) for _ in range(count)]

    sent = in_linear_time(int, numbered, 2500)

    assert sent[:3] == ["same", "same_2", "same_3"]
    assert len(set(sent)) == 10_000


def test_an_id_that_a_number_has_made_already_gets_another():
    ids = ToolIds()

    sent = [ids.call(said, "here", must=False) for said in ("a", "a", "a_2", "a", "a_2")]

    assert sent == ["a", "a_2", "a_2_2", "a_3", "a_2_3"]

"""What the openai SDK makes of the bytes of a Responses answer: the measure of our own decoder."""

import warnings
from dataclasses import dataclass, field
from typing import Any

from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai_oracle import reader

CALLS = ("function_call", "custom_tool_call", "mcp_call")


@dataclass
class Told:
    """An answer, in the terms both sides have. `calls` have ids, names and exact arguments."""

    text: list[str] = field(default_factory=list)
    thinking: list[str] = field(default_factory=list)
    sealed: list[str] = field(default_factory=list)
    refusal: str = ""
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    cited: list[tuple[str, str]] = field(default_factory=list)
    finish: str = ""
    model: str = ""
    id: str = ""
    usage: dict[str, int] | None = None


def read_answer(data: bytes) -> Told:
    with reader(data, "application/json") as sdk:
        answer = sdk.responses.create(model="m", input="")
    return _told(answer, answer.output)


def read_stream(data: bytes) -> Told:
    """The SDK reads the events and its accumulator joins them."""
    with reader(data, "text/event-stream") as sdk:
        events = _first_answer(list(sdk.responses.create(model="m", input="", stream=True)))
    told = _told(_accumulated(events), _items(events))
    told.id = events[0].response.id  # Copilot's every event has another
    return told


def _first_answer(events) -> list:
    """Some recordings hold one answer after another."""
    ends = (n for n, event in enumerate(events) if event.type == "response.completed")
    return events[: next(ends) + 1]


def _accumulated(events) -> Any:
    """The accumulator's answer; of one it refuses, what the last event says."""
    state = ResponseStreamState(input_tools=omit, text_format=omit)
    try:
        with warnings.catch_warnings():  # of tools the SDK has no model of
            warnings.simplefilter("ignore", UserWarning)
            for event in events:
                answer = state.accumulate_event(event)
    except (RuntimeError, AssertionError, IndexError, AttributeError):
        answer = events[-1].response
    return answer


def _items(events) -> list:
    """Every item as it last was: Azure's last event leaves some out, others lack their own end."""
    done = [event for event in events if event.type == "response.output_item.done"]
    final = events[-1].response.output
    items = []
    for event in done:
        same = [item for item in final if getattr(item, "id", None) == event.item.id]
        if not same and event.output_index < len(final):
            same = [
                item for item in final[event.output_index :][:1] if item.type == event.item.type
            ]
        items.append((same or [event.item])[0])
    return items + [item for item in final if item not in items]


def _told(answer, items) -> Told:
    told = Told(finish=_finish(answer), model=answer.model, id=answer.id)
    for item in items:
        if item.type == "message":
            _read_message(item, told)
        elif item.type == "reasoning":
            texts = [*(item.summary or []), *(item.content or [])]
            told.thinking += [block.text for block in texts if block.text]
            sealed = getattr(item, "encrypted_content", None)
            told.sealed += [sealed] if sealed else []
        elif item.type in CALLS:
            written = item.input if item.type == "custom_tool_call" else item.arguments
            call_id = getattr(item, "call_id", None) or item.id
            told.calls.append((call_id, item.name, written))
        else:
            told.other.append(item.type)
    told.usage = _usage(answer.usage)
    return told


def _finish(answer) -> str:
    return answer.incomplete_details.reason if answer.incomplete_details else answer.status


def _read_message(item, told: Told) -> None:
    for block in item.content:
        if block.type == "refusal":
            told.refusal += block.refusal
            continue
        told.text.append(block.text)
        for annotation in block.annotations or []:
            said = annotation.to_dict()
            name = said.get("title") or said.get("filename") or said.get("file_id") or ""
            told.cited.append((said.get("url", ""), name))


def _usage(usage) -> dict[str, int] | None:
    if usage is None:
        return None
    said = usage.to_dict()
    return {
        "input": said["input_tokens"],
        "output": said["output_tokens"],
        "cache_read": said["input_tokens_details"].get("cached_tokens") or 0,
        "cache_write": said["input_tokens_details"].get("cache_write_tokens") or 0,
        "reasoning": said["output_tokens_details"].get("reasoning_tokens") or 0,
    }

"""A whole answer, folded from the events of one."""

from collections.abc import Iterable
from dataclasses import replace

from llm_service.domain.completion import (
    AudioDelta,
    CitationDelta,
    PartDelta,
    PartFinished,
    PartStarted,
)
from llm_service.domain.content import Media, Part, Refusal, Text, Thinking, ToolCall
from llm_service.providers.base import Accepted, AdapterEvent, Answer, Ended


def fold(events: Iterable[AdapterEvent]) -> Answer:
    """The answer the events of a whole stream tell; `Ended` is among them."""
    accepted, ended = Accepted(), None
    parts: list[Part] = []
    for event in events:
        match event:
            case Accepted():
                accepted = event
            case Ended():
                ended = event
            case PartStarted():
                parts.append(event.part)
            case PartDelta() | AudioDelta() | CitationDelta() | PartFinished():
                parts[event.index] = _grown(parts[event.index], event)
    if ended is None:
        raise ValueError("the events lack their end")
    return Answer(
        parts=tuple(parts),
        finish_reason=ended.finish_reason,
        provider_finish_reason=ended.provider_finish_reason,
        usage=ended.usage,
        provider_model=ended.provider_model or accepted.provider_model,
        provider_request_id=accepted.provider_request_id,
        content_filter=ended.content_filter,
        warnings=accepted.warnings,
    )


def _grown(part: Part, event: PartDelta | AudioDelta | CitationDelta | PartFinished) -> Part:
    content = part.content
    match event, content:
        case CitationDelta(citation=citation), _:
            return replace(part, citations=(*part.citations, citation))
        case PartFinished(provider_state=state), _:
            return replace(part, provider_state=state)
        case AudioDelta(data=data), Media():
            return replace(part, content=replace(content, data=(content.data or b"") + data))
        case PartDelta(text=text, logprobs=logprobs), ToolCall():
            call = replace(content, arguments_json=content.arguments_json + text)
            return replace(part, content=call, logprobs=part.logprobs + logprobs)
        case PartDelta(text=text, logprobs=logprobs), Text() | Thinking() | Refusal():
            longer = replace(content, text=content.text + text)
            return replace(part, content=longer, logprobs=part.logprobs + logprobs)
        case _:
            raise ValueError("an event does not fit its part")

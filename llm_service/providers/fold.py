"""A whole answer, folded from the events of one."""

from collections.abc import Iterable

from llm_service.domain.assembly import Assembly
from llm_service.domain.completion import UsageUpdate
from llm_service.providers.base import Accepted, AdapterEvent, Answer, Ended


def fold(events: Iterable[AdapterEvent]) -> Answer:
    """The answer the events of a whole stream tell; `Ended` is among them."""
    accepted, ended = Accepted(), None
    assembly = Assembly()
    for event in events:
        match event:
            case Accepted():
                accepted = event
            case Ended():
                ended = event
            case UsageUpdate():
                pass  # `Ended` has the last word
            case _:
                assembly.add(event)
    if ended is None:
        raise ValueError("the events lack their end")
    return Answer(
        parts=assembly.parts(),
        finish_reason=ended.finish_reason,
        provider_finish_reason=ended.provider_finish_reason,
        usage=ended.usage,
        provider_model=ended.provider_model or accepted.provider_model,
        provider_request_id=accepted.provider_request_id,
        content_filter=ended.content_filter,
        warnings=accepted.warnings,
        provider_finish_message=ended.provider_finish_message,
    )

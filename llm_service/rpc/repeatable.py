"""`request_id` of calls on the wire: a repeated call has the first answer, or is told of it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from google.protobuf.message import Message

from llm_service.domain.creation import Repeated
from llm_service.errors import GatewayError
from llm_service.gateway.repeatable_calls import Claim, RepeatableCalls
from llm_service.rpc.repeats import creation_of
from llm_service.rpc.stubs import completion_pb2 as pb
from llm_service.rpc.stubs import content_pb2

M = TypeVar("M", bound=Message)


class Served(Exception):
    """The call was served before; `message` is its answer."""

    def __init__(self, message: Any) -> None:
        super().__init__("this call was served before")
        self.message = message


@asynccontextmanager
async def claimed(
    calls: RepeatableCalls, request: Any, tenant: str, method: str, answer: type[M]
) -> AsyncIterator[Claim]:
    """Hold a call that has a `request_id` while the block serves it.

    Raises:
        Served: it was served before, and its answer was kept.
        GatewayError: as `RepeatableCalls.claim`.
    """
    keep = getattr(request, "content_retention", 0) != pb.CONTENT_RETENTION_NONE
    call = await asyncio.to_thread(creation_of, request, tenant, method)
    try:
        claim = await calls.claim(call, keep=keep)
    except Repeated as repeated:
        raise Served(answer.FromString(repeated.answer)) from None
    try:
        yield claim
    except GatewayError:
        await claim.failed()
        raise
    except BaseException:
        claim.left()
        raise


def as_events(completion: pb.Completion, *, whole: bool) -> Iterator[pb.StreamCompleteResponse]:
    """The stream of an answer that was kept; `whole`: with the completion in its last event."""
    started = pb.CompletionStarted(
        id=completion.id,
        served_by=completion.served_by,
        failed_attempts=completion.attempts[:-1],
        create_time=completion.create_time,
    )
    yield pb.StreamCompleteResponse(started=started)
    for index, part in enumerate(completion.message.parts):
        yield from _as_part_events(index, part)
    finished = pb.CompletionFinished(
        finish_reason=completion.finish_reason,
        provider_finish_reason=completion.provider_finish_reason,
        usage=completion.usage,
        cost=completion.cost,
        attempts=completion.attempts,
        timings=completion.timings,
        warnings=completion.warnings,
        provider_finish_message=completion.provider_finish_message,
    )
    if completion.HasField("content_filter"):
        finished.content_filter.CopyFrom(completion.content_filter)
    if whole:
        finished.completion.CopyFrom(completion)
    yield pb.StreamCompleteResponse(finished=finished)


def _as_part_events(
    index: int, part: content_pb2.ContentPart
) -> Iterator[pb.StreamCompleteResponse]:
    """Its beginning, empty; what it says; what else there is of it; its end."""
    begun, delta = content_pb2.ContentPart(), pb.PartDelta(index=index)
    begun.CopyFrom(part)
    begun.ClearField("provider_state")
    begun.ClearField("citations")
    begun.ClearField("logprobs")
    match part.WhichOneof("part"):
        case "text":
            begun.text, delta.text = "", part.text
        case "refusal":
            begun.refusal, delta.refusal = "", part.refusal
        case "thinking":
            begun.thinking.text, delta.thinking = "", part.thinking.text
        case "tool_call":
            begun.tool_call.arguments_json = ""
            delta.arguments_json = part.tool_call.arguments_json
    yield pb.StreamCompleteResponse(part_started=pb.PartStarted(index=index, part=begun))
    if delta.WhichOneof("delta"):
        delta.logprobs.extend(part.logprobs)
        yield pb.StreamCompleteResponse(part_delta=delta)
    for citation in part.citations:
        told = pb.PartDelta(index=index, citation=citation)
        yield pb.StreamCompleteResponse(part_delta=told)
    finished = pb.PartFinished(index=index)
    if part.HasField("provider_state"):
        finished.provider_state.CopyFrom(part.provider_state)
    yield pb.StreamCompleteResponse(part_finished=finished)

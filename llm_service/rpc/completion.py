"""Serves `llmservice.v1.CompletionService`."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import grpc

from llm_service.domain.completion import Completion, CompletionFinished, CompletionRequest
from llm_service.errors import InvalidField, Violation
from llm_service.gateway.completions import Completions, CostEstimate
from llm_service.gateway.repeatable_calls import Claim, RepeatableCalls
from llm_service.rpc.convert.checks import given
from llm_service.rpc.convert.completion import fill_completion, from_completion, from_event
from llm_service.rpc.convert.request import to_request
from llm_service.rpc.repeatable import Served, as_events, claimed
from llm_service.rpc.stubs import completion_pb2 as pb
from llm_service.rpc.stubs import completion_service_pb2 as service_pb
from llm_service.rpc.stubs.completion_service_pb2_grpc import CompletionServiceServicer

Context = grpc.aio.ServicerContext[Any, Any]

_COMPLETE = "llmservice.v1.CompletionService.Complete"
_STREAM = "llmservice.v1.CompletionService.StreamComplete"


class CompletionServicer(CompletionServiceServicer):
    """Decode, one call, encode; failures are the guards' business."""

    def __init__(self, completions: Completions, calls: RepeatableCalls) -> None:
        self._completions = completions
        self._calls = calls

    async def Complete(
        self, request: pb.CompletionRequest, context: Context
    ) -> service_pb.CompleteResponse:
        asked = to_request(request)
        if request.request_id:
            return await self._complete_once(request, asked, context)
        completion = await self._completions.complete(asked, context.time_remaining())
        response = service_pb.CompleteResponse()
        fill_completion(response.completion, completion)
        return response

    def StreamComplete(
        self, request: pb.CompletionRequest, context: Context
    ) -> AsyncGenerator[pb.StreamCompleteResponse]:
        # Not a generator of its own: every chunk would pass it, and every open stream carry it.
        asked = to_request(request)
        if request.request_id:
            return self._stream_once(request, asked, context)
        return self._stream(asked, context)

    async def _stream(
        self, asked: CompletionRequest, context: Context, claim: Claim | None = None
    ) -> AsyncGenerator[pb.StreamCompleteResponse]:
        sequence = 0
        events = self._completions.stream(asked, context.time_remaining())
        async with aclosing(events):
            async for batch in events:
                for event in batch:
                    if claim is not None and isinstance(event, CompletionFinished):
                        await claim.served(_kept(event.completion, claim))
                    yield from_event(event, sequence)
                    sequence += 1

    async def _complete_once(
        self, request: pb.CompletionRequest, asked: CompletionRequest, context: Context
    ) -> service_pb.CompleteResponse:
        tenant = asked.attribution.tenant
        try:
            async with claimed(self._calls, request, tenant, _COMPLETE, pb.Completion) as claim:
                asked = replace(asked, completion_id=claim.completion_id)
                completion = await self._completions.complete(asked, context.time_remaining())
                message = from_completion(completion)
                await claim.served(message.SerializeToString() if claim.keeps else b"")
                return service_pb.CompleteResponse(completion=message)
        except Served as served:
            return service_pb.CompleteResponse(completion=served.message)

    async def _stream_once(
        self, request: pb.CompletionRequest, asked: CompletionRequest, context: Context
    ) -> AsyncGenerator[pb.StreamCompleteResponse]:
        tenant, whole = asked.attribution.tenant, asked.include_completion
        try:
            async with claimed(self._calls, request, tenant, _STREAM, pb.Completion) as claim:
                asked = replace(
                    asked,
                    completion_id=claim.completion_id,
                    include_completion=whole or claim.keeps,
                )
                async with aclosing(self._stream(asked, context, claim)) as messages:
                    async for message in messages:
                        if not whole and message.HasField("finished"):
                            message.finished.ClearField("completion")
                        yield message
        except Served as served:
            for sequence, message in enumerate(as_events(served.message, whole=whole)):
                message.sequence = sequence
                yield message

    async def CountTokens(
        self, request: service_pb.CountTokensRequest, context: Context
    ) -> service_pb.CountTokensResponse:
        count = await self._completions.count_tokens(
            to_request(request.completion, "completion."), context.time_remaining()
        )
        return service_pb.CountTokensResponse(
            model=count.model, input_tokens=count.input_tokens, estimated=count.estimated
        )

    async def EstimateCost(
        self, request: service_pb.EstimateCostRequest, context: Context
    ) -> service_pb.EstimateCostResponse:
        expected = given(request, "expected_output_tokens")
        if expected is not None and expected < 0:
            raise InvalidField(Violation("expected_output_tokens", "must not be negative"))
        estimates = await self._completions.estimate_cost(
            to_request(request.completion, "completion."),
            context.time_remaining(),
            expected_output_tokens=expected,
            all_targets=request.all_targets,
        )
        return service_pb.EstimateCostResponse(estimates=map(_from_estimate, estimates))


def _kept(completion: Completion, claim: Claim) -> bytes:
    return from_completion(completion).SerializeToString() if claim.keeps else b""


def _from_estimate(estimate: CostEstimate) -> service_pb.CostEstimate:
    message = service_pb.CostEstimate(
        model=estimate.model,
        input_tokens=estimate.input_tokens,
        max_output_tokens=estimate.max_output_tokens,
        price_version=estimate.price_version,
    )
    if estimate.expected_nano_usd is not None:
        message.expected_nano_usd = estimate.expected_nano_usd
    if estimate.max_nano_usd is not None:
        message.max_nano_usd = estimate.max_nano_usd
    return message

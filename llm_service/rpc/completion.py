"""Serves `llmservice.v1.CompletionService`."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import grpc

from llm_service.errors import InvalidField, Violation
from llm_service.gateway.completions import Completions, CostEstimate
from llm_service.rpc.convert.checks import given
from llm_service.rpc.convert.completion import from_completion, from_event
from llm_service.rpc.convert.request import to_request
from llm_service.rpc.stubs import completion_pb2 as pb
from llm_service.rpc.stubs import completion_service_pb2 as service_pb
from llm_service.rpc.stubs.completion_service_pb2_grpc import CompletionServiceServicer

Context = grpc.aio.ServicerContext[Any, Any]


class CompletionServicer(CompletionServiceServicer):
    """Decode, one call, encode; failures are the guards' business."""

    def __init__(self, completions: Completions) -> None:
        self._completions = completions

    async def Complete(
        self, request: pb.CompletionRequest, context: Context
    ) -> service_pb.CompleteResponse:
        completion = await self._completions.complete(to_request(request), context.time_remaining())
        return service_pb.CompleteResponse(completion=from_completion(completion))

    async def StreamComplete(
        self, request: pb.CompletionRequest, context: Context
    ) -> AsyncGenerator[pb.StreamCompleteResponse]:
        sequence = 0
        events = self._completions.stream(to_request(request), context.time_remaining())
        async with aclosing(events):
            async for batch in events:
                for event in batch:
                    yield from_event(event, sequence)
                    sequence += 1

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

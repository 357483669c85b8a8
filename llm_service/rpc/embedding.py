"""Serves `llmservice.v1.EmbeddingService`."""

import asyncio
from dataclasses import replace
from typing import Any

import grpc

from llm_service.domain.embedding import EmbeddingRequest
from llm_service.gateway.embeddings import Embeddings
from llm_service.gateway.repeatable_calls import RepeatableCalls
from llm_service.rpc.convert.embedding import from_embedding_answer, to_embedding_request
from llm_service.rpc.repeatable import Served, claimed
from llm_service.rpc.stubs import embedding_service_pb2 as pb
from llm_service.rpc.stubs.embedding_service_pb2_grpc import EmbeddingServiceServicer

Context = grpc.aio.ServicerContext[Any, Any]

_EMBED = "llmservice.v1.EmbeddingService.Embed"
_AT_ONCE = 32  # vectors packed before others get their turn; 3,072 numbers take about 0.1 ms


class EmbeddingServicer(EmbeddingServiceServicer):
    """Decode, one call, encode; failures are the guards' business."""

    def __init__(self, embeddings: Embeddings, calls: RepeatableCalls) -> None:
        self._embeddings = embeddings
        self._calls = calls

    async def Embed(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedResponse:
        asked = to_embedding_request(request)
        if not request.request_id:
            return await self._embed(asked, context)
        tenant = asked.attribution.tenant
        try:
            async with claimed(self._calls, request, tenant, _EMBED, pb.EmbedResponse) as claim:
                asked = replace(asked, completion_id=claim.completion_id)
                response = await self._embed(asked, context)
                await claim.served(response.SerializeToString() if claim.keeps else b"")
                return response
        except Served as served:
            kept: pb.EmbedResponse = served.message
            return kept

    async def _embed(self, asked: EmbeddingRequest, context: Context) -> pb.EmbedResponse:
        answer = await self._embeddings.embed(asked, context.time_remaining())
        response = from_embedding_answer(answer)
        for number, vector in enumerate(answer.vectors, 1):
            response.embeddings.add(values=vector)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        return response

"""Serves `llmservice.v1.EmbeddingService`."""

import asyncio
from typing import Any

import grpc

from llm_service.gateway.embeddings import Embeddings
from llm_service.rpc.convert.embedding import from_embedding_answer, to_embedding_request
from llm_service.rpc.stubs import embedding_service_pb2 as pb
from llm_service.rpc.stubs.embedding_service_pb2_grpc import EmbeddingServiceServicer

Context = grpc.aio.ServicerContext[Any, Any]

_AT_ONCE = 32  # vectors packed before others get their turn; 3,072 numbers take about 0.1 ms


class EmbeddingServicer(EmbeddingServiceServicer):
    """Decode, one call, encode; failures are the guards' business."""

    def __init__(self, embeddings: Embeddings) -> None:
        self._embeddings = embeddings

    async def Embed(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedResponse:
        answer = await self._embeddings.embed(
            to_embedding_request(request), context.time_remaining()
        )
        response = from_embedding_answer(answer)
        for number, vector in enumerate(answer.vectors, 1):
            response.embeddings.add(values=vector)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        return response

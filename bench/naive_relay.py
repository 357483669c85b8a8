"""What one writes first: a grpc.aio servicer around the vendor's SDK, on the default event loop.

Usage: naive_relay.py UPSTREAM, e.g. http://127.0.0.1:8080. It has no tenant, no stored key, no
usage row, no trace; clients are kept per base URL, as anyone would after the first profile.
"""

from __future__ import annotations

import asyncio
import sys
from functools import cache

import grpc
import openai
from shape import Shape

from llm_service.rpc.stubs import common_pb2, content_pb2
from llm_service.rpc.stubs import completion_pb2 as pb
from llm_service.rpc.stubs import completion_service_pb2 as service_pb
from llm_service.rpc.stubs import completion_service_pb2_grpc as service_grpc

_ROLES = {
    content_pb2.ROLE_SYSTEM: "system",
    content_pb2.ROLE_USER: "user",
    content_pb2.ROLE_ASSISTANT: "assistant",
}
_FINISH = {"stop": pb.FINISH_REASON_STOP, "length": pb.FINISH_REASON_MAX_OUTPUT_TOKENS}


class Relay(service_grpc.CompletionServiceServicer):
    """Serves the two calls that are measured."""

    def __init__(self, upstream: str) -> None:
        self._client = cache(
            lambda shape: openai.AsyncOpenAI(
                api_key="bench", base_url=f"{upstream}/{shape.name}/v1", max_retries=0
            )
        )

    async def Complete(
        self, request: pb.CompletionRequest, _context: grpc.aio.ServicerContext
    ) -> service_pb.CompleteResponse:
        client = self._client(Shape.find(request.model))
        reply = await client.chat.completions.create(model="bench", messages=_messages(request))
        part = content_pb2.ContentPart(text=reply.choices[0].message.content or "")
        return service_pb.CompleteResponse(
            completion=pb.Completion(
                id=reply.id,
                message=content_pb2.Message(role=content_pb2.ROLE_ASSISTANT, parts=[part]),
                finish_reason=_FINISH[reply.choices[0].finish_reason],
                usage=_usage(reply.usage),
            )
        )

    async def StreamComplete(
        self, request: pb.CompletionRequest, _context: grpc.aio.ServicerContext
    ):
        client = self._client(Shape.find(request.model))
        stream = await client.chat.completions.create(
            model="bench",
            messages=_messages(request),
            stream=True,
            stream_options={"include_usage": True},
        )
        yield pb.StreamCompleteResponse(started=pb.CompletionStarted(id="naive"))
        finished = pb.CompletionFinished()
        sequence = 0
        async for chunk in stream:
            if chunk.usage is not None:
                finished.usage.CopyFrom(_usage(chunk.usage))
            for choice in chunk.choices:
                if choice.delta.content:
                    sequence += 1
                    delta = pb.PartDelta(text=choice.delta.content)
                    yield pb.StreamCompleteResponse(sequence=sequence, part_delta=delta)
                if choice.finish_reason:
                    finished.finish_reason = _FINISH[choice.finish_reason]
        yield pb.StreamCompleteResponse(sequence=sequence + 1, finished=finished)


def _messages(request: pb.CompletionRequest) -> list[dict[str, str]]:
    return [
        {"role": _ROLES[message.role], "content": "".join(part.text for part in message.parts)}
        for message in request.messages
    ]


def _usage(usage) -> common_pb2.TokenUsage:
    return common_pb2.TokenUsage(
        input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens
    )


async def main(upstream: str) -> None:
    server = grpc.aio.server()
    service_grpc.add_CompletionServiceServicer_to_server(Relay(upstream), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print("port", port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

"""The floor: a bare grpc.aio server that answers the contract's messages out of thin air.

No interceptor, no upstream, no database: what grpc.aio, uvloop and protobuf cost by themselves. A
streamed answer is paced by this server's own timer, as there is nobody else to pace it.
"""

from __future__ import annotations

import asyncio
import time

import grpc
import uvloop
from shape import Shape, text

from llm_service.rpc.stubs import completion_pb2 as pb
from llm_service.rpc.stubs import completion_service_pb2 as service_pb
from llm_service.rpc.stubs import completion_service_pb2_grpc as service_grpc
from llm_service.rpc.stubs import content_pb2

_FINISHED = pb.CompletionFinished(finish_reason=pb.FINISH_REASON_STOP)


class Echo(service_grpc.CompletionServiceServicer):
    """Serves the two calls that are measured."""

    async def Complete(
        self, request: pb.CompletionRequest, _context: grpc.aio.ServicerContext
    ) -> service_pb.CompleteResponse:
        shape = Shape.find(request.model)
        part = content_pb2.ContentPart(text=text(0, time.monotonic_ns(), shape.text_bytes))
        message = content_pb2.Message(role=content_pb2.ROLE_ASSISTANT, parts=[part])
        return service_pb.CompleteResponse(
            completion=pb.Completion(message=message, finish_reason=pb.FINISH_REASON_STOP)
        )

    async def StreamComplete(
        self, request: pb.CompletionRequest, context: grpc.aio.ServicerContext
    ) -> None:
        shape = Shape.find(request.model)
        loop = asyncio.get_running_loop()
        due = loop.time()
        await context.write(pb.StreamCompleteResponse(started=pb.CompletionStarted(id="echo")))
        for number in range(shape.chunks):
            delay = due + number * shape.interval_ms / 1000 - loop.time()
            if delay > 0:
                await asyncio.sleep(delay)
            delta = pb.PartDelta(text=text(number, time.monotonic_ns(), shape.text_bytes))
            await context.write(pb.StreamCompleteResponse(sequence=number + 1, part_delta=delta))
        await context.write(
            pb.StreamCompleteResponse(sequence=shape.chunks + 1, finished=_FINISHED)
        )


async def main() -> None:
    server = grpc.aio.server()
    service_grpc.add_CompletionServiceServicer_to_server(Echo(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print("port", port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(main())

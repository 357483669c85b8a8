"""The load generator: scheduled calls over grpc.aio, kept as raw bytes, checked once all are in."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle, pairwise

import grpc
import httptools
from shape import STAMP, STAMP_BYTES, Shape

from llm_service.rpc.stubs import completion_pb2 as pb
from llm_service.rpc.stubs import completion_service_pb2 as service_pb
from llm_service.rpc.stubs import content_pb2

_METHOD = "/llmservice.v1.CompletionService/"
_PROMPT = (
    "You are given the minutes of a meeting. Write down, as a list of at most five lines, what was "
    "decided, who is to do it, and until when. Leave out what was only discussed. If nothing was "
    "decided say so in one sentence. The minutes: the bench."
)


_PHASE = random.Random()  # noqa: S311 - spreads starts, keeps no secret


class Void(Exception):
    """The run proves nothing: something was not delivered."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One finished call.

    Attributes:
        due_ns: when it was scheduled (monotonic clock).
        messages: what came, undecoded, with the time each was received.
        end_ns: when its status was received.
    """

    due_ns: int
    messages: list[tuple[int, bytes]]
    end_ns: int

    def texts(self) -> Iterator[tuple[int, str]]:
        """The content of a stream, message by message, with the time each was received."""
        for received, message in self.messages:
            text = service_event(message).part_delta.text
            if text:
                yield received, text


class Client:
    """Calls one server over several connections in turn; with a client key, if it asks for one."""

    def __init__(self, port: int, connections: int = 4, key: str = "") -> None:
        self._metadata = bearer(key)
        self.held: list[grpc.aio.UnaryStreamCall] = []
        self._channels = [
            grpc.aio.insecure_channel(
                f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]
            )
            for _ in range(connections)
        ]
        self._streams: Iterator[grpc.aio.UnaryStreamMultiCallable] = cycle(
            [channel.unary_stream(_METHOD + "StreamComplete") for channel in self._channels]
        )
        self._unaries: Iterator[grpc.aio.UnaryUnaryMultiCallable] = cycle(
            [channel.unary_unary(_METHOD + "Complete") for channel in self._channels]
        )

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_error: object) -> None:
        for channel in self._channels:
            await channel.close()

    async def complete(self, body: bytes, due_ns: int = 0) -> Answer:
        due_ns = await _sleep_until(due_ns)
        message = await next(self._unaries)(body, metadata=self._metadata)
        now = time.monotonic_ns()
        return Answer(due_ns, [(now, message)], now)

    async def stream(self, body: bytes, due_ns: int = 0) -> Answer:
        due_ns = await _sleep_until(due_ns)
        call = next(self._streams)(body, metadata=self._metadata)
        messages = [(time.monotonic_ns(), message) async for message in call]
        return Answer(due_ns, messages, time.monotonic_ns())

    def open(self, body: bytes) -> grpc.aio.UnaryStreamCall:
        """A stream the caller reads as far as it likes; it stays open as long as the client."""
        call = next(self._streams)(body, metadata=self._metadata)
        self.held.append(call)
        return call


def bearer(key: str) -> tuple[tuple[str, str], ...]:
    """The metadata that shows a client key; "" shows none."""
    return (("authorization", f"Bearer {key}"),) if key else ()


async def _sleep_until(due_ns: int) -> int:
    """When the call is counted from: due, or now if the loop, whose clock is coarse, is early."""
    delay = (due_ns - time.monotonic_ns()) / 1e9
    if delay > 0:
        await asyncio.sleep(delay)
    return min(due_ns, time.monotonic_ns())


def body(shape: Shape) -> bytes:
    """The request for `shape`, 250 bytes of prompt, encoded once."""
    part = content_pb2.ContentPart(text=_PROMPT)
    message = content_pb2.Message(role=content_pb2.ROLE_USER, parts=[part])
    return pb.CompletionRequest(model=shape.model, messages=[message]).SerializeToString()


# ---- profiles ----


async def waves_of_streams(client: Client, shape: Shape, streams: int, waves: int) -> list[Answer]:
    """`waves` times `streams` at once, each starting somewhere within one interval."""
    request = body(shape)
    answers: list[Answer] = []
    for _ in range(waves):
        start = time.monotonic_ns() + 5_000_000
        answers += await _all(
            client.stream(request, start + int(_PHASE.random() * shape.interval_ms * 1e6))
            for _ in range(streams)
        )
    return answers


async def unary_at_rate(client: Client, shape: Shape, rate: float, seconds: float) -> list[Answer]:
    """`rate` calls a second, open loop: each somewhere within its slot, whatever the others do."""
    request = body(shape)
    start = time.monotonic_ns() + 5_000_000
    slot = 1e9 / rate
    return await _all(
        client.complete(request, start + int((number + _PHASE.random()) * slot))
        for number in range(int(rate * seconds))
    )


async def _all(calls: Iterable[Awaitable[Answer]]) -> list[Answer]:
    """Every answer, once none is under way any more.

    Raises:
        Void: a call failed.
    """
    answers = await asyncio.gather(*calls, return_exceptions=True)
    failures = [answer for answer in answers if isinstance(answer, BaseException)]
    if failures:
        raise Void(f"{len(failures)} of {len(answers)} calls failed: {failures[0]!r}")
    return [answer for answer in answers if isinstance(answer, Answer)]


async def one_by_one(client: Client | Direct, shape: Shape, calls: int) -> list[Answer]:
    """Streams one at a time, started 10 to 20 ms apart: time to first token, undisturbed."""
    request = body(shape)
    answers = []
    for _ in range(calls):
        due = time.monotonic_ns() + int((0.01 + _PHASE.random() * 0.01) * 1e9)
        answers.append(await client.stream(request, due))
    return answers


# ---- checks ----


def check_streams(answers: list[Answer], shape: Shape) -> list[int]:
    """How long each event was on its way, in ns.

    Raises:
        Void: an event is missing, twice, out of order or cut, or a stream has no end.
    """
    return [transit for answer in answers for transit in _check_stream(answer, shape)]


def _check_stream(answer: Answer, shape: Shape) -> Iterator[int]:
    finished = False
    expected = 0
    for received, message in answer.messages:
        event = service_event(message)
        finished = finished or event.HasField("finished")
        text = event.part_delta.text
        for offset in range(0, len(text), shape.text_bytes):
            yield received - _stamp(text[offset : offset + shape.text_bytes], expected, shape)
            expected += 1
    if expected != shape.chunks or not finished:
        raise Void(f"{expected} of {shape.chunks} events, finished: {finished}")


def service_event(message: bytes) -> pb.StreamCompleteResponse:
    return pb.StreamCompleteResponse.FromString(message)


def _stamp(text: str, number: int, shape: Shape) -> int:
    match = STAMP.match(text)
    padding = "x" * (shape.text_bytes - STAMP_BYTES)
    if match is None or int(match[1]) != number or text[STAMP_BYTES:] != padding:
        raise Void(f"event {number} came as {text!r}")
    return int(match[2])


def check_unaries(answers: list[Answer], shape: Shape) -> list[int]:
    """How long each call took from the moment it was due, in ns.

    Raises:
        Void: an answer is not the one asked for.
    """
    for answer in answers:
        reply = service_pb.CompleteResponse.FromString(answer.messages[0][1])
        _stamp("".join(part.text for part in reply.completion.message.parts), 0, shape)
    return [answer.end_ns - answer.due_ns for answer in answers]


def first_tokens(answers: list[Answer]) -> list[int]:
    """From the moment each stream was due to its first content, in ns."""
    return [next(answer.texts())[0] - answer.due_ns for answer in answers]


def joined(answers: list[Answer], shape: Shape) -> float:
    """Events of the upstream per message received: 1 where none were joined."""
    return len(answers) * shape.chunks / sum(1 for answer in answers for _ in answer.texts())


def stalled(answers: list[Answer], shape: Shape) -> float:
    """Share of streams with a gap of more than three intervals."""
    limit = 3 * shape.interval_ms * 1e6
    gaps = [
        max((after - before for (before, _), (after, _) in pairwise(answer.messages)), default=0)
        for answer in answers
    ]
    return sum(gap > limit for gap in gaps) / len(gaps)


# ---- without a gateway ----


class Direct(asyncio.Protocol):
    """Asks the mock itself over one kept connection: the time to first token to compare with."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)

    @classmethod
    async def connect(cls, port: int) -> Direct:
        _, protocol = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received = time.monotonic_ns()
        self._parser.feed_data(data)

    def on_body(self, event: bytes) -> None:
        """Keeps the first content as the message a gateway would have made of it."""
        match = STAMP.search(event.decode())
        if match is not None:
            delta = pb.PartDelta(text=match[0])
            message = pb.StreamCompleteResponse(part_delta=delta).SerializeToString()
            self._messages.append((self._received, message))

    def on_message_complete(self) -> None:
        self._done.set_result(None)

    async def stream(self, request: bytes, due_ns: int) -> Answer:
        shape = Shape.find(pb.CompletionRequest.FromString(request).model)
        payload = b'{"model":"bench","stream":true,"messages":[{"role":"user","content":"%s"}]}' % (
            _PROMPT.encode()
        )
        head = (
            f"POST /{shape.name}/v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
        )
        due_ns = await _sleep_until(due_ns)
        self._messages: list[tuple[int, bytes]] = []
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(head.encode() + payload)
        await self._done
        return Answer(due_ns, self._messages, time.monotonic_ns())

    def close(self) -> None:
        self._transport.close()

"""The mock upstream where there is no C compiler: what mock.c does, slower.

Numbers taken with it may be bound by the rig.
"""

from __future__ import annotations

import asyncio
import time

import uvloop
from shape import Shape, text

_CREATED = (
    '"created":1763673600,"model":"gpt-4o-mini-2024-07-18","service_tier":"default",'
    '"system_fingerprint":"fp_0123456789"'
)
_ID = '"id":"chatcmpl-Be0nchmark0000000000000000001"'
_CHUNK = f'data: {{{_ID},"object":"chat.completion.chunk",{_CREATED},'
_DETAILS = (
    '"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":'
    '{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,'
    '"rejected_prediction_tokens":0}'
)
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Cache-Control: no-cache\r\nx-request-id: req_bench\r\nConnection: keep-alive\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


class Upstream(asyncio.Protocol):
    """One connection: answers its requests one after another."""

    def __init__(self) -> None:
        self._buffer = b""
        self._timer: asyncio.TimerHandle | None = None
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._take_request()

    def _take_request(self) -> None:
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if self._busy or not separator:
            return
        field = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        length = int(field or 0)
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        self._begin(head.decode(), rest[:length].replace(b": ", b":"))

    def _begin(self, head: str, body: bytes) -> None:
        try:
            self._shape = Shape.find(head.split(" ", 2)[1])
        except ValueError:
            self._transport.write(_json(404, "{}"))
            return
        self._busy = True
        self._sent = 0
        self._with_usage = b'"include_usage":true' in body
        self._due = asyncio.get_running_loop().time() + self._shape.ttft_ms / 1000
        advance = self._stream if b'"stream":true' in body else self._answer_whole
        if self._shape.ttft_ms:
            self._timer = asyncio.get_running_loop().call_at(self._due, advance)
        else:
            advance()

    def _answer_whole(self) -> None:
        self._transport.write(
            _json(
                200,
                f'{{{_ID},"object":"chat.completion",{_CREATED},"choices":[{{"index":0,"message":'
                f'{{"role":"assistant","content":"{self._text()}","refusal":null,'
                f'"annotations":[]}},"logprobs":null,"finish_reason":"stop"}}],"usage":'
                f'{{"prompt_tokens":60,"completion_tokens":100,"total_tokens":160,{_DETAILS}}}}}',
            )
        )
        self._end()

    def _stream(self) -> None:
        if self._sent == 0:
            self._transport.write(_STREAM_HEAD)
            self._event('{"role":"assistant","content":"","refusal":null}', "null", "a1B2c3")
        if self._sent < self._shape.chunks:
            self._event(f'{{"content":"{self._text()}"}}', "null", "a1B2")
            self._sent += 1
        if self._sent < self._shape.chunks:
            self._due += self._shape.interval_ms / 1000
            self._timer = asyncio.get_running_loop().call_at(self._due, self._stream)
            return
        self._event("{}", '"stop"', "a1")
        if self._with_usage:
            self._chunk(
                f'{_CHUNK}"choices":[],"usage":{{"prompt_tokens":60,"completion_tokens":{self._sent},'
                f'"total_tokens":{60 + self._sent},{_DETAILS}}},"obfuscation":""}}\n\n'
            )
        self._chunk("data: [DONE]\n\n")
        self._transport.write(b"0\r\n\r\n")
        self._end()

    def _end(self) -> None:
        self._busy = False
        self._take_request()

    def _text(self) -> str:
        return text(self._sent, time.monotonic_ns(), self._shape.text_bytes)

    def _event(self, delta: str, finish: str, padding: str) -> None:
        self._chunk(
            f'{_CHUNK}"choices":[{{"index":0,"delta":{delta},"logprobs":null,'
            f'"finish_reason":{finish}}}],"usage":null,"obfuscation":"{padding}"}}\n\n'
        )

    def _chunk(self, body: str) -> None:
        self._transport.write(f"{len(body):x}\r\n{body}\r\n".encode())


def _json(status: int, body: str) -> bytes:
    return (
        f"HTTP/1.1 {status} {'OK' if status == 200 else 'Not Found'}\r\n"
        "Content-Type: application/json\r\nx-request-id: req_bench\r\nConnection: keep-alive\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Upstream, "127.0.0.1", 0, backlog=4096)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())

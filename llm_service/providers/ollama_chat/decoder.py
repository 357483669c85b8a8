"""An answer of `/api/chat`, from bytes to events."""

import base64
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from llm_service.domain.completion import DeltaKind, FinishReason, TokenUsage
from llm_service.domain.content import Content, Media, Modality, Text, Thinking, ToolCall
from llm_service.errors import GatewayError, ProviderProtocolError
from llm_service.providers.base import Accepted, AdapterEvent, Ended
from llm_service.providers.chat import extras
from llm_service.providers.lenient import count, items, text
from llm_service.providers.ollama_chat import failures, wire
from llm_service.providers.ollama_chat.lines import LineReader
from llm_service.providers.parts import PartWriter
from llm_service.providers.vendor import Reply

# The name of the state of a part of thinking.
THINKING_STATE = "thinking"

_FINISH = {
    "stop": FinishReason.STOP,
    "length": FinishReason.MAX_OUTPUT_TOKENS,
}
_EMPTY: dict[DeltaKind, Content] = {
    DeltaKind.TEXT: Text(""),
    DeltaKind.THINKING: Thinking(""),
}
_NOT_IN_IDS = re.compile(r"[^0-9A-Za-z]")
_PNG, _JPEG = b"\x89PNG", b"\xff\xd8\xff"


class OllamaDecoder:
    """Reads one answer; a stream through `feed` and `end`, a whole one through `whole`."""

    __slots__ = ("_accepted", "_called", "_kind", "_model", "_open", "_parts", "_reader", "_reply",
                 "done", "failure")  # fmt: skip

    def __init__(self, kind: str, reply: Reply) -> None:
        """Start an answer; `kind` stamps provider state."""
        self.done = False
        self.failure: GatewayError | None = None
        self._reply = reply
        self._reader = LineReader()
        self._parts = PartWriter(kind)
        self._open = -1  # the part of text or thinking that grows
        self._kind: DeltaKind | None = None
        self._accepted = False
        self._called = False
        self._model = ""

    @property
    def has_content(self) -> bool:
        """A part has started."""
        return self._parts.count > 0

    def feed(self, data: bytes) -> list[AdapterEvent]:
        """The events of what has arrived."""
        return self._read(self._reader.feed(data))

    def end(self) -> list[AdapterEvent]:
        """The events of the end of the bytes: `Ended` if the answer is whole, else a failure."""
        events = self._read(self._reader.end())
        if not self.done and self.failure is None:
            self.failure = ProviderProtocolError(
                "the provider's stream ended before its answer did"
            )
        return events

    def whole(self, data: bytes) -> list[AdapterEvent]:
        """The events of an answer that came in one piece, or in lines all the same.

        Raises:
            GatewayError: it is an error, or holds no answer.
        """
        try:
            msgspec.json.decode(data, type=msgspec.Raw)
        except (ValueError, RecursionError):
            events = [*self.feed(data), *(() if self.done or self.failure else self.end())]
        else:
            events = self._read([data])
        if self.failure is not None:
            raise self.failure
        if not self.done:
            raise ProviderProtocolError("the provider's answer is not complete")
        return events

    def _read(self, lines: Iterable[bytes]) -> list[AdapterEvent]:
        events: list[AdapterEvent] = []
        self._parts.events = events
        try:
            for line in lines:
                self._take(wire.read(line))
                if self.done:
                    break
        except GatewayError as failure:
            self.failure = failure
        return events

    def _take(self, chunk: wire.Chunk) -> None:
        if chunk.error:
            error = failures.from_object({"error": chunk.error})
            raise failures.failure(error, self._reply.headers, hide=self._reply.hide)
        self._model = self._model or text(chunk.model)
        if not self._accepted:
            self._accepted = True
            reply = self._reply
            self._parts.events.append(Accepted(self._model, reply.request_id, reply.warnings))
        if chunk.message is not None:
            self._take_message(chunk.message, chunk)
        if chunk.done is True:
            self._end(chunk)

    def _take_message(self, message: wire.Message, chunk: wire.Chunk) -> None:
        if message.thinking and type(message.thinking) is str:
            self._grow(DeltaKind.THINKING, message.thinking, None)
        content = text(message.content)
        if content or chunk.logprobs:
            self._grow(DeltaKind.TEXT, content, chunk.logprobs)
        for call in message.tool_calls or ():
            self._call(call, text(chunk.created_at))
        for image in items(message.images):
            self._image(image)

    def _grow(self, kind: DeltaKind, more: str, logprobs: Any) -> None:  # noqa: ANN401
        tokens = extras.logprobs({"content": logprobs}, "content") if logprobs else ()
        if not more and not tokens:
            return
        if kind is not self._kind:
            self._finish_open()
            self._open = self._parts.start(_EMPTY[kind])
            self._kind = kind
        self._parts.add(self._open, kind, more, tokens)

    def _call(self, call: wire.ToolCall, created_at: str) -> None:
        if call.function is None:
            return
        self._finish_open()
        self._called = True
        parts = self._parts
        # Older servers give no id. The time makes it one that no other turn has.
        made = f"call_{_NOT_IN_IDS.sub('', created_at)}_{parts.count}"
        index = parts.start(ToolCall(text(call.id) or made, text(call.function.name)))
        parts.add(index, DeltaKind.ARGUMENTS_JSON, _arguments(call.function.arguments))
        parts.finish(index)

    def _image(self, said: Any) -> None:  # noqa: ANN401 - as it lies on the wire
        self._finish_open()
        try:
            data = base64.b64decode(text(said), validate=True)
        except ValueError as error:
            raise ProviderProtocolError("the provider sent an image that is not base64") from error
        known = {data.startswith(_PNG): "image/png", data.startswith(_JPEG): "image/jpeg"}
        media = Media(Modality.IMAGE, data=data, mime_type=known.get(True, ""))
        self._parts.finish(self._parts.start(media))

    def _finish_open(self) -> None:
        if self._kind is None:
            return
        thought = self._kind is DeltaKind.THINKING
        state = self._parts.state(THINKING_STATE, said=True) if thought else None
        self._parts.finish(self._open, state)
        self._kind = None

    def _end(self, chunk: wire.Chunk) -> None:
        self._finish_open()
        said = text(chunk.done_reason)
        reason = _FINISH.get(said, FinishReason.OTHER)
        if self._called and said in ("", "stop"):
            reason = FinishReason.TOOL_CALLS
        self._parts.events.append(Ended(reason, said, _usage(chunk), self._model))
        self.done = True


def _arguments(said: msgspec.Raw) -> str:
    """The text as it lies on the wire; a server that sends text in it is understood too."""
    lies = bytes(said).decode("utf-8", "replace").strip()
    if lies.startswith('"'):
        return text(msgspec.json.decode(said))
    return "{}" if lies in ("", "null") else lies


def _usage(chunk: wire.Chunk) -> TokenUsage | None:
    """None when nothing was said; a count of nought is left out by the server."""
    asked, answered = count(chunk.prompt_eval_count), count(chunk.eval_count)
    if asked is None and answered is None:
        return None
    return TokenUsage(input_tokens=asked or 0, output_tokens=answered or 0)

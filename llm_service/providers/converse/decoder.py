"""A Converse answer, from bytes to events.

This runs for every message of every stream: it builds nothing but the events.
"""

from collections.abc import Iterable
from typing import Any

from llm_service.domain.completion import (
    ContentFilter,
    FilterStage,
    FinishReason,
    TokenUsage,
    UsageUpdate,
)
from llm_service.errors import GatewayError, ProviderProtocolError
from llm_service.providers.base import Accepted, AdapterEvent, Ended
from llm_service.providers.converse import blocks, failures, wire
from llm_service.providers.converse.filters import struck
from llm_service.providers.converse.frames import FrameReader, Message
from llm_service.providers.converse.parts import Names, Parts
from llm_service.providers.converse.usage import token_usage
from llm_service.providers.lenient import mapping, text
from llm_service.providers.vendor import Reply

_FINISH = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP_SEQUENCE,
    "max_tokens": FinishReason.MAX_OUTPUT_TOKENS,
    "model_context_window_exceeded": FinishReason.CONTEXT_WINDOW,
    "tool_use": FinishReason.TOOL_CALLS,
    "guardrail_intervened": FinishReason.CONTENT_FILTER,
    "content_filtered": FinishReason.CONTENT_FILTER,
    "refusal": FinishReason.REFUSAL,
    "malformed_tool_use": FinishReason.MALFORMED_TOOL_CALL,
    "pause_turn": FinishReason.PAUSED,
}
_NOT_AN_EVENT = frozenset({"exception", "error"})


class ConverseDecoder:
    """Reads one answer; a stream through `feed` and `end`, a whole one through `whole`.

    Attributes:
        done: the vendor ended the answer; `Ended` has been returned.
        failure: what went wrong, to be raised once the events before it are delivered.
    """

    __slots__ = (
        "_accepted",
        "_finish",
        "_model",
        "_more",
        "_parts",
        "_reader",
        "_reply",
        "_router",
        "_told",
        "_trace",
        "_usage",
        "done",
        "failure",
    )

    def __init__(self, kind: str, model: str, family: str, names: Names, reply: Reply) -> None:
        """Start an answer of `model`, which no answer repeats; `kind` stamps provider state."""
        self.done = False
        self.failure: GatewayError | None = None
        self._reply = reply
        self._model = model
        self._reader = FrameReader()
        self._parts = Parts(kind, family, names, reply.request_id)
        self._accepted = False
        self._finish: str | None = None  # the vendor's word
        self._more: Any = None  # the fields of the model's own answer that the caller asked for
        self._told = False  # metadata came, which ends the answer along with the reason to finish
        self._usage: TokenUsage | None = None
        self._trace: dict[str, Any] = {}
        self._router = ""

    @property
    def has_content(self) -> bool:
        """A part has started."""
        return self._parts.count > 0

    def feed(self, data: bytes) -> list[AdapterEvent]:
        """The events of what has arrived."""
        return self._read(self._reader.feed(data))

    def end(self) -> list[AdapterEvent]:
        """The events of the end of the bytes: `Ended` if the answer is whole, else a failure."""
        if self._finish is None:
            self.failure = ProviderProtocolError("the provider's stream broke off")
            return []
        self._parts.events = []
        self._end()
        return self._parts.events

    def whole(self, data: bytes) -> list[AdapterEvent]:
        """The events of an answer that came in one piece.

        Raises:
            GatewayError: it is an error, or holds no answer.
        """
        answer = wire.read_answer(data)
        message = None if answer.output is None else answer.output.message
        if message is None or (message.content is None and answer.stopReason is None):
            raise self._no_answer(data)
        events = self._parts.events = []
        self._accept()
        for index, block in enumerate(message.content or ()):
            blocks.take_whole(self._parts, index, block or {})
        self._usage = token_usage(answer.usage, self._parts.ran)
        self._note_trace(answer.trace)
        self._more = answer.additionalModelResponseFields
        self._finish = text(answer.stopReason)
        self._end()
        return events

    def _no_answer(self, data: bytes) -> GatewayError:
        said = wire.read(data)
        if type(said) is dict and failures.says_error(said):
            return self._failure(said, "")
        return ProviderProtocolError("the provider's answer holds no message")

    def _read(self, messages: Iterable[Message]) -> list[AdapterEvent]:
        events: list[AdapterEvent] = []
        self._parts.events = events
        try:
            for message in messages:
                self._take(message)
                if self.done:
                    break
        except GatewayError as failure:
            self.failure = failure
        return events

    def _take(self, message: Message) -> None:
        headers = message.headers
        if headers.get(":message-type") in _NOT_AN_EVENT:
            raise self._exception(message)
        said = wire.read_object(message.payload) if message.payload else {}
        name = headers.get(":event-type", "")
        if not name and len(said) == 1:
            name = next(iter(said))
        if type(inner := said.get(name)) is dict:  # some servers repeat the type around the event
            said = inner
        if name.endswith("Exception"):
            raise self._failure(said, name)
        self._event(name, said)

    def _event(self, name: str, said: dict[str, Any]) -> None:
        if not self._accepted:
            self._accept()
        match name:
            case "contentBlockDelta":
                blocks.take_delta(self._parts, said)
            case "contentBlockStart":
                blocks.take_start(self._parts, said)
            case "contentBlockStop":
                self._parts.stop(blocks.index_of(said))
            case "messageStop":
                self._finish = text(said.get("stopReason"))
                self._more = said.get("additionalModelResponseFields")
            case "metadata":
                self._metadata(said)
            case _:
                return  # "messageStart" says nothing new; what we do not know is no content
        if self._told and self._finish is not None:
            self._end()

    def _metadata(self, said: dict[str, Any]) -> None:
        self._told = True
        self._note_trace(said.get("trace"))
        usage = token_usage(said.get("usage"), self._parts.ran)
        if usage is not None:
            self._usage = usage
            self._parts.events.append(UsageUpdate(usage))

    def _note_trace(self, said: Any) -> None:  # noqa: ANN401 - as it lies on the wire
        trace = mapping(said)
        self._trace = mapping(trace.get("guardrail"))
        self._router = text(mapping(trace.get("promptRouter")).get("invokedModelId"))

    def _accept(self) -> None:
        self._accepted = True
        reply = self._reply
        self._parts.events.append(Accepted(self._model, reply.request_id, reply.warnings))

    def _end(self) -> None:
        parts = self._parts
        parts.close()
        if self._more is not None:
            parts.keep("additional_fields", self._more)
        said = self._finish or ""
        reason = _FINISH.get(said, FinishReason.OTHER)
        if reason is FinishReason.TOOL_CALLS and parts.answered_by_tool and not parts.calls:
            reason = FinishReason.STOP
        parts.events.append(Ended(reason, said, self._usage, self._router, self._filter(said)))
        self.done = True

    def _filter(self, said: str) -> ContentFilter | None:
        if said == "guardrail_intervened":
            return struck(self._trace)
        return ContentFilter(FilterStage.OUTPUT) if said == "content_filtered" else None

    def _exception(self, message: Message) -> GatewayError:
        """What a message that is no event means; its body, if there is one, says more."""
        headers = message.headers
        kind = headers.get(":exception-type") or headers.get(":error-code", "")
        try:
            said = mapping(wire.read(message.payload)) if message.payload else {}
        except ProviderProtocolError:
            said = {}
        return self._failure({"message": headers.get(":error-message"), **said}, kind)

    def _failure(self, said: dict[str, Any], kind: str) -> GatewayError:
        error = failures.from_object(said, kind=kind)
        return failures.failure(error, self._reply.headers, hide=self._reply.hide)

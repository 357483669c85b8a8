"""An answer, whole or streamed, from bytes to events.

This runs for every event of every stream: it builds nothing but the events.
"""

from collections.abc import Iterable
from typing import Any

from llm_service.domain.completion import ContentFilter, FinishReason, UsageUpdate
from llm_service.errors import GatewayError, ProviderProtocolError
from llm_service.providers.base import Accepted, AdapterEvent, Ended
from llm_service.providers.lenient import mapping, text
from llm_service.providers.messages import failures, wire
from llm_service.providers.messages.blocks import Blocks
from llm_service.providers.messages.usage import Usage
from llm_service.providers.sse import EventReader
from llm_service.providers.vendor import Reply

_FINISH = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP_SEQUENCE,
    "max_tokens": FinishReason.MAX_OUTPUT_TOKENS,
    "model_context_window_exceeded": FinishReason.CONTEXT_WINDOW,
    "tool_use": FinishReason.TOOL_CALLS,
    "pause_turn": FinishReason.PAUSED,
    "compaction": FinishReason.PAUSED,
    "refusal": FinishReason.REFUSAL,
    "content_filter": FinishReason.CONTENT_FILTER,  # ours, for a filter that struck as an error
}


class MessagesDecoder:
    """Reads one answer; a stream through `feed` and `end`, a whole one through `whole`.

    Attributes:
        done: the vendor ended the answer; `Ended` has been returned.
        failure: what went wrong, to be raised once the events before it are delivered.
    """

    __slots__ = (
        "_beside",
        "_blocks",
        "_details",
        "_filter",
        "_finish",
        "_id",
        "_model",
        "_reader",
        "_reply",
        "_started",
        "_usage",
        "done",
        "failure",
    )

    def __init__(
        self, kind: str, format_tool: str, reply: Reply, *, code_is_free: bool = False
    ) -> None:
        """Start an answer; `kind` stamps provider state.

        Calls of `format_tool` are the text of the answer; "": there is no such tool. `code_is_free`
        as `tools.code_is_free` tells.
        """
        self.done = False
        self.failure: GatewayError | None = None
        self._reply = reply
        self._reader = EventReader()
        self._blocks = Blocks(kind, format_tool)
        self._usage = Usage(code_is_free=code_is_free)
        self._started = False
        self._id = ""
        self._model = ""
        self._finish = ""
        self._filter: ContentFilter | None = None
        self._details: dict[str, Any] = {}  # of why it stopped
        self._beside: dict[str, Any] = {}  # what was said of the answer and has no place in it

    @property
    def has_content(self) -> bool:
        """A part has started."""
        return self._blocks.count > 0

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
        """The events of an answer that came in one piece.

        Raises:
            GatewayError: it is an error, or holds no answer.
        """
        events = self._blocks.events = []
        message = wire.read_message(data)
        if message.error or message.type == "error":
            self._refuse(message.error)
        elif message.content is None:
            raise ProviderProtocolError("the provider's answer holds no content")
        else:
            self._start(message)
        self._end()
        return events

    def _read(self, payloads: Iterable[bytes]) -> list[AdapterEvent]:
        events: list[AdapterEvent] = []
        self._blocks.events = events
        try:
            for payload in payloads:
                if payload:
                    self._take(wire.read_event(payload), payload)
                if self.done:
                    break
                if self._usage.news:  # before what follows: it counts nothing of that
                    self._tell_usage()
        except GatewayError as failure:
            self.failure = failure
        return events

    def _tell_usage(self) -> None:
        self._usage.news = False
        if (tokens := self._usage.tokens(self._blocks.ran)) is not None:
            self._blocks.events.append(UsageUpdate(tokens))

    def _take(self, event: wire.Event, data: bytes) -> None:
        kind = event.type
        if kind == "content_block_delta":
            self._begun()
            if event.delta is not None:
                self._blocks.grow(event.index, event.delta, data)
        elif kind == "content_block_start":
            self._begun()
            self._blocks.begin(event.index, event.content_block)
        elif kind == "content_block_stop":
            self._begun()
            self._blocks.end(event.index)
        else:
            self._take_rare(event)

    def _take_rare(self, event: wire.Event) -> None:
        """What comes once or twice; a ping, or an event we do not know, tells nothing."""
        kind = event.type
        if kind == "message_start":
            self._take_start(event)
        elif kind == "message_delta":
            self._begun()
            self._take_delta(event)
        elif kind == "message_stop":
            self._begun()
            if not self._finish:
                raise ProviderProtocolError("the provider did not say why its answer ended")
            self._end()
        elif kind == "error" or event.error:
            self._refuse(event.error)
            self._end()

    def _begun(self) -> None:
        if not self._started:
            raise ProviderProtocolError("the provider's stream lacks its start")

    def _take_start(self, event: wire.Event) -> None:
        """Relays repeat a start, or send one of their own before the vendor's: that is no harm.

        Another answer's start after content means that a relay lost its connection and asked anew;
        the two halves are not one answer.
        """
        message = wire.read_message(event.message)
        if self._started and self.has_content:
            if text(message.id) != self._id:
                raise ProviderProtocolError("the provider began another answer within its answer")
            return
        self._start(message)

    def _start(self, message: wire.Message) -> None:
        self._id = self._blocks.answer_id = text(message.id)
        self._model = text(message.model)
        if not self._started:
            self._started = True
            request_id = self._reply.request_id or self._id  # of the answer, if of nothing else
            self._blocks.events.append(Accepted(self._model, request_id, self._reply.warnings))
        self._usage.take(message.usage)
        self._finish = text(message.stop_reason)
        self._details = mapping(message.stop_details)
        for name in ("container", "context_management", "diagnostics", "input_transformations"):
            self._note(name, getattr(message, name))
        for block in message.content or ():
            self._blocks.whole(block)

    def _take_delta(self, event: wire.Event) -> None:
        self._usage.take(event.usage)
        self._note("context_management", event.context_management)
        self._note("input_transformations", event.input_transformations)
        if (delta := event.delta) is None:
            return
        self._finish = text(delta.stop_reason) or self._finish
        self._details = mapping(delta.stop_details) or self._details
        self._note("container", delta.container)

    def _note(self, name: str, said: Any) -> None:  # noqa: ANN401 - as it lies on the wire
        """Remember what says something: not an empty list, nor edits that were not made."""
        if said and said != {"applied_edits": []}:
            self._beside[name] = said

    def _refuse(self, said: Any) -> None:  # noqa: ANN401
        """Raise what an error means; a filter that struck ends the answer."""
        error = failures.from_object(said)
        struck = failures.content_filter(error)
        if struck is None:
            raise failures.failure(error, self._reply.headers, hide=self._reply.hide)
        if not self._started:
            self._start(wire.Message())
        self._finish = "content_filter"
        self._filter = struck

    def _end(self) -> None:
        blocks = self._blocks
        blocks.close()
        if self._finish == "refusal":
            self._decline()
        if others := self._usage.beside():
            self._beside["iterations"] = others
        if self._beside:
            blocks.keep("message", self._beside)
        model = blocks.model or self._model
        tokens = self._usage.tokens(self._blocks.ran)
        blocks.events.append(Ended(self._reason(), self._finish, tokens, model, self._filter))
        self.done = True

    def _decline(self) -> None:
        """Tell why the vendor declined, and the policy it names."""
        if self._details:
            self._blocks.refuse(self._details)
        if category := text(self._details.get("category")):
            self._filter = ContentFilter(None, (category,))

    def _reason(self) -> FinishReason:
        reason = _FINISH.get(self._finish, FinishReason.OTHER)
        if reason is FinishReason.TOOL_CALLS:
            if self._blocks.malformed:
                return FinishReason.MALFORMED_TOOL_CALL
            if self._blocks.formatted and not self._blocks.calls:
                return FinishReason.STOP
        return reason

"""A streamed answer, from bytes to events.

This runs for every chunk of every stream: it builds nothing but the events.
"""

from collections.abc import Iterable
from typing import Any

from llm_service.domain.completion import (
    ContentFilter,
    DeltaKind,
    FilterStage,
    FinishReason,
    TokenUsage,
    UsageUpdate,
)
from llm_service.errors import GatewayError, ProviderProtocolError, ProviderUnavailable
from llm_service.providers.base import Accepted, AdapterEvent, Ended
from llm_service.providers.chat import extras, failures, thoughts, wire
from llm_service.providers.chat.parts import Parts
from llm_service.providers.chat.tool_calls import Piece, written
from llm_service.providers.chat.usage import token_usage, with_tools_seen
from llm_service.providers.lenient import items, text
from llm_service.providers.sse import EventReader
from llm_service.providers.vendor import Reply

_FINISH = {
    "stop": FinishReason.STOP,
    "eos": FinishReason.STOP,
    "eos_token": FinishReason.STOP,
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP_SEQUENCE,
    "length": FinishReason.MAX_OUTPUT_TOKENS,
    "max_tokens": FinishReason.MAX_OUTPUT_TOKENS,
    "max_output_tokens": FinishReason.MAX_OUTPUT_TOKENS,
    "model_length": FinishReason.CONTEXT_WINDOW,
    "model_context_window_exceeded": FinishReason.CONTEXT_WINDOW,
    "tool_calls": FinishReason.TOOL_CALLS,
    "tool_use": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
    "sensitive": FinishReason.CONTENT_FILTER,
    "safety": FinishReason.CONTENT_FILTER,
    "refusal": FinishReason.REFUSAL,
    "malformed_function_call": FinishReason.MALFORMED_TOOL_CALL,
    "pause_turn": FinishReason.PAUSED,
}
# Words by which a vendor says that it broke off: what came is not the whole answer.
_BROKEN_OFF = frozenset({"error", "insufficient_system_resource", "network_error", "abort"})
_UNFINISHED = frozenset({"", "null"})
_DONE = b"[DONE]"
_NO_JSON = (b"", _DONE)
_OF_A_THOUGHT = frozenset({"type", "thinking", "closed"})
_SHORT = 16  # bytes; what is longer is not one of them


class ChatDecoder:
    """Reads one answer; a stream through `feed` and `end`, a whole one through `whole`.

    Attributes:
        done: the vendor ended the answer; `Ended` has been returned.
        failure: what went wrong, to be raised once the events before it are delivered.
    """

    __slots__ = (
        "_accepted",
        "_choice",
        "_executed",
        "_filter",
        "_finish",
        "_id",
        "_marks_end",
        "_model",
        "_parts",
        "_reader",
        "_reply",
        "_sources",
        "_stopped_by",
        "_usage",
        "_usage_is_news",
        "done",
        "failure",
    )

    def __init__(
        self,
        kind: str,
        reply: Reply,
        *,
        marks_end: bool = True,
        keeps_thoughts: bool = False,
        emulating_tool: str = "",
    ) -> None:
        """Start an answer.

        Args:
            kind: stamps provider state.
            reply: the response whose body is read.
            marks_end: a stream that ends without [DONE] was broken off, whatever came before.
            keeps_thoughts: the vendor wants its thinking back, so it gets provider state.
            emulating_tool: the arguments of calls of this tool are the answer's text; "": of none.
        """
        self.done = False
        self.failure: GatewayError | None = None
        self._reply = reply
        self._marks_end = marks_end
        self._reader = EventReader()
        self._parts = Parts(kind, keeps_thoughts=keeps_thoughts, emulating_tool=emulating_tool)
        self._accepted = False
        self._id = ""
        self._model = ""
        self._executed: list[Any] = []
        self._choice: int | None = None  # the index of the one choice we read
        self._finish = ""
        self._stopped_by: Any = None  # a stop sequence, where the server names it
        self._filter: ContentFilter | None = None
        self._usage: TokenUsage | None = None
        self._usage_is_news = False
        self._sources = extras.Sources()

    @property
    def has_content(self) -> bool:
        """A part has started."""
        return self._parts.count > 0

    def feed(self, data: bytes) -> list[AdapterEvent]:
        """The events of what has arrived."""
        return self._read(self._reader.feed(data))

    def end(self) -> list[AdapterEvent]:
        """The events of the end of the bytes: `Ended` if the answer is whole, else a failure."""
        # Once it is whole, the rest of an unfinished event is of no interest.
        is_whole = self._finish and not self._marks_end
        events = [] if is_whole else self._read(self._reader.end())
        if self.done or self.failure is not None:
            return events
        if not is_whole:
            self.failure = _broken_off()
            return events
        return self._read((_DONE,))

    def whole(self, data: bytes) -> list[AdapterEvent]:
        """The events of an answer that came in one piece.

        Raises:
            GatewayError: it is an error, or holds no answer.
        """
        events = self._parts.events = []
        chunk = wire.read(data)
        for choice in chunk.choices or ():
            choice.delta = choice.message or choice.delta
            for position, call in enumerate((choice.delta and choice.delta.tool_calls) or ()):
                call.index = position
        self._take(chunk, data)
        if not self.done:
            if not chunk.choices:
                raise ProviderProtocolError("the provider's answer holds no choice")
            self._end(FinishReason.OTHER)
        return events

    def _read(self, payloads: Iterable[bytes]) -> list[AdapterEvent]:
        events: list[AdapterEvent] = []
        self._parts.events = events
        try:
            for payload in payloads:
                if len(payload) < _SHORT and payload.strip() in _NO_JSON:
                    if payload.strip():
                        self._end(None)
                else:
                    self._take(wire.read(payload), payload)
                if self.done:
                    break
        except GatewayError as failure:
            self.failure = failure
        if self._usage_is_news and not self.done and self._usage is not None:
            self._usage_is_news = False
            events.append(UsageUpdate(self._usage))
        return events

    def _take(self, chunk: wire.Chunk, data: bytes) -> None:
        if chunk.error or not chunk.choices:
            self._take_without_answer(chunk, data)
            if self.done:
                return
        if not self._model:
            self._learn(chunk)
        if not self._accepted:
            self._accept()
        if chunk.usage is not None or chunk.x_groq is not None:
            self._take_usage(chunk, data)
        if chunk.citations is not None or chunk.search_results is not None:
            self._sources.note(chunk.citations, chunk.search_results)
        for choice in chunk.choices or ():
            self._take_choice(choice)

    def _take_without_answer(self, chunk: wire.Chunk, data: bytes) -> None:
        """Tell errors from the events that carry only usage, filter results or nothing we know."""
        if not (chunk.error or chunk.object == "error" or chunk.choices is None):
            return
        said = wire.read_object(data)
        if not (chunk.error or chunk.object == "error" or "message" in said or "detail" in said):
            return
        error = failures.from_object(said)
        stage = FilterStage.OUTPUT if self.has_content else FilterStage.INPUT
        self._filter = failures.content_filter(error, stage)
        if self._filter is None:
            raise failures.failure(error, self._reply.headers, hide=self._reply.hide)
        if not self._accepted:
            self._accept()
        self._finish = "content_filter"
        self._end(None)

    def _learn(self, chunk: wire.Chunk) -> None:
        """Who answers; Azure's first event, of filter results, leaves it empty."""
        self._id = self._id or text(chunk.id)
        self._model = text(chunk.model)

    def _accept(self) -> None:
        self._accepted = True
        request_id = self._reply.request_id or self._id  # of the answer, if of nothing else
        self._parts.events.append(Accepted(self._model, request_id, self._reply.warnings))

    def _take_usage(self, chunk: wire.Chunk, data: bytes) -> None:
        if chunk.usage is not None:
            self._count(chunk.usage, data)
        elif type(chunk.x_groq) is dict:
            self._count(chunk.x_groq.get("usage"))

    def _count(self, said: Any, data: bytes = b"") -> None:  # noqa: ANN401 - as it lies on the wire
        usage = token_usage(said, data)
        if usage is not None and usage != self._usage:
            self._usage = usage
            self._usage_is_news = True

    def _take_choice(self, choice: wire.Choice) -> None:
        if type(choice.index) is int:
            if self._choice is None:
                self._choice = choice.index
            elif choice.index != self._choice:
                return
        # A server that streams by one event sends what it would have sent whole.
        delta = choice.delta or (None if self.has_content else choice.message)
        if delta is not None:
            self._take_delta(delta, choice.logprobs)
        if choice.usage is not None:
            self._count(choice.usage)
        if choice.error:
            error = failures.from_object({"error": choice.error})
            raise failures.failure(error, self._reply.headers, hide=self._reply.hide)
        self._take_finish(choice)

    def _take_finish(self, choice: wire.Choice) -> None:
        if choice.stop_reason is not None:
            self._stopped_by = choice.stop_reason
        if type(choice.finish_reason) is str and choice.finish_reason not in _UNFINISHED:
            self._finish = choice.finish_reason
            if _FINISH.get(self._finish) is FinishReason.CONTENT_FILTER:
                categories = failures.struck(choice.content_filter_results)
                self._filter = ContentFilter(FilterStage.OUTPUT, categories)

    def _take_delta(self, delta: wire.Delta, logprobs: Any) -> None:  # noqa: ANN401
        if delta.reasoning_content or delta.reasoning or delta.reasoning_details:
            self._take_reasoning(delta)
        parts = self._parts
        content = delta.content
        if content and type(content) is list:
            self._take_blocks(content)
        elif logprobs is not None:
            self._take_probable(delta, logprobs)
        elif content and type(content) is str:
            parts.grow(DeltaKind.TEXT, content)
        if delta.refusal and type(delta.refusal) is str and logprobs is None:
            parts.grow(DeltaKind.REFUSAL, delta.refusal)
        if delta.tool_calls is not None or delta.function_call is not None:
            self._take_calls(delta)
        if delta.annotations or delta.audio or delta.images or delta.executed_tools:
            self._take_attachments(delta)

    def _take_reasoning(self, delta: wire.Delta) -> None:
        """Thinking, whose text may come only in signed pieces, or be unreadable altogether."""
        said = text(delta.reasoning_content) or text(delta.reasoning)
        details = items(delta.reasoning_details)
        if more := said or thoughts.text_of(details):
            self._parts.grow(DeltaKind.THINKING, more)
        if details:
            self._parts.detail(details)

    def _take_probable(self, delta: wire.Delta, said: Any) -> None:  # noqa: ANN401
        """Text with the probabilities of its tokens, of which one may be no whole character."""
        for kind, said_text, name in (
            (DeltaKind.TEXT, delta.content, "content"),
            (DeltaKind.REFUSAL, delta.refusal, "refusal"),
        ):
            tokens = extras.logprobs(said, name)
            grown = text(said_text)
            if grown or tokens:
                self._parts.grow(kind, grown, tokens)

    def _take_blocks(self, blocks: list[Any]) -> None:
        """Content as a list of typed blocks, as Mistral sends it."""
        for block in blocks:
            kind = block.get("type") if type(block) is dict else None
            if kind == "text" and type(block.get("text")) is str:
                self._grow(DeltaKind.TEXT, block["text"])
            elif kind == "refusal" and type(block.get("refusal")) is str:
                self._grow(DeltaKind.REFUSAL, block["refusal"])
            elif kind == "thinking" and type(block.get("thinking")) in (str, list):
                self._take_thought(block)
            else:
                self._parts.opaque("block", block)

    def _take_thought(self, block: dict[str, Any]) -> None:
        said = block["thinking"]
        inside = [{"type": "text", "text": said}] if type(said) is str else said
        for piece in inside:
            if type(piece) is dict and piece.get("type", "text") == "text":
                self._grow(DeltaKind.THINKING, text(piece.get("text")))
            else:
                self._parts.opaque("block", {**block, "thinking": [piece]})
        more = {name: block[name] for name in block.keys() - _OF_A_THOUGHT}
        if more:
            self._parts.remember(more)

    def _grow(self, kind: DeltaKind, more: str) -> None:
        if more:
            self._parts.grow(kind, more)

    def _take_calls(self, delta: wire.Delta) -> None:
        for call in delta.tool_calls or ():
            index = call.index if type(call.index) is int else None
            call_id = text(call.id)
            if call.function is not None:
                said = Piece(
                    index, call_id, text(call.function.name), written(call.function.arguments)
                )
            elif call.custom is not None:
                said = Piece(index, call_id, text(call.custom.name), text(call.custom.input))
            else:
                said = Piece(index, call_id, "", "")
            self._parts.call(said, self._id)
        if (function := delta.function_call) is not None:
            self._parts.call(
                Piece(None, "", text(function.name), written(function.arguments)), self._id
            )

    def _take_attachments(self, delta: wire.Delta) -> None:
        for annotation in delta.annotations if type(delta.annotations) is list else ():
            citation = extras.url_citation(annotation)
            if citation is not None:
                self._parts.cite(citation)
            else:
                self._parts.opaque("annotation", annotation)
        if type(delta.audio) is dict:
            audio = delta.audio
            if transcript := text(audio.get("transcript")):
                self._parts.grow(DeltaKind.TEXT, transcript)
            if audio.get("id") or audio.get("data"):
                self._parts.audio(text(audio.get("id")), text(audio.get("data")))
        for image in delta.images if type(delta.images) is list else ():
            self._parts.image(image)
        for tool in delta.executed_tools if type(delta.executed_tools) is list else ():
            self._parts.opaque("executed_tool", tool)
            self._executed.append(tool)

    def _end(self, otherwise: FinishReason | None) -> None:
        """Close the answer; `otherwise` is why it finished if the vendor gave no reason."""
        if not self._finish and otherwise is None:
            raise _broken_off()
        if self._finish in _BROKEN_OFF:
            raise ProviderUnavailable("the provider broke off its answer")
        for citation in self._sources.all():
            self._parts.cite(citation)
        self._parts.close(self._id)
        usage = with_tools_seen(self._usage, self._executed, self._model)
        self._parts.events.append(
            Ended(self._reason(), self._finish, usage, self._model, self._filter)
        )
        self.done = True

    def _reason(self) -> FinishReason:
        reason = _FINISH.get(self._finish)
        if reason is None:
            reason = _FINISH.get(self._finish.lower(), FinishReason.OTHER)
        if reason is FinishReason.TOOL_CALLS and self._parts.emulated_only:
            return FinishReason.STOP
        # OpenAI says so of calls it was forced to make, many servers of every call.
        if reason is FinishReason.STOP and self._parts.called:
            return FinishReason.TOOL_CALLS
        if reason is FinishReason.STOP and self._parts.refused:
            return FinishReason.REFUSAL
        if reason is FinishReason.STOP and type(self._stopped_by) is str and self._stopped_by:
            return FinishReason.STOP_SEQUENCE
        return reason


def _broken_off() -> ProviderProtocolError:
    return ProviderProtocolError("the provider's stream ended before its answer did")

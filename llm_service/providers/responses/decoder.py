"""An answer of the Responses API, from bytes to events.

This runs for every event of every stream: for those that grow a part it builds nothing else.
"""

from collections.abc import Iterable
from typing import Any

from llm_service.domain.completion import ContentFilter, DeltaKind, FilterStage, FinishReason
from llm_service.errors import GatewayError, ProviderProtocolError, ProviderUnavailable
from llm_service.providers.base import Accepted, AdapterEvent, Ended
from llm_service.providers.chat import failures as chat
from llm_service.providers.chat.extras import logprobs
from llm_service.providers.lenient import items, mapping, text
from llm_service.providers.responses import calls, failures, wire
from llm_service.providers.responses.parts import Parts
from llm_service.providers.responses.usage import token_usage
from llm_service.providers.responses.wire import Event
from llm_service.providers.sse import EventReader
from llm_service.providers.vendor import Reply

Json = dict[str, Any]

# What grows, by the event: the kind of text, the list of the item it is in, its place there.
_DELTAS = {
    "response.output_text.delta": (DeltaKind.TEXT, "content", "content_index"),
    "response.refusal.delta": (DeltaKind.REFUSAL, "content", "content_index"),
    "response.reasoning_summary_text.delta": (DeltaKind.THINKING, "summary", "summary_index"),
    "response.reasoning_text.delta": (DeltaKind.THINKING, "content", "content_index"),
    "response.function_call_arguments.delta": (DeltaKind.ARGUMENTS_JSON, "", "content_index"),
    "response.custom_tool_call_input.delta": (DeltaKind.ARGUMENTS_JSON, "", "content_index"),
    "response.mcp_call_arguments.delta": (DeltaKind.ARGUMENTS_JSON, "", "content_index"),
}
# The same when whole, for servers that send no pieces of it: the field it is in.
_WHOLES = {
    "response.output_text.done": "text",
    "response.refusal.done": "refusal",
    "response.reasoning_summary_text.done": "text",
    "response.reasoning_text.done": "text",
    "response.function_call_arguments.done": "arguments",
    "response.custom_tool_call_input.done": "input",
    "response.mcp_call_arguments.done": "arguments",
}
# The events by which an answer ends, and what its status is if it does not say.
_ENDS = {
    "response.completed": "completed",
    "response.done": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
}
_INCOMPLETE = {
    "max_output_tokens": FinishReason.MAX_OUTPUT_TOKENS,
    "max_tokens": FinishReason.MAX_OUTPUT_TOKENS,
    "length": FinishReason.MAX_OUTPUT_TOKENS,
    "context_length": FinishReason.CONTEXT_WINDOW,
    "model_context_window_exceeded": FinishReason.CONTEXT_WINDOW,
    "content_filter": FinishReason.CONTENT_FILTER,
    "max_tool_calls": FinishReason.PAUSED,
    "pause_turn": FinishReason.PAUSED,
}
_DONE = b"[DONE]"
_SHORT = 16  # bytes; what is longer is no such word


class ResponsesDecoder:
    """Reads one answer; a stream through `feed` and `end`, a whole one through `whole`.

    Attributes:
        done: the vendor ended the answer; `Ended` has been returned.
        failure: what went wrong, to be raised once the events before it are delivered.
    """

    __slots__ = ("_accepted", "_model", "_parts", "_reader", "_reply", "done", "failure")

    def __init__(self, kind: str, format_tool: str, reply: Reply) -> None:
        """Start an answer; `kind` stamps provider state, `format_tool` as `Parts` has it."""
        self.done = False
        self.failure: GatewayError | None = None
        self._reply = reply
        self._reader = EventReader()
        self._parts = Parts(kind, format_tool)
        self._accepted = False
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
            events += self._read((_DONE,))
        return events

    def whole(self, data: bytes) -> list[AdapterEvent]:
        """The events of an answer that came in one piece.

        Raises:
            GatewayError: it is an error, or holds no answer.
        """
        events = self._parts.events = []
        said = wire.read_object(data)
        if type(said.get("output")) is list:
            self._end(said, text(said.get("status")) or "completed")
        elif said.get("status") in ("failed", "cancelled", "incomplete"):
            self._end(said, text(said["status"]))
        elif said.get("error") or said.get("type") == "error" or "detail" in said:
            self._fail(said)
        else:
            raise ProviderProtocolError("the provider's answer holds no output")
        return events

    def _read(self, payloads: Iterable[bytes]) -> list[AdapterEvent]:
        events: list[AdapterEvent] = []
        self._parts.events = events
        try:
            for payload in payloads:
                if len(payload) > _SHORT or payload.strip():
                    self._take(payload)
                if self.done:
                    break
        except GatewayError as failure:
            self.failure = failure
        return events

    def _take(self, payload: bytes) -> None:
        if len(payload) < _SHORT and payload.strip() == _DONE:
            raise ProviderProtocolError("the provider's stream ended before its answer did")
        event = wire.read(payload)
        grown = _DELTAS.get(event.type) if type(event.type) is str else None
        if grown is None:
            self._take_object(wire.read_object(payload), text(event.type))
            return
        if not self._accepted:
            self._accept({})
        kind, where, place = grown
        self._parts.grow_item(
            event.output_index,
            event.item_id,
            (where, getattr(event, place)),
            kind,
            text(event.delta),
            _tokens(event),
        )

    def _take_object(self, said: Json, kind: str) -> None:
        if kind in _ENDS:
            response = mapping(said.get("response"))
            self._end(response, text(response.get("status")) or _ENDS[kind])
        elif kind == "error" or (not kind and said.get("error")):
            self._fail(said)
        elif not kind and type(said.get("output")) is list:
            self._end(said, text(said.get("status")) or "completed")
        else:
            if not self._accepted:
                self._accept(mapping(said.get("response")))
            self._take_progress(said, kind)

    def _take_progress(self, said: Json, kind: str) -> None:
        """Items that begin and end, and what is cited; other news says nothing these do not."""
        at = said.get("output_index")
        if kind == "response.output_item.added":
            self._parts.open_item(at, mapping(said.get("item")))
        elif kind == "response.output_item.done":
            if item := mapping(said.get("item")):
                self._parts.close_item(at, item)
        elif kind in _WHOLES:
            grows, where, place = _DELTAS[kind.removesuffix("done") + "delta"]
            whole = text(said.get(_WHOLES[kind]))
            self._parts.complete_item(
                at, said.get("item_id"), (where, said.get(place)), grows, whole
            )
        elif kind == "response.output_text.annotation.added":
            self._parts.cite_item(
                at, said.get("item_id"), said.get("content_index"), said.get("annotation")
            )

    def _accept(self, response: Json) -> None:
        self._accepted = True
        self._model = text(response.get("model"))
        self._parts.answer_id = text(response.get("id"))
        self._parts.own_tools = calls.own_tools(response.get("tools"))
        request_id = self._reply.request_id or self._parts.answer_id
        self._parts.events.append(Accepted(self._model, request_id, self._reply.warnings))

    def _end(self, response: Json, status: str) -> None:
        if status == "failed":
            self._fail({"error": response.get("error"), **_filters(response)}, response)
            return
        if status not in ("completed", "incomplete"):
            if status == "cancelled":
                raise ProviderUnavailable("the provider broke off its answer")
            raise ProviderProtocolError("the provider's answer is not whole")
        if not self._accepted:
            self._accept(response)
        self._parts.close(items(response.get("output")))
        word = status
        if status == "incomplete":
            word = text(mapping(response.get("incomplete_details")).get("reason")) or status
        self._finish(response, word)

    def _finish(self, response: Json, word: str) -> None:
        struck: ContentFilter | None = None
        if word == "completed":
            reason = self._completed()
        else:
            reason = _INCOMPLETE.get(word, FinishReason.OTHER)
        if reason is FinishReason.CONTENT_FILTER:
            struck = failures.struck(response) or ContentFilter(FilterStage.OUTPUT)
        usage = token_usage(response, self._parts.ran)
        model = text(response.get("model")) or self._model
        self._parts.events.append(Ended(reason, word, usage, model, struck))
        self.done = True

    def _completed(self) -> FinishReason:
        if self._parts.called:
            return FinishReason.TOOL_CALLS
        return FinishReason.REFUSAL if self._parts.refused else FinishReason.STOP

    def _fail(self, said: Json, response: Json | None = None) -> None:
        """Raise the error `said` holds; a filter that struck ends the answer of `response`."""
        response = response or {}
        error = chat.from_object(said)
        stage = FilterStage.OUTPUT if self.has_content else FilterStage.INPUT
        struck = failures.content_filter(error, said, stage)
        if struck is None:
            raise failures.failure(error, self._reply.headers, self._reply.hide)
        if not self._accepted:
            self._accept(response)
        self._parts.close(items(response.get("output")))
        usage = token_usage(response, self._parts.ran)
        model = text(response.get("model")) or self._model
        self._parts.events.append(
            Ended(FinishReason.CONTENT_FILTER, "content_filter", usage, model, struck)
        )
        self.done = True


def _filters(response: Json) -> Json:
    return {"content_filters": response.get("content_filters")}


def _tokens(event: Event) -> Any:  # noqa: ANN401 - a tuple of TokenLogprob
    return logprobs({"content": event.logprobs}, "content") if event.logprobs else ()

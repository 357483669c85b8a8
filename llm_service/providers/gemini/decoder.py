"""An answer of generateContent, from bytes to events.

This runs for every chunk of every stream: it builds nothing but the events.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from llm_service.domain.completion import (
    ContentFilter,
    DeltaKind,
    FilterStage,
    FinishReason,
    UsageUpdate,
)
from llm_service.domain.content import Text, Thinking
from llm_service.errors import GatewayError, ProviderProtocolError
from llm_service.providers.base import MOST_FINISH_MESSAGE, Accepted, AdapterEvent, Ended
from llm_service.providers.gemini import failures, grounding, wire
from llm_service.providers.gemini.parts import Parts
from llm_service.providers.gemini.probabilities import logprobs
from llm_service.providers.gemini.usage import Meter
from llm_service.providers.lenient import items, mapping, text
from llm_service.providers.sse import EventReader
from llm_service.providers.vendor import Reply

_FINISH = {
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.MAX_OUTPUT_TOKENS,
    "SAFETY": FinishReason.CONTENT_FILTER,
    "RECITATION": FinishReason.CONTENT_FILTER,
    "BLOCKLIST": FinishReason.CONTENT_FILTER,
    "PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "SPII": FinishReason.CONTENT_FILTER,
    "MODEL_ARMOR": FinishReason.CONTENT_FILTER,
    "ESCALATION": FinishReason.CONTENT_FILTER,
    "PUP_LIMITED_DISABLED": FinishReason.CONTENT_FILTER,
    "IMAGE_SAFETY": FinishReason.CONTENT_FILTER,
    "IMAGE_PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "IMAGE_RECITATION": FinishReason.CONTENT_FILTER,
    "MALFORMED_FUNCTION_CALL": FinishReason.MALFORMED_TOOL_CALL,
    "UNEXPECTED_TOOL_CALL": FinishReason.MALFORMED_TOOL_CALL,
    "CONTINUATION": FinishReason.PAUSED,
}
_DONE = b"[DONE]"
_SHORT = 16  # bytes; what is longer is not one of the payloads without JSON
_METADATA = ("groundingMetadata", "citationMetadata", "urlContextMetadata")
# An error that breaks a stream off comes bare, not as an event.
_BARE_ERROR = re.compile(rb'\{\s{0,64}"error"\s{0,16}:')
_MOST_TAIL = 64 * 1024  # bytes
_MOST_CODE = 64


class GeminiDecoder:
    """Reads one answer; a stream through `feed` and `end`, a whole one through `whole`.

    A stream ends with its bytes: reasons to finish may be repeated, and what belongs to the answer
    may follow them.

    Attributes:
        done: the vendor ended the answer; `Ended` has been returned.
        failure: what went wrong, to be raised once the events before it are delivered.
    """

    __slots__ = (
        "_accepted",
        "_asked_model",
        "_continuation",
        "_filter",
        "_finish",
        "_finish_message",
        "_id",
        "_metadata",
        "_meter",
        "_model",
        "_parts",
        "_reader",
        "_reply",
        "_tail",
        "_tail_size",
        "_wire_parts",
        "done",
        "failure",
    )

    def __init__(self, kind: str, answer_tool: str, reply: Reply, *, model: str = "") -> None:
        """Start an answer.

        Args:
            kind: stamps provider state.
            answer_tool: the tool whose arguments are the answer's text; "": there is none.
            reply: of the response to read.
            model: that was asked; how its searches are charged depends on it.
        """
        self.done = False
        self.failure: GatewayError | None = None
        self._reply = reply
        self._reader = EventReader()
        self._parts = Parts(kind, answer_tool)
        self._accepted = False
        self._id = ""
        self._asked_model = model
        self._model = ""
        self._finish = ""
        self._finish_message = ""
        self._filter: ContentFilter | None = None
        self._meter = Meter()
        self._metadata: dict[str, Any] = {}
        self._continuation = ""
        self._wire_parts: dict[int, int] = {}
        self._tail: list[bytes] = []  # what came since the last event, for errors without one
        self._tail_size = 0

    @property
    def has_content(self) -> bool:
        """A part has started."""
        return self._parts.count > 0

    def feed(self, data: bytes) -> list[AdapterEvent]:
        """The events of what has arrived."""
        before = self._accepted, self._parts.count
        events = self._read(self._reader.feed(data))
        if events or before != (self._accepted, self._parts.count):
            self._tail.clear()
            self._tail_size = 0
        if self._tail_size < _MOST_TAIL:
            self._tail.append(data)
            self._tail_size += len(data)
        return events

    def end(self) -> list[AdapterEvent]:
        """The events of the end of the bytes: `Ended` if the answer is whole, else a failure."""
        # Once a reason to finish was given, the rest of an unfinished event is of no interest.
        events = [] if self._finish else self._read(self._reader.end())
        if self.failure is None:
            self._parts.events = events
            try:
                self._end(otherwise=None)
            except GatewayError as failure:
                self.failure = failure
        return events

    def whole(self, data: bytes) -> list[AdapterEvent]:
        """The events of an answer that came in one piece.

        Raises:
            GatewayError: it is an error, or holds no answer.
        """
        events = self._parts.events = []
        answered = False
        payloads = wire.split(data)
        for payload in payloads:
            chunk = wire.read(payload)
            self._take(chunk, payload, whole=len(payloads) == 1)
            answered = answered or bool(chunk.candidates or self._finish)
        if not answered:
            raise ProviderProtocolError("the provider's answer holds no candidate")
        self._end(FinishReason.OTHER)
        return events

    def _read(self, payloads: Iterable[bytes]) -> list[AdapterEvent]:
        events: list[AdapterEvent] = []
        self._parts.events = events
        try:
            for payload in payloads:
                if len(payload) < _SHORT and payload.strip() in (b"", _DONE):
                    continue
                chunk = wire.read(payload) if not self._finish else _read_leniently(payload)
                self._take(chunk, payload)
        except GatewayError as failure:
            self.failure = failure
        usage = self._meter.news(now=self.failure is not None)
        if usage is not None:
            events.append(UsageUpdate(usage))
        return events

    def _take(self, chunk: wire.Chunk, data: bytes, *, whole: bool = False) -> None:
        if chunk.error is not None:
            error = failures.from_object({"error": chunk.error})
            raise failures.failure(error, self._reply.headers, hide=self._reply.hide)
        if not (self._accepted and self._model and self._id):
            self._learn(chunk)
        if chunk.usageMetadata is not wire.NOTHING:
            self._meter.take(chunk.usageMetadata)
        if chunk.promptFeedback is not None:
            self._take_feedback(mapping(chunk.promptFeedback))
        for place, candidate in enumerate(chunk.candidates or ()):
            if candidate.index in (None, 0):
                self._take_candidate(candidate, data, place, whole=whole)

    def _learn(self, chunk: wire.Chunk) -> None:
        self._model = self._model or text(chunk.modelVersion)
        self._id = self._id or text(chunk.responseId)
        if not self._accepted:
            self._accepted = True
            request_id = self._reply.request_id or self._id  # of the answer, if of nothing else
            self._parts.events.append(Accepted(self._model, request_id, self._reply.warnings))

    def _take_feedback(self, said: dict[str, Any]) -> None:
        """The prompt was blocked, and there will be no answer."""
        if reason := text(said.get("blockReason")):
            self._finish = self._finish or reason
            self._finish_message = text(said.get("blockReasonMessage"))
            categories = _struck(said.get("safetyRatings")) or (reason[:_MOST_CODE],)
            self._filter = ContentFilter(FilterStage.INPUT, categories)

    def _take_candidate(
        self, candidate: wire.Candidate, data: bytes, place: int, *, whole: bool
    ) -> None:
        tokens = logprobs(candidate.logprobsResult) if candidate.logprobsResult else ()
        parts = candidate.content.parts if candidate.content is not None else None
        raw: list[dict[str, Any]] | None = None
        for position, part in enumerate(parts or ()):
            if part.text and type(part.text) is str and not part.thought:
                self._parts.grow(DeltaKind.TEXT, part.text, text(part.thoughtSignature), tokens)
                tokens = ()
                if whole:
                    self._wire_parts[position] = self._parts.text_part()
            elif not self._take_part(part):
                raw = raw or wire.raw_parts(data, place)
                self._keep(raw[position])
        if tokens:
            self._parts.probable(tokens)
        self._take_metadata(candidate)
        if reason := text(candidate.finishReason):
            self._finish_for(reason, candidate.safetyRatings)
        self._finish_message = text(candidate.finishMessage) or self._finish_message

    def _take_metadata(self, candidate: wire.Candidate) -> None:
        """It may come in pieces; what is said again replaces what was said."""
        for name in _METADATA:
            if said := mapping(getattr(candidate, name)):
                told = self._metadata.setdefault(name, {})
                told.update({key: value for key, value in said.items() if value})
        if candidate.continuationToken is not None:
            self._continuation = text(candidate.continuationToken)

    def _take_part(self, part: wire.Part) -> bool:
        """Whether the part is of a kind we know, and was taken."""
        signature = text(part.thoughtSignature)
        parts = self._parts
        if part.functionCall is not None:
            parts.call(part.functionCall, signature, self._id or self._reply.request_id)
        elif type(part.inlineData) is dict and not part.thought:
            parts.media(part.inlineData, signature)
        elif type(part.fileData) is dict and not part.thought:
            parts.file(part.fileData, signature)
        elif type(part.text) is str or (signature and part.inlineData is None):
            more = text(part.text)
            if more or signature:
                kind = DeltaKind.THINKING if part.thought else DeltaKind.TEXT
                parts.grow(kind, more, signature)
        else:
            return False
        return True

    def _keep(self, said: dict[str, Any]) -> None:
        """A part of a tool that Google runs, a thought that is a picture, or a kind yet unknown."""
        if said:
            content = Thinking("", redacted=True) if said.get("thought") is True else Text("")
            self._parts.opaque(said, content)

    def _finish_for(self, reason: str, ratings: Any) -> None:  # noqa: ANN401
        self._finish = reason
        if _FINISH.get(reason) is FinishReason.CONTENT_FILTER:
            categories = _struck(ratings) or (reason[:_MOST_CODE],)
            self._filter = ContentFilter(FilterStage.OUTPUT, categories)

    def _end(self, otherwise: FinishReason | None) -> None:
        """Close the answer; `otherwise` is why it finished if the vendor gave no reason."""
        if not self._finish and otherwise is None:
            raise self._broken_off()
        self._parts.end_call()
        self._cite()
        if self._continuation and self._finish == "CONTINUATION":
            self._parts.keep("continuationToken", self._continuation)
        self._parts.close()
        usage = self._meter.latest()
        if usage is not None:
            used = grounding.tool_uses(self._metadata, self._asked_model)
            usage = replace(usage, provider_tool_uses=used)
        message = self._finish_message[:MOST_FINISH_MESSAGE]
        self._parts.events.append(
            Ended(self._reason(), self._finish, usage, self._model, self._filter, message)
        )
        self.done = True

    def _reason(self) -> FinishReason:
        if self._filter is not None and self._filter.stage is FilterStage.INPUT:
            return FinishReason.CONTENT_FILTER
        reason = _FINISH.get(self._finish, FinishReason.OTHER)
        if reason is FinishReason.STOP and self._parts.called:
            return FinishReason.TOOL_CALLS
        return reason

    def _cite(self) -> None:
        """Tell what the answer rests on, and keep what of it the contract has no place for."""
        if not self._metadata:
            return
        parts = self._parts
        said = {part: "".join(pieces) for part, pieces in parts.texts.items()}
        texts = grounding.Texts(said, self._wire_parts)
        for part, citation in grounding.citations(self._metadata, texts):
            parts.cite_in(parts.text_part() if part is None else part, citation)
        parts.keep("metadata", self._metadata)

    def _broken_off(self) -> GatewayError:
        """The error that came instead of an end, as well as can be told."""
        lines = b"".join(self._tail).splitlines()
        if self._accepted:
            del lines[:1]  # of an event that was read
        bare = b"\n".join(line for line in lines if not line.startswith((b"data:", b":")))
        match = _BARE_ERROR.search(bare)
        if match is not None:
            try:
                found = bare[match.start() :].decode(errors="replace")
                said, _ = json.JSONDecoder().raw_decode(found)
            except (ValueError, RecursionError):
                said = None
            if said is not None:
                error = failures.from_object(said)
                return failures.failure(error, self._reply.headers, hide=self._reply.hide)
        return ProviderProtocolError("the provider's stream ended before its answer did")


def _read_leniently(data: bytes) -> wire.Chunk:
    """What follows a reason to finish may be part of the answer, or nothing that can be read."""
    try:
        return wire.read(data)
    except ProviderProtocolError:
        return wire.Chunk()


def _struck(ratings: Any) -> tuple[str, ...]:  # noqa: ANN401 - as it lies on the wire
    """The categories that were blocked."""
    return tuple(
        text(rating.get("category"))[:_MOST_CODE]
        for rating in map(mapping, items(ratings))
        if rating.get("blocked") is True and text(rating.get("category"))
    )

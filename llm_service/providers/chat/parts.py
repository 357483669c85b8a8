"""The parts of an answer as they open, grow and close."""

import base64

import msgspec

from llm_service.domain.completion import (
    AudioDelta,
    CitationDelta,
    DeltaKind,
    PartDelta,
    PartFinished,
    PartStarted,
)
from llm_service.domain.content import (
    Citation,
    Content,
    Media,
    Modality,
    Part,
    ProviderState,
    Refusal,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
)
from llm_service.errors import ProviderProtocolError
from llm_service.providers.base import AdapterEvent
from llm_service.providers.chat.tool_calls import OpenCall, OpenCalls, Piece

_EMPTY: dict[DeltaKind, Content] = {
    DeltaKind.TEXT: Text(""),
    DeltaKind.THINKING: Thinking(""),
    DeltaKind.REFUSAL: Refusal(""),
}


class Parts:
    """Turns pieces into part events, numbered in order of first appearance.

    Text, thinking and refusal take turns: a piece of one kind closes the part of another. Tool
    calls and audio stay open beside them until `close`. Pieces that touch become one delta.

    Attributes:
        events: where events go; the owner takes the list and puts an empty one in its place.
        count: the parts started so far.
        refused: one of them is a refusal.
    """

    __slots__ = ("_audio", "_calls", "_kind", "_open", "_provider", "count", "events", "refused")

    def __init__(self, provider: str) -> None:
        self.events: list[AdapterEvent] = []
        self.refused = False
        self._provider = provider
        self.count = 0
        self._open = -1  # the part of text, thinking or refusal that grows
        self._kind: DeltaKind | None = None
        self._calls = OpenCalls()
        self._audio: _Audio | None = None

    def grow(self, kind: DeltaKind, text: str, logprobs: tuple[TokenLogprob, ...] = ()) -> None:
        if kind is not self._kind:
            self._turn_to(kind)
        self._add(self._open, kind, text, logprobs)

    def call(self, piece: Piece, answer_id: str) -> None:
        call = self._calls.take(piece)
        if call.part >= 0:
            if piece.arguments:
                self._add(call.part, DeltaKind.ARGUMENTS_JSON, piece.arguments)
        elif call.name and (call.id or call.arguments):
            self._announce(call, answer_id)

    def cite(self, citation: Citation) -> None:
        if self._kind is not DeltaKind.TEXT:
            self._turn_to(DeltaKind.TEXT)
        self.events.append(CitationDelta(self._open, citation))

    def audio(self, audio_id: str, encoded: str) -> None:
        """Take a piece of base64 text, which need not end where three bytes end."""
        if self._audio is None:
            self._audio = _Audio(self._start(Media(Modality.AUDIO, data=b"")))
        audio = self._audio
        audio.id = audio.id or audio_id
        encoded = audio.rest + encoded
        whole = len(encoded) & ~3
        audio.rest = encoded[whole:]
        if whole:
            try:
                data = base64.b64decode(encoded[:whole], validate=True)
            except ValueError as error:
                raise ProviderProtocolError("the provider sent audio that is not base64") from error
            self.events.append(AudioDelta(audio.part, data))

    def opaque(self, name: str, content: object) -> None:
        """Keep what the contract has no place for as the state of a part without text."""
        self._finish_open()
        self.events.append(PartFinished(self._start(Text("")), self._state(name, content)))

    def close(self, answer_id: str) -> None:
        """Finish every part, and announce calls that were held back for want of a name or an id."""
        self._finish_open()
        if (audio := self._audio) is not None:
            state = self._state("audio", {"id": audio.id}) if audio.id else None
            self.events.append(PartFinished(audio.part, state))
        for call in self._calls.calls:
            if call.part < 0:
                self._announce(call, answer_id)
            self.events.append(PartFinished(call.part))

    def _announce(self, call: OpenCall, answer_id: str) -> None:
        # A call without an id could not be answered: it gets one that no other turn has.
        call_id = call.id or "_".join(filter(None, ("call", answer_id, str(self.count))))
        call.part = self._start(ToolCall(call_id, call.name))
        if call.arguments:
            self._add(call.part, DeltaKind.ARGUMENTS_JSON, "".join(call.arguments))

    def _turn_to(self, kind: DeltaKind) -> None:
        self._finish_open()
        self._open = self._start(_EMPTY[kind])
        self._kind = kind
        self.refused = self.refused or kind is DeltaKind.REFUSAL

    def _finish_open(self) -> None:
        if self._kind is not None:
            self.events.append(PartFinished(self._open))
            self._kind = None

    def _start(self, content: Content) -> int:
        index = self.count
        self.count = index + 1
        self.events.append(PartStarted(index, Part(content)))
        return index

    def _add(
        self, index: int, kind: DeltaKind, text: str, logprobs: tuple[TokenLogprob, ...] = ()
    ) -> None:
        events = self.events
        if events:
            last = events[-1]
            if type(last) is PartDelta and last.index == index:
                last.text += text
                if logprobs:
                    last.logprobs += logprobs
                return
        events.append(PartDelta(index, kind, text, logprobs))

    def _state(self, name: str, content: object) -> ProviderState:
        return ProviderState(self._provider, msgspec.json.encode({name: content}))


class _Audio:
    """The audio part: its index, the vendor's id, and base64 text that is no whole group yet."""

    __slots__ = ("id", "part", "rest")

    def __init__(self, part: int) -> None:
        self.part = part
        self.id = ""
        self.rest = ""

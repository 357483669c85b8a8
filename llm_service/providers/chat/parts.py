"""The parts of a Chat Completions answer, whose pieces do not say where a part ends."""

import base64
from typing import Any

from llm_service.domain.completion import AudioDelta, DeltaKind
from llm_service.domain.content import (
    Citation,
    Content,
    Media,
    Modality,
    Refusal,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
)
from llm_service.errors import ProviderProtocolError
from llm_service.providers.chat import thoughts
from llm_service.providers.chat.tool_calls import OpenCall, OpenCalls, Piece
from llm_service.providers.lenient import mapping, text
from llm_service.providers.parts import PartWriter

_EMPTY: dict[DeltaKind, Content] = {
    DeltaKind.TEXT: Text(""),
    DeltaKind.THINKING: Thinking(""),
    DeltaKind.REFUSAL: Refusal(""),
}


class Parts(PartWriter):
    """Turns pieces into part events.

    Text, thinking and refusal take turns: a piece of one kind closes the part of another. Tool
    calls and audio stay open beside them until `close`.

    Attributes:
        refused: one of the parts is a refusal.
    """

    __slots__ = (
        "_audio",
        "_calls",
        "_details",
        "_emulated",
        "_emulating_tool",
        "_keeps_thoughts",
        "_kind",
        "_more",
        "_open",
        "refused",
    )

    def __init__(
        self, provider: str, *, keeps_thoughts: bool = False, emulating_tool: str = ""
    ) -> None:
        super().__init__(provider)
        self._keeps_thoughts = keeps_thoughts
        self._emulating_tool = emulating_tool
        self._emulated = False  # a call of that tool has come
        self._more: dict[str, Any] = {}  # what the text of the open thinking does not say
        self._details = thoughts.Details()  # the same, in signed pieces
        self.refused = False
        self._open = -1  # the part of text, thinking or refusal that grows
        self._kind: DeltaKind | None = None
        self._calls = OpenCalls()
        self._audio: _Audio | None = None

    @property
    def called(self) -> bool:
        """A tool is called that does not stand for an answer's format."""
        calls = self._calls.calls
        return bool(calls) and any(not call.emulated for call in calls)

    @property
    def emulated_only(self) -> bool:
        """All the tools called stand for an answer's format."""
        return self._emulated and all(call.emulated for call in self._calls.calls)

    def grow(self, kind: DeltaKind, more: str, logprobs: tuple[TokenLogprob, ...] = ()) -> None:
        if kind is not self._kind:
            self._turn_to(kind)
        self.add(self._open, kind, more, logprobs)

    def detail(self, details: list[Any]) -> None:
        """Keep pieces of thinking as they came; those nobody can read are thinking all the same."""
        if not self._keeps_thoughts:
            return
        if self._kind is not DeltaKind.THINKING:
            self._turn_to(DeltaKind.THINKING, Thinking("", redacted=True))
        self._details.add(details)

    def remember(self, more: dict[str, Any]) -> None:
        """Keep what a block of thinking says beside its text."""
        if self._kind is not DeltaKind.THINKING:
            self._turn_to(DeltaKind.THINKING)
        self._more.update(more)

    def call(self, piece: Piece, answer_id: str) -> None:
        call = self._calls.take(piece)
        if call.part >= 0:
            if piece.arguments:
                self.add(call.part, call.grows, piece.arguments)
        elif call.name and (call.id or call.arguments):
            self._announce(call, answer_id)

    def cite(self, citation: Citation) -> None:
        if self._kind is not DeltaKind.TEXT:
            self._turn_to(DeltaKind.TEXT)
        self.cite_in(self._open, citation)

    def audio(self, audio_id: str, encoded: str) -> None:
        """Take a piece of base64 text, which need not end where three bytes end."""
        if self._audio is None:
            self._audio = _Audio(self.start(Media(Modality.AUDIO, data=b"")))
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

    def image(self, said: Any) -> None:  # noqa: ANN401 - as it lies on the wire
        """Take an image of the answer, whole: a data URL, or an address."""
        address = mapping(mapping(said).get("image_url")).get("url")
        media = _image(text(address))
        if media is None:
            self.opaque("image", said)
            return
        self._finish_open()
        self.finish(self.start(media), self.state("image", said=True))

    def opaque(self, name: str, content: object) -> None:
        """Keep what the contract has no place for as the state of a part without text."""
        self._finish_open()
        self.keep(name, content)

    def close(self, answer_id: str) -> None:
        """Finish every part, and announce calls that were held back for want of a name or an id."""
        self._finish_open()
        if (audio := self._audio) is not None:
            state = self.state("audio", {"id": audio.id}) if audio.id else None
            self.finish(audio.part, state)
        for call in self._calls.calls:
            if call.part < 0:
                self._announce(call, answer_id)
            self.finish(call.part)

    def _announce(self, call: OpenCall, answer_id: str) -> None:
        # A call without an id could not be answered: it gets one that no other turn has.
        call_id = call.id or "_".join(filter(None, ("call", answer_id, str(self.count))))
        if self._emulating_tool and call.name == self._emulating_tool:
            self._finish_open()
            call.grows = DeltaKind.TEXT
            self._emulated = True
            call.part = self.start(Text(""))
        else:
            call.part = self.start(ToolCall(call_id, call.name))
        if call.arguments:
            self.add(call.part, call.grows, "".join(call.arguments))

    def _turn_to(self, kind: DeltaKind, empty: Content | None = None) -> None:
        self._finish_open()
        self._open = self.start(empty or _EMPTY[kind])
        self._kind = kind
        self.refused = self.refused or kind is DeltaKind.REFUSAL

    def _finish_open(self) -> None:
        if self._kind is None:
            return
        state = None
        if self._kind is DeltaKind.THINKING and self._keeps_thoughts:
            state = self.state(thoughts.STATE, self._more | self._details.state())
            self._more, self._details = {}, thoughts.Details()
        self.finish(self._open, state)
        self._kind = None


class _Audio:
    """The audio part: its index, the vendor's id, and base64 text that is no whole group yet."""

    __slots__ = ("id", "part", "rest")

    def __init__(self, part: int) -> None:
        self.part = part
        self.id = ""
        self.rest = ""


def _image(address: str) -> Media | None:
    if address.startswith(("https://", "http://")):
        return Media(Modality.IMAGE, uri=address)
    head, _, encoded = address.partition(";base64,")
    if not head.startswith("data:image/") or not encoded:
        return None
    try:
        data = base64.b64decode(encoded, validate=True)
    except ValueError:
        return None
    return Media(Modality.IMAGE, data=data, mime_type=head.removeprefix("data:"))

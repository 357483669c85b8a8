"""The parts of a Gemini answer, whose pieces do not say where a part ends."""

import base64
from collections.abc import Mapping
from typing import Any

from llm_service.domain.completion import AudioDelta, DeltaKind
from llm_service.domain.content import (
    Content,
    Media,
    Modality,
    ProviderState,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
)
from llm_service.errors import ProviderProtocolError
from llm_service.providers import states
from llm_service.providers.gemini import wire
from llm_service.providers.gemini.partial_args import ArgumentsText
from llm_service.providers.lenient import text
from llm_service.providers.parts import PartWriter

_EMPTY: dict[DeltaKind, Content] = {DeltaKind.TEXT: Text(""), DeltaKind.THINKING: Thinking("")}
_NO_CALL = wire.FunctionCall()
_URL_SAFE = str.maketrans("-_", "+/")
_MODALITIES = {"image": Modality.IMAGE, "audio": Modality.AUDIO, "video": Modality.VIDEO}


class Parts(PartWriter):
    """Turns pieces into part events.

    Text and thinking take turns. A signature ends the part it comes with, for a signed piece may
    not be joined with another. Parts of text stay open until `close`, for citations come late.

    Attributes:
        texts: the text so far of each part of text, by its index.
        called: one of the parts is a call for the caller to make.
    """

    __slots__ = (
        "_answer_tool",
        "_audio",
        "_call",
        "_ids",
        "_kind",
        "_open",
        "_signed",
        "called",
        "texts",
    )

    def __init__(self, provider: str, answer_tool: str) -> None:
        """`answer_tool` names the tool whose arguments are the answer's text; "": none does."""
        super().__init__(provider)
        self.texts: dict[int, list[str]] = {}
        self.called = False
        self._answer_tool = answer_tool
        self._open = -1  # the part of text or thinking that grows
        self._kind: DeltaKind | None = None
        self._signed: dict[int, ProviderState] = {}  # parts of text, to be finished with a state
        self._call: _OpenCall | None = None
        self._audio: _OpenAudio | None = None
        self._ids: set[str] = set()

    def grow(
        self, kind: DeltaKind, more: str, signature: str, logprobs: tuple[TokenLogprob, ...] = ()
    ) -> None:
        """A piece of text or thinking."""
        self._leave_audio()
        if kind is not self._kind or signature:
            self._turn_to(kind)
        if more or logprobs:
            self.add(self._open, kind, more, logprobs)
            if kind is DeltaKind.TEXT:
                self.texts[self._open].append(more)
        if signature:
            if kind is DeltaKind.TEXT:
                self._signed[self._open] = self._fields(thoughtSignature=signature)
                self._kind = None
            else:
                self._finish_open(thoughtSignature=signature)

    def probable(self, logprobs: tuple[TokenLogprob, ...]) -> None:
        """Probabilities that came without a text of their own."""
        if self.texts:
            self.add(next(reversed(self.texts)), DeltaKind.TEXT, "", logprobs)

    def call(self, said: wire.FunctionCall, signature: str, answer_id: str) -> None:
        """A function call, whole or in pieces."""
        name = text(said.name)
        if name and not (self._call and said.id and said.id == self._call.id):
            self.end_call()
            self._start_call(name, text(said.id), signature, answer_id)
        call = self._call
        if call is None and said == _NO_CALL:  # the end of pieces, after the end of their call
            return
        if call is None:
            raise ProviderProtocolError("the provider sent a call without a name")
        call.signature = call.signature or signature
        self._grow_call(call, said)
        if said.willContinue is not True:
            self.end_call()

    def end_call(self) -> None:
        """Finish the call whose pieces were still coming."""
        call, self._call = self._call, None
        if call is None:
            return
        if not call.whole:
            self._write_call(call, call.arguments.finish())
        if call.is_answer:  # its signature is of a call, which will not be sent back
            self._kind = None
            return
        self.finish(call.part, self._fields_or_none(thoughtSignature=call.signature, id=call.id))

    def media(self, said: Mapping[str, Any], signature: str) -> None:
        """Inline data; pieces of sound that touch are one part."""
        mime_type = text(said.get("mimeType"))
        try:
            encoded = text(said.get("data")).translate(_URL_SAFE)
            data = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
        except ValueError as error:
            raise ProviderProtocolError("the provider sent data that is not base64") from error
        self._finish_open()
        modality = _MODALITIES.get(mime_type.partition("/")[0], Modality.DOCUMENT)
        if modality is not Modality.AUDIO:
            self._leave_audio()
            part = self.start(Media(modality, data=data, mime_type=mime_type))
            self.finish(part, self._fields_or_none(thoughtSignature=signature))
            return
        if self._audio is None or self._audio.mime_type != mime_type:
            self._leave_audio()
            part = self.start(Media(modality, data=b"", mime_type=mime_type))
            self._audio = _OpenAudio(part, mime_type)
        self.events.append(AudioDelta(self._audio.part, data))
        self._audio.signature = self._audio.signature or signature

    def file(self, said: Mapping[str, Any], signature: str) -> None:
        """A file the answer points to."""
        self._finish_open()
        self._leave_audio()
        mime_type = text(said.get("mimeType"))
        modality = _MODALITIES.get(mime_type.partition("/")[0], Modality.DOCUMENT)
        part = self.start(Media(modality, uri=text(said.get("fileUri")), mime_type=mime_type))
        self.finish(part, self._fields_or_none(thoughtSignature=signature))

    def opaque(self, said: dict[str, Any], content: Content) -> None:
        """Keep a part the contract has no place for as the state of one that says little."""
        self._finish_open()
        self._leave_audio()
        self.finish(self.start(content), self.state("part", said))

    def text_part(self) -> int:
        """The last part of text, begun if there is none."""
        if not self.texts:
            self._turn_to(DeltaKind.TEXT)
        return next(reversed(self.texts))

    def close(self) -> None:
        """Finish every part."""
        self.end_call()
        self._finish_open()
        self._leave_audio()
        for part in self.texts:
            self.finish(part, self._signed.get(part))

    def _turn_to(self, kind: DeltaKind) -> None:
        self._finish_open()
        self._open = self.start(_EMPTY[kind])
        self._kind = kind
        if kind is DeltaKind.TEXT:
            self.texts[self._open] = []

    def _finish_open(self, **fields: str) -> None:
        if self._kind is DeltaKind.THINKING:
            self.finish(self._open, states.issue(self._provider, {"thought": True, **fields}))
        self._kind = None

    def _leave_audio(self) -> None:
        audio, self._audio = self._audio, None
        if audio is not None:
            self.finish(audio.part, self._fields_or_none(thoughtSignature=audio.signature))

    def _start_call(self, name: str, said_id: str, signature: str, answer_id: str) -> None:
        self._leave_audio()
        if name == self._answer_tool:
            self._turn_to(DeltaKind.TEXT)
            self._call = _OpenCall(self._open, said_id, signature, is_answer=True)
            return
        self._finish_open()
        call_id = said_id
        if not call_id or call_id in self._ids:  # it could not be answered
            call_id = "_".join(filter(None, ("call", answer_id, str(self.count))))
        self._ids.add(call_id)
        self.called = True
        self._call = _OpenCall(self.start(ToolCall(call_id, name)), said_id, signature)

    def _grow_call(self, call: "_OpenCall", said: wire.FunctionCall) -> None:
        for arg in said.partialArgs or ():
            call.streamed = True
            self._write_call(call, call.arguments.take(arg))
        if bytes(said.args) in (b"", b"null") or call.streamed or call.whole:
            return
        call.whole = True
        self._write_call(call, wire.compact(said.args))

    def _write_call(self, call: "_OpenCall", more: str) -> None:
        if not more:
            return
        if call.is_answer:
            self.texts[call.part].append(more)
            self.add(call.part, DeltaKind.TEXT, more)
        else:
            self.add(call.part, DeltaKind.ARGUMENTS_JSON, more)

    def _fields(self, **fields: str) -> ProviderState:
        """State that is put back on the part it came with."""
        return states.issue(self._provider, {name: said for name, said in fields.items() if said})

    def _fields_or_none(self, **fields: str) -> ProviderState | None:
        return self._fields(**fields) if any(fields.values()) else None


class _OpenCall:
    """A call some of whose pieces have come.

    `whole`: its arguments came in one piece. `streamed`: they come value by value.
    """

    __slots__ = ("arguments", "id", "is_answer", "part", "signature", "streamed", "whole")

    def __init__(self, part: int, said_id: str, signature: str, *, is_answer: bool = False) -> None:
        self.part = part
        self.id = said_id
        self.signature = signature
        self.is_answer = is_answer
        self.arguments = ArgumentsText()
        self.streamed = False
        self.whole = False


class _OpenAudio:
    """The sound whose pieces are coming."""

    __slots__ = ("mime_type", "part", "signature")

    def __init__(self, part: int, mime_type: str) -> None:
        self.part = part
        self.mime_type = mime_type
        self.signature = ""

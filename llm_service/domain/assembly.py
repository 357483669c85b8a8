"""Folds the events of a stream into the parts they spell."""

from dataclasses import replace

from llm_service.domain.completion import (
    AudioDelta,
    PartDelta,
    PartEvent,
    PartFinished,
    PartStarted,
)
from llm_service.domain.content import (
    Citation,
    Content,
    Media,
    Part,
    ProviderState,
    Refusal,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
)


class _Growing:
    """A part whose pieces are still arriving."""

    def __init__(self, start: Part) -> None:
        self.start = start
        self.texts: list[str] = []
        self.audio: list[bytes] = []
        self.citations: list[Citation] = []
        self.logprobs: list[TokenLogprob] = []
        self.provider_state: ProviderState | None = start.provider_state

    def part(self) -> Part:
        return Part(
            self._content(),
            provider_state=self.provider_state,
            citations=(*self.start.citations, *self.citations),
            logprobs=(*self.start.logprobs, *self.logprobs),
        )

    def _content(self) -> Content:
        text = "".join(self.texts)
        match self.start.content:
            case Text(begun):
                return Text(begun + text)
            case Refusal(begun):
                return Refusal(begun + text)
            case Thinking(begun, redacted):
                return Thinking(begun + text, redacted)
            case ToolCall() as call:
                return replace(call, arguments_json=call.arguments_json + text)
            case Media() as media:
                data = b"".join([media.data or b"", *self.audio])
                return replace(media, data=data) if data or media.data is not None else media
            case other:
                return other


class Assembly:
    """The parts of one answer so far."""

    def __init__(self) -> None:
        self._parts: dict[int, _Growing] = {}

    def add(self, event: PartEvent) -> None:
        if isinstance(event, PartDelta):
            growing = self._parts[event.index]
            growing.texts.append(event.text)
            if event.logprobs:
                growing.logprobs.extend(event.logprobs)
        elif isinstance(event, PartStarted):
            self._parts[event.index] = _Growing(event.part)
        elif isinstance(event, PartFinished):
            if event.provider_state is not None:
                self._parts[event.index].provider_state = event.provider_state
        elif isinstance(event, AudioDelta):
            self._parts[event.index].audio.append(event.data)
        else:
            self._parts[event.index].citations.append(event.citation)

    def parts(self) -> tuple[Part, ...]:
        return tuple(self._parts[index].part() for index in sorted(self._parts))

"""What an attempt used, by the best account there is of it."""

from collections.abc import Callable, Iterable

from llm_service.domain import estimates
from llm_service.domain.completion import (
    AudioDelta,
    PartDelta,
    PartStarted,
    StreamEvent,
    TokenUsage,
    UsageUpdate,
)
from llm_service.domain.content import Media, Modality, Part
from llm_service.domain.usage import UsageSource
from llm_service.providers.base import Accepted, AdapterEvent, Ended

# Sound of a second, 48,000 bytes as vendors send it, is some 190 tokens: rough, and never nothing.
_AUDIO_BYTES_PER_TEXT_BYTE = 64


class Evidence:
    """The provider's final word, else what it had said by then, else our own estimate.

    Counts of a provider are cumulative: a later one replaces an earlier one, and none are added.
    """

    def __init__(self, input_tokens: Callable[[], int]) -> None:
        self._input_tokens = input_tokens
        self._said: TokenUsage | None = None
        self._final = False
        self._output_bytes = 0
        self._audio_bytes = 0

    @property
    def told(self) -> bool:
        """The provider has said something about usage."""
        return self._said is not None

    @property
    def content_bytes(self) -> int:
        """What came over, counted as it came."""
        return self._output_bytes + self._audio_bytes

    @property
    def source(self) -> UsageSource:
        """Where `usage` is from."""
        if self._said is None:
            return UsageSource.ESTIMATE
        return UsageSource.PROVIDER if self._final else UsageSource.PROGRESS

    def usage(self) -> TokenUsage:
        return self._said or self.estimated()

    def estimated(self) -> TokenUsage:
        size = self._output_bytes + self._audio_bytes // _AUDIO_BYTES_PER_TEXT_BYTE
        return estimates.usage_so_far(self._input_tokens(), size)

    def so_far(self, usage: TokenUsage) -> None:
        """Take the provider's count of a stream that goes on."""
        self._said = usage

    def last_word(self, usage: TokenUsage | None) -> None:
        """Take the provider's count of the whole; None: it gave none."""
        if usage is not None:
            self._said = usage
            self._final = True

    def text(self, text: str) -> None:
        """Count what came over."""
        self._output_bytes += estimates.text_bytes(text)

    def hear(self, event: AdapterEvent) -> None:
        """Take any event of a stream."""
        if isinstance(event, UsageUpdate):
            self.so_far(event.usage)
        elif isinstance(event, Ended):
            self.last_word(event.usage)
        elif isinstance(event, PartDelta):
            self.text(event.text)
        elif not isinstance(event, Accepted):
            self.event(event)

    def event(self, event: StreamEvent) -> None:
        """Count what is not text that grows, as `parts` counts it."""
        if type(event) is PartStarted:
            self.parts((event.part,))
        elif type(event) is AudioDelta:
            self._audio_bytes += len(event.data)

    def parts(self, parts: Iterable[Part]) -> None:
        """Count what came over whole."""
        for part in parts:
            self._output_bytes += estimates.part_bytes(part)
            self._audio_bytes += _audio_bytes(part)


def _audio_bytes(part: Part) -> int:
    media = part.content
    if isinstance(media, Media) and media.modality is Modality.AUDIO:
        return len(media.data or b"")
    return 0

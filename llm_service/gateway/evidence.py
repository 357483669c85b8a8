"""What an attempt used, by the best account there is of it."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

from llm_service.catalog.vocabularies import PACKAGED, Uncountable, Vocabularies
from llm_service.domain import estimates
from llm_service.domain.completion import (
    AudioDelta,
    CompletionRequest,
    PartDelta,
    PartStarted,
    StreamEvent,
    TokenUsage,
    UsageUpdate,
)
from llm_service.domain.content import Media, Modality, Part, Refusal, Text
from llm_service.domain.usage import UsageSource
from llm_service.providers.base import Accepted, AdapterEvent, BrokenOff, Ended, TokensShown
from llm_service.providers.lenient import MOST_TOKENS

logger = logging.getLogger(__name__)

# Sound of a second, 48,000 bytes as vendors send it, is some 190 tokens: rough, and never nothing.
_AUDIO_BYTES_PER_TEXT_BYTE = 64


# Of vendors that send a token at a time, pieces may be more than our count by a few per cent:
# DeepSeek 400 to 397, Groq 661 to 657 (recorded streams). Much more, and pieces are no tokens.
_PIECES_PER_TOKEN = 1.1

# Of an input, by its length: 100 KB take 5 ms in prose.
_MOST_WEIGHED = 25_000


class Evidence:
    """The provider's final word, else what it had said by then and our own estimate of the rest.

    Counts of a provider are cumulative: a later one replaces an earlier one, and none are added.
    `shown`: the tokens it shows, which are as good as a count.
    """

    def __init__(
        self, input_tokens: Callable[[], int], kind: str = "", provider_model: str = ""
    ) -> None:
        self._input_tokens = input_tokens
        self._kind = kind
        self._model = provider_model
        self._said: TokenUsage | None = None
        self.shown: TokensShown | None = None
        self._final = False
        self._is_text = True
        # Of the latest count, what is beside all that came later. A count that comes before any
        # content is of what will come: Anthropic begins to send when it has made some tokens.
        self._counted = 0
        # What came since the provider last said a count.
        self._texts: list[str] = []
        self._text_bytes = 0
        self._other_bytes = 0
        self._audio_bytes = 0
        self._weighed: tuple[int, int] | None = None  # of so many texts, so many tokens
        self._weighed_input: int | None = None
        self._content_bytes = 0  # from the beginning, without what `_text_bytes` has

    def broken_off(self, provider_request_id: str) -> BrokenOff | None:
        """What to ask the vendor about; None: nothing, for it has said all there is to say."""
        if self._final or self.source is UsageSource.PROGRESS:
            return None
        return BrokenOff(
            provider_request_id,
            self._said or TokenUsage(self._input, estimated=True),
            "".join(self._texts),
            self._is_text,
            self._counted + estimates.tokens_of(self._beside),
        )

    def asked(self, usage: TokenUsage) -> None:
        """Take what the vendor says of the whole once it has broken off."""
        self.so_far(usage)

    @property
    def told(self) -> bool:
        """The provider has said something about usage."""
        return self._said is not None

    @property
    def content_bytes(self) -> int:
        """What came over, counted as it came."""
        return self._content_bytes + self._text_bytes + self._other_bytes + self._audio_bytes

    @property
    def source(self) -> UsageSource:
        """Where `usage` is from."""
        if self._final:
            return UsageSource.PROVIDER
        return UsageSource.ESTIMATE if self.usage().estimated else UsageSource.PROGRESS

    def usage(self) -> TokenUsage:
        if self._said is None:
            return self._seen or TokenUsage(self._input, self._rest, estimated=True)
        if self._final or not self._rest:
            return self._said
        output = max(self._said.output_tokens, self._counted + self._rest)
        return replace(self._said, output_tokens=min(output, MOST_TOKENS), estimated=True)

    @property
    def _seen(self) -> TokenUsage | None:
        """By the tokens that the provider showed; None: not by all, or it has said a count."""
        shown = self.shown
        if self._said is not None or shown is None or not shown.complete:
            return None
        if not shown.input_tokens and not shown.output_tokens:
            return None
        return TokenUsage(
            min(shown.input_tokens, MOST_TOKENS) or self._input,
            min(shown.output_tokens, MOST_TOKENS),
            estimated=not shown.input_tokens,
        )

    async def weigh(
        self, vocabularies: Vocabularies = PACKAGED, request: CompletionRequest | None = None
    ) -> None:
        """Count by a vocabulary, in a thread, what came and what went in: the model's, or a like.

        No text came, or the provider's final word is there: nothing happens.
        """
        texts = list(self._texts)
        if self._final or not texts:
            return
        try:
            if not self._seen:
                self._weighed = len(texts), await self._weight(texts, vocabularies)
            if request is not None and self._wants_input:
                self._weighed_input = await asyncio.to_thread(
                    vocabularies.input_tokens, self._kind, self._model, request
                )
        except Uncountable as error:
            logger.error("a vocabulary failed at a text, whose length tells: %s", error)

    async def _weight(self, texts: list[str], vocabularies: Vocabularies) -> int:
        tokens, own = await asyncio.to_thread(
            vocabularies.count, self._kind, self._model, "".join(texts)
        )
        if not own and len(texts) <= tokens * _PIECES_PER_TOKEN:
            return max(tokens, len(texts))
        return tokens

    @property
    def _wants_input(self) -> bool:
        """The provider has not said or shown what went in, and it is not too long to be counted."""
        shown = self.shown
        told = self._said is not None or (shown and shown.complete and shown.input_tokens)
        return not told and self._input_tokens() <= _MOST_WEIGHED

    @property
    def _input(self) -> int:
        """Our estimate of what went in."""
        return self._weighed_input or self._input_tokens()

    @property
    def _rest(self) -> int:
        """An estimate of what came since the provider last said a count."""
        if self._weighed is not None and self._weighed[0] == len(self._texts):
            return self._weighed[1] + estimates.tokens_of(self._beside)
        return estimates.tokens_of(self._text_bytes + self._beside)

    @property
    def _beside(self) -> int:
        """Bytes of text to which what came beside texts comes."""
        return self._other_bytes + self._audio_bytes // _AUDIO_BYTES_PER_TEXT_BYTE

    def so_far(self, usage: TokenUsage) -> None:
        """Take the provider's count of a stream that goes on."""
        self._said = usage
        self._content_bytes = self.content_bytes
        self._counted = usage.output_tokens if self._content_bytes else 0
        self._text_bytes = self._other_bytes = self._audio_bytes = 0
        self._texts.clear()
        self._weighed = None

    def last_word(self, usage: TokenUsage | None) -> None:
        """Take the provider's count of the whole; None: it gave none."""
        if usage is not None:
            self._said = usage
            self._final = True

    def text(self, text: str) -> None:
        """Count what came over."""
        if text:
            self._texts.append(text)
            self._text_bytes += estimates.text_bytes(text)

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
            content = event.part.content
            if isinstance(content, Text | Refusal):
                self.text(content.text)
            else:
                self._is_text = False
                self.parts((event.part,))
        elif type(event) is AudioDelta:
            self._audio_bytes += len(event.data)

    def parts(self, parts: Iterable[Part]) -> None:
        """Count what came over whole."""
        for part in parts:
            self._other_bytes += estimates.part_bytes(part)
            self._audio_bytes += _audio_bytes(part)


def _audio_bytes(part: Part) -> int:
    media = part.content
    if isinstance(media, Media) and media.modality is Modality.AUDIO:
        return len(media.data or b"")
    return 0

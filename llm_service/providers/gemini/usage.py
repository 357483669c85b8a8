"""Token counts as Google reports them, whose answer leaves out its thoughts."""

from typing import Any

import msgspec

from llm_service.domain.completion import ModalityTokens, TokenUsage
from llm_service.domain.content import Modality
from llm_service.providers.lenient import MOST_TOKENS, count, items, mapping, subset, text

_MODALITIES = {
    "MODALITY_UNSPECIFIED": Modality.TEXT,
    "TEXT": Modality.TEXT,
    "IMAGE": Modality.IMAGE,
    "AUDIO": Modality.AUDIO,
    "VIDEO": Modality.VIDEO,
    "DOCUMENT": Modality.DOCUMENT,
}
_EVERY = 16  # events
_COUNTS = (
    "promptTokenCount",
    "toolUsePromptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
)


class Meter:
    """The latest counts of a stream, which Google repeats in every event.

    Reading them costs more than the event's text, so they are read when somebody is to be told: at
    once, then now and then, and at the end.
    """

    __slots__ = ("_said", "_seen", "_told")

    def __init__(self) -> None:
        self._said = b""
        self._seen = 0
        self._told: TokenUsage | None = None

    def take(self, said: msgspec.Raw) -> None:
        data = bytes(said)
        if b"promptTokenCount" in data:  # until the end some models say only how a call is billed
            self._said = data
            self._seen += 1

    def news(self, *, now: bool) -> TokenUsage | None:
        """The counts, if it is time to tell them and they are others than were told."""
        if not self._said or not (now or self._seen % _EVERY == 1):
            return None
        before = self._told
        usage = self.latest()
        return usage if usage != before else None

    def latest(self) -> TokenUsage | None:
        """The last counts that can be believed."""
        if self._said:
            try:
                usage = token_usage(msgspec.json.decode(self._said))
            except (ValueError, RecursionError):
                usage = None
            self._told = usage or self._told
            self._said = b""
        return self._told


def token_usage(said: Any) -> TokenUsage | None:  # noqa: ANN401 - as it lies on the wire
    """Inclusive totals and their subsets; None when nothing believable was said."""
    said = mapping(said)
    counts = [count(said[name]) if said.get(name) is not None else 0 for name in _COUNTS]
    if said.get("promptTokenCount") is None or None in counts:
        return None
    prompt, tools, answer, thoughts = (number or 0 for number in counts)
    asked = prompt + tools
    told = count(said.get("totalTokenCount"))
    output = _output(said, asked, answer, thoughts, told)
    if asked > MOST_TOKENS or output > MOST_TOKENS:
        return None
    return TokenUsage(
        input_tokens=asked,
        output_tokens=output,
        cache_read_input_tokens=subset(asked, said.get("cachedContentTokenCount")),
        reasoning_output_tokens=subset(output, thoughts),
        modality_tokens=_modalities(said, asked, output),
    )


def _output(said: dict[str, Any], asked: int, answer: int, thoughts: int, told: int | None) -> int:
    """The answer and its thoughts, which a total may say that the answer's count includes."""
    if told is not None and said.get("candidatesTokenCount") is None:
        return max(thoughts, told - asked)
    if told == asked + answer and thoughts <= answer:
        return answer
    return answer + thoughts


def _modalities(said: dict[str, Any], asked: int, output: int) -> tuple[ModalityTokens, ...]:
    given = _by_modality(said, ("promptTokensDetails", "toolUsePromptTokensDetails"))
    made = _by_modality(said, ("candidatesTokensDetails",))
    found = (
        ModalityTokens(
            modality, subset(asked, given.get(modality)), subset(output, made.get(modality))
        )
        for modality in dict.fromkeys([*given, *made])
    )
    return tuple(tokens for tokens in found if tokens.input_tokens or tokens.output_tokens)


def _by_modality(said: dict[str, Any], names: tuple[str, ...]) -> dict[Modality, int]:
    sums: dict[Modality, int] = {}
    for name in names:
        for detail in map(mapping, items(said.get(name))):
            modality = _MODALITIES.get(text(detail.get("modality")) or "TEXT")
            number = count(detail.get("tokenCount"))
            if modality is not None and number:
                sums[modality] = sums.get(modality, 0) + number
    return sums

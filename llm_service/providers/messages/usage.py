"""Token counts as the Messages API reports them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from llm_service.domain.completion import TokenUsage
from llm_service.domain.content import ProviderToolUse
from llm_service.providers import tool_uses
from llm_service.providers.lenient import MOST_TOKENS, count, items, mapping, subset, text


class Usage:
    """What an answer has said of its usage so far; each report replaces what it names.

    Attributes:
        news: something has been said since this was last reset.
    """

    __slots__ = ("_code_is_free", "_said", "news")

    def __init__(self, *, code_is_free: bool = False) -> None:
        """`code_is_free`: what the answer runs costs its tokens alone."""
        self._code_is_free = code_is_free
        self._said: dict[str, Any] = {}
        self.news = False

    def take(self, said: Any) -> None:  # noqa: ANN401 - as it lies on the wire
        """Take in a report. Counts are cumulative; those left out stay as they were."""
        fields = {name: value for name, value in mapping(said).items() if value is not None}
        if fields:
            self._said |= fields
            self.news = True

    def tokens(self, ran: Sequence[str] = ()) -> TokenUsage | None:
        """Inclusive totals; None when nothing believable was said.

        `ran`: the names of the tools that the vendor ran so far.
        """
        usage = token_usage(self._said)
        if usage is None:
            return None
        uses = _tool_uses(self._said, () if self._code_is_free else ran)
        return replace(
            usage,
            provider_tool_uses=tuple(
                use for use in uses if not (self._code_is_free and use.meter == _CODE)
            ),
        )

    def beside(self) -> list[Any]:
        """What other models used on the way (an advisor, one that declined), as it was said.

        It is billed at their prices and so is in no total here, but is among the tool uses.
        """
        iterations = items(self._said.get("iterations"))
        return iterations if any(_kind(said) not in _OWN for said in iterations) else []


_OWN = ("message", "compaction")
_CODE = "code-execution"


def _tool_uses(said: dict[str, Any], ran: Sequence[str]) -> tuple[ProviderToolUse, ...]:
    """What the vendor counts; and what it charges for and does not always count.

    Code is charged by the hours of its container, an iteration of another model by that model's
    price: the answer tells neither.
    """
    counts = tool_uses.reported(mapping(said.get("server_tool_use")))
    counts.setdefault(_CODE, tool_uses.seen(ran).get(_CODE, 0))
    iterations = [text(_kind(one)) for one in items(said.get("iterations"))]
    others = tool_uses.seen(kind for kind in iterations if kind and kind not in _OWN)
    return tool_uses.uses(others | counts)


def token_usage(said: dict[str, Any]) -> TokenUsage | None:
    """Inclusive totals and their subsets; the API leaves what was cached out of `input_tokens`.

    The summaries of compaction are made, and billed, by the same model; the API leaves them out of
    its totals and lists them in `iterations`. Here they are in.
    """
    own = _counts(said)
    if own is None:
        return None
    parts = [own, *_compactions(said)]
    plain, output, read, write, write_1h = (sum(numbers) for numbers in zip(*parts, strict=True))
    total = plain + read + write
    if total > MOST_TOKENS or output > MOST_TOKENS:
        return None
    details = mapping(said.get("output_tokens_details"))
    return TokenUsage(
        input_tokens=total,
        output_tokens=output,
        cache_read_input_tokens=read,
        cache_write_input_tokens=write,
        reasoning_output_tokens=subset(output, details.get("thinking_tokens")),
        cache_write_1h_input_tokens=write_1h,
    )


_Counts = tuple[int, int, int, int, int]


def _compactions(said: dict[str, Any]) -> list[_Counts]:
    entries = (entry for entry in items(said.get("iterations")) if _kind(entry) == "compaction")
    return [counts for entry in entries if (counts := _counts(entry)) is not None]


def _counts(said: dict[str, Any]) -> _Counts | None:
    """Uncached input, output, cache reads, cache writes, and the writes kept for an hour."""
    plain, output = count(said.get("input_tokens")), count(said.get("output_tokens"))
    if plain is None or output is None:
        return None
    kept = mapping(said.get("cache_creation"))
    kept_1h = count(kept.get("ephemeral_1h_input_tokens")) or 0
    kept_5m = count(kept.get("ephemeral_5m_input_tokens")) or 0
    write = count(said.get("cache_creation_input_tokens"))
    if write is None:
        write = kept_5m + kept_1h
    read = count(said.get("cache_read_input_tokens")) or 0
    return plain, output, read, write, subset(write, kept_1h)


def _kind(entry: Any) -> Any:  # noqa: ANN401
    return mapping(entry).get("type")

"""The parts of an answer as they open, grow and close."""

from llm_service.domain.completion import (
    CitationDelta,
    DeltaKind,
    PartDelta,
    PartFinished,
    PartStarted,
)
from llm_service.domain.content import (
    Citation,
    Content,
    Part,
    ProviderState,
    Text,
    TokenLogprob,
)
from llm_service.providers import states
from llm_service.providers.base import AdapterEvent


class PartWriter:
    """Writes part events, numbered in order of first appearance; pieces that touch are joined.

    Attributes:
        events: where events go; the owner takes the list and puts an empty one in its place.
        count: the parts started so far.
    """

    __slots__ = ("_provider", "count", "events")

    def __init__(self, provider: str) -> None:
        """`provider` is the kind, which stamps provider state."""
        self.events: list[AdapterEvent] = []
        self.count = 0
        self._provider = provider

    def start(self, content: Content) -> int:
        """Begin a part, with what does not grow (a call's id and name); its index."""
        index = self.count
        self.count = index + 1
        self.events.append(PartStarted(index, Part(content)))
        return index

    def add(
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

    def cite_in(self, index: int, citation: Citation) -> None:
        self.events.append(CitationDelta(index, citation))

    def finish(self, index: int, state: ProviderState | None = None) -> None:
        self.events.append(PartFinished(index, state))

    def keep(self, name: str, said: object) -> None:
        """Keep what the contract has no place for as the state of a part without text."""
        self.finish(self.start(Text("")), self.state(name, said))

    def state(self, name: str, said: object) -> ProviderState:
        return states.issue(self._provider, {name: said})

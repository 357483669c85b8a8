"""The gateway before one kind's fake, and what its ledger has of calls that ended early."""

import asyncio
import itertools
import tempfile
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

from every_vendor import Kind
from fakes.said import Said, Tokens, own_tokens
from vendor_server import Asked, Reply, Vendor, vendor_server

from llm_service import providers
from llm_service.catalog import tokenizers, vocabularies
from llm_service.catalog.vocabularies import Vocabularies
from llm_service.domain.completion import PartDelta, PartStarted, RoutingOptions
from llm_service.domain.usage import UsageRecord
from llm_service.errors import GatewayError
from llm_service.gateway.completions import Completions
from llm_service.gateway.configuration import Owned, view_of
from llm_service.gateway.manager import ProviderManager
from llm_service.gateway.upstream import CallLimits, Upstream
from llm_service.providers.egress import Egress
from llm_service.telemetry import Telemetry
from llm_service.vault import Vault
from tests.fakes import FakeLedger, FakeVerdicts, a_model, a_provider, a_request
from tests.vocabulary_files import given_in

WORDS = [
    "the",
    "sun",
    "came",
    "over",
    "low",
    "hills",
    "and",
    "warm",
    "light",
    "fell",
    "on",
    "every",
    "old",
    "house",
]
ONCE = RoutingOptions(disable_fallback=True)
ASKED = a_request(routing=ONCE, text="a b c d")
INPUT = 3 + 3 + 1 + 4  # OpenAI's, for an answer, for a message, for its role, for its text
SAID = Said(text=" ".join(WORDS), tokens=Tokens(INPUT, output=len(WORDS)), pieces=0)

# Whose vocabulary is OpenAI's, who send a token at a time, or who say their count on the way.
COUNTABLE = {
    "openai",
    "openai by Responses",
    "azure",
    "google",
    "google by Vertex",
    "deepseek",
    "groq",
    "ollama",
    "together",
    "bedrock's gpt-oss",
}
# Whose vocabulary is Mistral's.
TEKKEN = {"mistral", "bedrock's Mistral"}
# Whose vocabulary is that of the fakes' own words: the operator has it and gave it.
GIVEN = {"bedrock's Llama", "a server's Qwen"}


@cache
def given() -> Vocabularies:
    with tempfile.TemporaryDirectory() as folder:
        file = given_in(Path(folder), "bedrock/*meta.llama*", "*/Qwen/*")
        return vocabularies.read(file, providers.kinds())


def says(kind: Kind) -> Said:
    """What the vendor says, a word at a time; those who have words of their own count so."""
    return replace(SAID, tokens=Tokens(INPUT, output=size(kind, len(WORDS))))


def size(kind: Kind, words: int) -> int:
    """How many tokens the first so many words are to the vendor."""
    text = " ".join(WORDS[:words])
    if kind.label in TEKKEN:
        return tokenizers.count_named(tokenizers.TEKKEN, text)
    return words if kind.label in COUNTABLE else own_tokens(text)


def events_of(kind: Kind, asked: Asked) -> list[bytes]:
    """The vendor's events, a word each."""
    return list(kind.fake.stream(says(kind), asked).pieces)


def produced(events: list[bytes]) -> list[int]:
    """How many words the vendor had made after each number of events."""
    makes = (sum(_holds(event, word) for word in set(WORDS)) == 1 for event in events)
    return list(itertools.accumulate(makes, initial=0))


def _holds(event: bytes, word: str) -> bool:
    return f'"{word}"'.encode() in event or f'" {word}"'.encode() in event


class Gateway:
    """One provider of one kind, and a ledger."""

    def __init__(self, kind: Kind, vendor: Vendor, egress: Egress, known: Vocabularies) -> None:
        self.vendor = vendor
        self.made = 0
        """Tokens, when the vendor is asked about an answer."""
        vendor.beside = lambda asked: kind.told(asked, self.made)
        self.ledger = FakeLedger()
        provider = a_provider("p", kind.name, base_uri=kind.account(vendor).base_uri)
        models = {provider.name: (a_model(provider, provider_model=kind.model),)}
        view = view_of(1, Owned((provider,), {}, models), Owned((), {}, {}), "default")

        def connect(name, _account, out):
            return providers.connect(name, kind.account(vendor), out)

        manager = ProviderManager(Vault(None, "d"), egress, {}, connect)
        telemetry = Telemetry.start(service_version="test")
        self._upstream = Upstream(
            manager, self.ledger, telemetry, FakeVerdicts(), CallLimits(), vocabularies=known
        )
        self._view = view
        self.completions = Completions(self, self._upstream)

    async def view(self, _tenant):
        return self._view

    async def whole(self) -> UsageRecord:
        await self.completions.complete(ASKED, None)
        return self.ledger.records[-1]

    async def streamed(self) -> UsageRecord:
        """Its record, however it ends."""
        before = len(self.ledger.records)
        with suppress(GatewayError):
            async for _ in self.completions.stream(ASKED, None):
                pass
        await self._quiet()
        return self._settled(before)

    async def left_after(self, words: int, go_on: asyncio.Event) -> UsageRecord:
        """Leave when so many have come, and let the vendor go on."""
        before = len(self.ledger.records)
        self.vendor.heard.clear()
        has_come = asyncio.Event()
        stream = self.completions.stream(ASKED, None)

        async def read() -> None:
            text = ""
            async with aclosing(stream) as batches:
                async for batch in batches:
                    text += "".join(map(_text, batch))
                    if len(text.split()) >= words:
                        has_come.set()
                        await asyncio.Event().wait()

        reading = asyncio.create_task(read())
        async with asyncio.timeout(20):
            await (has_come if words else self.vendor.heard).wait()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            go_on.set()
        await self._quiet()
        return self._settled(before)

    async def _quiet(self) -> None:
        async with asyncio.timeout(20):
            await self._upstream.drains.quiet()

    def _settled(self, before: int) -> UsageRecord:
        (record,) = self.ledger.records[before:]
        return record


def _text(event) -> str:
    if isinstance(event, PartStarted):
        return event.part.content.text
    return event.text if isinstance(event, PartDelta) else ""


@asynccontextmanager
async def gateway(kind: Kind, known: Vocabularies | None = None):
    """`known`: the vocabularies it has, by default those given."""
    async with vendor_server() as vendor:
        egress = Egress(allow=("127.0.0.1",))
        try:
            yield Gateway(kind, vendor, egress, known or given())
        finally:
            await egress.aclose()


def cut_after(kind: Kind, number: int):
    """A reply that breaks off after so many events."""
    return lambda asked: Reply(
        200, _headers(kind, asked), events_of(kind, asked)[:number], cut=True
    )


def paused_after(kind: Kind, number: int, go_on: asyncio.Event):
    """A reply that waits after so many events."""

    def reply(asked: Asked) -> Reply:
        events = events_of(kind, asked)
        pieces = [b"".join(events[:number]), b"".join(events[number:])]
        return Reply(200, _headers(kind, asked), pieces, until=go_on)

    return reply


def _headers(kind: Kind, asked: Asked) -> dict[str, str]:
    return kind.fake.stream(says(kind), asked).headers

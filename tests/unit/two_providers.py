"""The gateway over two providers that do as their scripts say."""

from contextlib import aclosing

from llm_service.catalog.vocabularies import PACKAGED
from llm_service.domain.completion import PartDelta, PartStarted
from llm_service.domain.content import Part, Text
from llm_service.domain.provider import Price, PriceItem
from llm_service.gateway.completions import Completions
from llm_service.gateway.configuration import Owned, view_of
from llm_service.gateway.drains import DrainLimits
from llm_service.gateway.embeddings import Embeddings
from llm_service.gateway.manager import ProviderManager
from llm_service.gateway.upstream import CallLimits, Upstream
from llm_service.providers.base import Accepted
from llm_service.telemetry import Telemetry
from llm_service.vault import Vault
from tests.fakes import FakeAdapter, FakeLedger, FakeVerdicts, a_model, a_provider, a_request

PRICE = Price(
    "v1", (PriceItem("input-tokens", 1_000_000_000), PriceItem("output-tokens", 2_000_000_000))
)
DRAIN_LIMITS = DrainLimits()
BEGUN = [Accepted("m-2026", "req-1")], [PartStarted(0, Part(Text("")))]


class FakeConfiguration:
    def __init__(self, view):
        self._view = view

    async def view(self, tenant):
        return self._view


class World:
    """Two providers, one and two, that both serve "m"; each answers from its adapter's script.

    `model`: fields of both models. `credentials`: by provider uid. `configs`: everybody's.
    `gates`, `drain` and `vocabularies`: of every attempt. `rate_limiter`: of every call, and the
    last of the gates. The rest are the providers'.
    """

    def __init__(  # noqa: PLR0913 - by name
        self,
        first: FakeAdapter,
        second: FakeAdapter | None = None,
        *,
        model=None,
        credentials=None,
        configs=(),
        gates=(),
        rate_limiter=None,
        drain=DRAIN_LIMITS,
        vocabularies=PACKAGED,
        **changes,
    ):
        self.adapters = {"one": first, "two": second or FakeAdapter()}
        providers = [
            a_provider(
                name, "openai-compatible", priority=n, base_uri=f"https://{name}.example", **changes
            )
            for n, name in enumerate(self.adapters)
        ]
        known = {"price": PRICE, "max_output_tokens": 100, **(model or {})}
        models = {p.name: (a_model(p, **known),) for p in providers}
        view = view_of(
            1,
            Owned(tuple(providers), credentials or {}, models, tuple(configs)),
            Owned((), {}, {}),
            "default",
        )
        self.ledger = FakeLedger()
        self.telemetry = Telemetry.start(service_version="test")
        manager = ProviderManager(Vault(None, "d"), None, {"THE_KEY": "k"}, self._connect)
        self.verdicts = FakeVerdicts()
        gates = (*gates, *([rate_limiter] if rate_limiter else []))
        upstream = Upstream(
            manager,
            self.ledger,
            self.telemetry,
            self.verdicts,
            CallLimits(total=30, drain=drain),
            gates,
            vocabularies=vocabularies,
        )
        self.drains = upstream.drains
        configuration = FakeConfiguration(view)
        self.completions = Completions(configuration, upstream, rate_limiter=rate_limiter)
        self.embeddings = Embeddings(
            configuration, upstream, most_bytes=1 << 20, rate_limiter=rate_limiter
        )

    def _connect(self, kind, account, egress):
        return self.adapters[account.base_uri.removeprefix("https://").split(".")[0]]

    async def complete(self, seconds_left=None, **changes):
        return await self.completions.complete(a_request(**changes), seconds_left)

    async def stream(self, events=None, **changes):
        """Every event; also into the list given, which keeps them if the stream breaks."""
        events = [] if events is None else events
        async with aclosing(self.completions.stream(a_request(**changes), None)) as batches:
            async for batch in batches:
                events.extend(batch)
        return events

    def outcomes(self):
        return [(r.attempt.target.provider, r.error_reason) for r in self.ledger.records]


def text_of(events) -> str:
    return "".join(event.text for event in events if isinstance(event, PartDelta))

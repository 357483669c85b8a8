"""Hand-written stand-ins for the parts around the one under test."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from llm_service.domain.completion import (
    Attribution,
    CompletionRequest,
    DeltaKind,
    FinishReason,
    GenerationParams,
    PartDelta,
    PartFinished,
    PartStarted,
    RoutingOptions,
    TokenUsage,
)
from llm_service.domain.content import Message, Part, Role, Text
from llm_service.domain.model_config import ModelConfig, Selector, TargetSpec
from llm_service.domain.provider import Credential, Model, ModelOrigin, Provider, SourceType
from llm_service.domain.usage import AttemptProgress, OpenedAttempt, UsageRecord
from llm_service.errors import StorageUnavailable
from llm_service.providers.base import (
    Accepted,
    AdapterEvent,
    Answer,
    BrokenOff,
    Call,
    Embeddings,
    EmbeddingsCall,
    Ended,
    Inquiry,
    TokenCount,
)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
USAGE = TokenUsage(input_tokens=7, output_tokens=2)


def a_request(model="m", text="hello", **changes) -> CompletionRequest:
    values = {
        "model": model,
        "messages": (Message(Role.USER, (Part(Text(text)),)),),
        "params": GenerationParams(),
        "attribution": Attribution("default"),
        "routing": RoutingOptions(),
    }
    return CompletionRequest(**{**values, **changes})


def a_provider(provider_id="p", kind="echo", tenant="", **changes) -> Provider:
    return Provider(
        tenant, provider_id, f"uid-{provider_id}", kind, create_time=NOW, update_time=NOW, **changes
    )


def a_credential(provider: Provider, credential_id="default", **changes) -> Credential:
    values = {
        "source_type": SourceType.ENVIRONMENT_VARIABLE,
        "reference": "THE_KEY",
        "create_time": NOW,
        "update_time": NOW,
    }
    return Credential(
        provider.uid,
        provider.name,
        credential_id,
        f"uid-{provider.provider_id}-{credential_id}",
        **{**values, **changes},
    )


def a_model(provider: Provider, model_id="m", **changes) -> Model:
    return Model(
        provider.name,
        model_id,
        changes.pop("provider_model", model_id),
        **{"origin": ModelOrigin.MANUAL, **changes},
    )


def a_model_config(config_id="main", selector=Selector(), tenant="", **changes) -> ModelConfig:
    """`targets` may be names of models."""
    targets = tuple(
        TargetSpec(target) if isinstance(target, str) else target
        for target in changes.pop("targets", ())
    )
    uid = f"uid-{tenant}-{config_id}"
    return ModelConfig(
        tenant, config_id, uid, NOW, NOW, selector=selector, targets=targets, **changes
    )


def a_stream(*texts: str, usage: TokenUsage | None = USAGE) -> list[list[AdapterEvent]]:
    """The batches of a well-behaved stream of one text part."""
    return [
        [Accepted("m-2026", "req-1")],
        [PartStarted(0, Part(Text("")))],
        *([PartDelta(0, DeltaKind.TEXT, text)] for text in texts),
        [PartFinished(0), Ended(FinishReason.STOP, "stop", usage)],
    ]


def an_answer(text="hi there", usage: TokenUsage | None = USAGE) -> Answer:
    return Answer((Part(Text(text)),), FinishReason.STOP, "stop", usage, "m-2026", "req-1")


class FakeAdapter:
    """Answers from a script: each entry is an answer, a list of batches, or an error to raise.

    Within a list of batches an exception is raised in its turn, and an `asyncio.Event` is awaited.
    """

    def __init__(self, *script: object) -> None:
        self.script = list(script)
        self.calls: list[Call] = []
        self.closed = 0
        self.streams_closed = 0
        self.yielded = 0
        self.connects = True
        self.inquires: Callable[[BrokenOff], Inquiry] | None = None

    async def complete(self, call: Call) -> Answer:
        self.calls.append(call)
        if self.connects:
            call.on_send()
        entry = self.script.pop(0)
        if hasattr(entry, "wait"):
            await entry.wait()
            entry = self.script.pop(0)
        if isinstance(entry, Exception):
            raise entry
        return entry

    async def stream(self, call: Call) -> AsyncGenerator[Sequence[AdapterEvent]]:
        self.calls.append(call)
        if self.connects:
            call.on_send()
        entry = self.script.pop(0)
        try:
            if isinstance(entry, Exception):
                raise entry
            for batch in entry:
                if isinstance(batch, Exception):
                    raise batch
                if hasattr(batch, "wait"):
                    await batch.wait()
                    continue
                self.yielded += 1
                yield batch
        finally:
            self.streams_closed += 1

    def inquiry(self, call: Call, answer: BrokenOff) -> Inquiry | None:
        return self.inquires(answer) if self.inquires else None

    async def embed(self, call: EmbeddingsCall) -> Embeddings:
        return await self.complete(call)

    async def count_tokens(self, call: Call) -> TokenCount:
        self.calls.append(call)
        return TokenCount(11, estimated=True)

    async def models(self, deadline: float) -> tuple[Model, ...]:
        return ()

    async def aclose(self) -> None:
        self.closed += 1


class FakeLedger:
    """Keeps records in a list, and holds attempts to the order of their life."""

    def __init__(self) -> None:
        self.records: list[UsageRecord] = []
        self.opened: dict[str, OpenedAttempt] = {}
        self.told_progress: list[tuple[str, AttemptProgress]] = []
        self.refusal: Exception | None = None
        self.refusal_to_open: Exception | None = None

    def admit(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    async def open(self, attempt: OpenedAttempt) -> None:
        if self.refusal_to_open is not None:
            raise self.refusal_to_open
        assert attempt.attempt_id not in self.opened
        self.opened[attempt.attempt_id] = attempt

    def progress(self, attempt_id: str, so_far: AttemptProgress) -> None:
        assert attempt_id in self.opened
        self.told_progress.append((attempt_id, so_far))

    def record(self, record: UsageRecord) -> None:
        assert record.attempt_id not in {one.attempt_id for one in self.records}
        self.records.append(record)

    async def settled(self) -> None:
        return

    async def flush(self) -> None:
        return


class FakeVerdicts:
    """Keeps what it hears in a list: a credential's id, and whether it was rejected."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bool]] = []

    def hear(self, provider: Provider, credential: Credential | None, *, rejected: bool) -> None:
        if credential is not None:
            self.heard.append((credential.credential_id, rejected))


class FakeDatabase:
    """Usage records in a list; fails on demand."""

    def __init__(self) -> None:
        self.stored: list[UsageRecord] = []
        self.batches: list[int] = []
        self.down = False

    @asynccontextmanager
    async def begin(self):
        if self.down:
            raise StorageUnavailable("down")
        yield self

    @property
    def usage(self):
        return self

    @property
    def budget_accounts(self):
        return self

    @property
    def budgets(self):
        return self

    async def share_counting(self):
        return

    async def leave(self, holder):
        return 0

    async def any(self):
        return False

    async def store_uncounted(self, batch):
        return False

    async def add_many(self, records):
        self.batches.append(len(records))
        self.stored.extend(records)

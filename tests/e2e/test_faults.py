"""Failover Bench's sixteen faults, with a gRPC client as the caller, on every dialect."""

import asyncio
import os
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from llm_service.rpc.stubs import completion_pb2 as pb
from llm_service.rpc.stubs import generation_pb2, model_pb2, provider_pb2
from llm_service.rpc.stubs import provider_admin_service_pb2 as admin_pb
from tests.e2e.service import Service, asking

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
from every_vendor import AWS_KEY, DIALECTS
from vendor_server import Vendor, vendor_server

from tests.e2e.faults import FAULTS, WORDS, Fault, Script, well
from tests.e2e.faults_table import Table

SOME = ("openai", "bedrock")
ALL = bool(os.environ.get("FAULTS"))
# One of each framing; `make faults` tries every dialect.
TRIED = DIALECTS if ALL else [one for one in DIALECTS if one.label in SOME]
FLAPPING = DIALECTS if ALL else DIALECTS[:1]
OUTAGE_SECONDS = 8.0 if ALL else 1.0
RETURN_SECONDS = 30.0
SILENCE_SECONDS = 1.0
RECORD_SECONDS = 5.0
# An attempt may take its time to the first token and as long again between two pieces.
ATTEMPT_SECONDS = 2 * SILENCE_SECONDS
SLACK_SECONDS = 3.0  # a machine that pauses
RESTART = pb.StreamOptions.MID_STREAM_FAILURE_RESTART


@dataclass
class Seen:
    """What the caller had in the end. `text`: since the answer last started over."""

    text: str = ""
    id: str = ""
    finished: pb.CompletionFinished | None = None
    error: grpc.aio.AioRpcError | None = None
    seconds: float = 0.0

    @property
    def model(self) -> str:
        """Whose answer it is."""
        return self.finished.attempts[-1].target.model if self.finished else ""


@dataclass
class Bench:
    """A first choice that misbehaves and a second that does not, both of one dialect."""

    service: Service
    fault: Fault
    kind: object
    first: Vendor
    second: Vendor
    models: list[str] = field(default_factory=list)

    async def call(self) -> Seen:
        started, seen = time.monotonic(), Seen()
        asked = asking(
            self.models[0],
            routing=generation_pb2.RoutingOptions(fallback_models=self.models[1:]),
            stream_options=pb.StreamOptions(mid_stream_failure=RESTART),
        )
        try:
            async for event in self.service.completions.StreamComplete(asked, timeout=30):
                self._take(event, seen)
        except grpc.aio.AioRpcError as error:
            seen.error = error
        seen.seconds = time.monotonic() - started
        return seen

    def _take(self, event, seen: Seen) -> None:
        if event.HasField("started"):
            seen.id = event.started.id
        elif event.HasField("fallback"):
            seen.text = ""
        elif event.HasField("part_delta"):
            seen.text += event.part_delta.text
        elif event.HasField("finished"):
            seen.finished = event.finished

    async def problems(self) -> list[str]:
        """What is wrong with how the fault was met; none: it passes."""
        seen = await self.call()
        found = self._of_the_answer(seen) if self.fault.rescued else self._of_the_refusal(seen)
        return found + self._of_the_attempts(seen) + await self._of_the_records(seen)

    def _of_the_answer(self, seen: Seen) -> list[str]:
        if seen.error is not None:
            return [f"not rescued: {seen.error.code()} {seen.error.details()}"]
        wrong = [] if seen.text == WORDS else ["not the whole answer, and OK"]
        if not seen.finished.usage.output_tokens:
            wrong.append("no usage")
        served = self.models[1] if len(self.second.replies.at) else self.models[0]
        if seen.model != served:
            wrong.append(f"says it was {seen.model}")
        return wrong

    def _of_the_refusal(self, seen: Seen) -> list[str]:
        if seen.error is not None:
            return [f"a filter's word became {seen.error.code()}"]
        wrong = [] if not self.second.asked else ["routed around the filter"]
        if seen.finished.finish_reason != pb.FINISH_REASON_CONTENT_FILTER or seen.text:
            wrong.append("does not say that a filter struck")
        return wrong

    def _of_the_attempts(self, seen: Seen) -> list[str]:
        fault, at, wrong = self.fault, self.first.replies.at, []
        if len(at) > fault.most_attempts:
            wrong.append(f"{len(at)} attempts at the first choice")
        if len(at) > 1 and at[1] - at[0] < fault.least_gap_seconds:
            wrong.append(f"tried again after {at[1] - at[0]:.1f} s")
        if seen.seconds > 2 * ATTEMPT_SECONDS + SLACK_SECONDS:
            wrong.append(f"took {seen.seconds:.1f} s")
        if {asked.body for asked in self.second.asked} - {asked.body for asked in self.first.asked}:
            wrong.append("the second choice was asked something else")
        return wrong

    async def _of_the_records(self, seen: Seen) -> list[str]:
        """One for each attempt a vendor saw, and nothing billed that was refused."""
        if seen.finished is None:
            return []
        dialled = len(self.first.replies.at) + len(self.second.replies.at)
        by = time.monotonic() + RECORD_SECONDS  # one may wait for what its vendor says of it
        while len(records := await self.service.records(seen.id)) < dialled:
            if time.monotonic() > by:
                break
            await asyncio.sleep(0.05)
        wrong = [] if len(records) == dialled else [f"{len(records)} records of {dialled}"]
        refused = [one for one in records if one.error_reason == "PROVIDER_UNAVAILABLE"]
        if any(one.attempt.HasField("usage") for one in refused):
            wrong.append("a refused attempt is billed")
        return wrong

    async def returns(self) -> list[str]:
        """The first choice is out for a while: all are served, and it is used again soon after."""
        down_until = time.monotonic() + OUTAGE_SECONDS
        while time.monotonic() < down_until:
            if (seen := await self.call()).text != WORDS:
                return [f"not served in the outage: {seen.error}"]
        self.first.replies[:] = [well(self.kind)]
        while time.monotonic() < down_until + RETURN_SECONDS:
            seen = await self.call()
            if seen.text != WORDS:
                return [f"not served after the outage: {seen.error}"]
            if seen.model == self.models[0]:
                return []
            await asyncio.sleep(0.2)
        return ["the first choice was not used again"]


@asynccontextmanager
async def bench(service: Service, fault: Fault, kind):
    async with vendor_server() as first, vendor_server() as second:
        first.replies, second.replies = Script(fault.does(kind)), Script([well(kind)])
        made = Bench(service, fault, kind, first, second)
        for number, vendor in enumerate((first, second)):
            vendor.beside = lambda asked: kind.told(asked, 1)
            made.models.append(await _provided(service, f"{fault.id}-{number}", kind, vendor))
        yield made


async def _provided(service: Service, name: str, kind, vendor: Vendor) -> str:
    """A model of its own; the second choice's has the larger window."""
    provider_id = f"{name}-{kind.label}".replace(" ", "-").lower()
    if kind.secret == AWS_KEY:
        key = provider_pb2.AwsKey(access_key_id="AKIDEXAMPLE", secret_access_key="secret/key")
        credential = provider_pb2.Credential(aws_key=key)
    else:
        credential = provider_pb2.Credential(api_key=kind.secret)
    timeouts = provider_pb2.UpstreamTimeouts()
    for timeout in ("connect_timeout", "first_token_timeout", "idle_timeout"):
        getattr(timeouts, timeout).FromMilliseconds(int(SILENCE_SECONDS * 1000))
    provider = provider_pb2.Provider(
        kind=kind.name,
        base_uri=f"http://127.0.0.1:{vendor.port}{kind.path}",
        settings=kind.settings,
        timeouts=timeouts,
    )
    made = admin_pb.CreateProviderRequest(
        provider_id=provider_id, provider=provider, credential=credential
    )
    await service.admin.CreateProvider(made)
    window = 1_000_000 if name.endswith("1") else 100_000
    model = model_pb2.Model(provider_model=kind.model, context_window_tokens=window)
    asked = admin_pb.CreateModelRequest(
        parent=f"providers/{provider_id}", model_id="asked", model=model
    )
    return (await service.admin.CreateModel(asked)).model.name


@pytest.fixture(scope="module")
def table():
    made = Table([fault.id for fault in FAULTS.values()], [kind.label for kind in DIALECTS])
    yield made
    if ALL:
        sys.__stdout__.write(made.drawn({f.id: f.title for f in FAULTS.values()}))


async def verdict(service: Service, fault: Fault, kind) -> list[str]:
    if fault.id == "S13" and not kind.filters:
        return []  # it has no word for a filter
    async with bench(service, fault, kind) as made:
        return await (made.returns() if fault.id == "S15" else made.problems())


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "fault", FAULTS.values(), ids=[f"{f.id} {f.title}" for f in FAULTS.values()]
)
async def test_a_fault_is_met_in_every_dialect(service, fault, table):
    kinds = FLAPPING if fault.id == "S15" else TRIED

    verdicts = await asyncio.gather(*(verdict(service, fault, kind) for kind in kinds))

    problems = {kind.label: found for kind, found in zip(kinds, verdicts, strict=True)}
    table.add(fault.id, problems)
    assert not {label: found for label, found in problems.items() if found}

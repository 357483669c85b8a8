"""The service as a process: a client's calls, and what signals do to them."""

import asyncio
import json
import time
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from llm_service.rpc.stubs import completion_pb2 as pb
from llm_service.serving import version
from tests.contract.recordings import sse
from tests.contract.vendor_server import Reply
from tests.e2e.process import serving, stored
from tests.e2e.service import asking

ECHO = "providers/echo/models/echo-1"
TRACE_ID = "llmservice-trace-id"
TWENTY_WORDS = " ".join(f"word{number}" for number in range(20))
ROW = "SELECT model, output_tokens, error_reason, cost_nano_usd FROM usage_records"


async def trace_id_of(call) -> str:
    [found] = [value for key, value in await call.trailing_metadata() if key == TRACE_ID]
    return found


def text_of(events) -> str:
    return "".join(event.part_delta.text for event in events)


async def test_a_generated_client_gets_a_whole_answer_and_its_usage_row(process):
    call = process.service.completions.Complete(asking("echo-1", "one two three"), timeout=30)
    completion = (await call).completion
    trace_id = await trace_id_of(call)
    [row] = await process.service.records(completion.id)

    assert completion.message.parts[0].text == "one two three"
    assert completion.finish_reason == pb.FINISH_REASON_STOP
    assert (completion.usage.input_tokens, completion.usage.output_tokens) == (3, 3)
    assert (completion.cost.total_nano_usd, completion.cost.incomplete) == (0, False)
    assert completion.served_by.model == ECHO
    assert len(bytes.fromhex(trace_id)) == 16
    assert row.trace_id == trace_id
    assert row.attempt.usage == completion.usage
    assert row.attempt.cost == completion.cost
    assert not row.error_reason


async def test_a_generated_client_gets_a_stream_and_its_usage_row(process):
    call = process.service.completions.StreamComplete(asking("echo-1", "one two"), timeout=30)
    events = [event async for event in call]
    trace_id = await trace_id_of(call)
    [row] = await process.service.records(events[0].started.id)

    finished = events[-1].finished
    assert [event.sequence for event in events] == list(range(len(events)))
    assert text_of(events) == "one two"
    assert sum(event.HasField("part_delta") for event in events) == 2
    assert finished.finish_reason == pb.FINISH_REASON_STOP
    assert (finished.usage.input_tokens, finished.usage.output_tokens) == (2, 2)
    assert (finished.cost.total_nano_usd, finished.cost.incomplete) == (0, False)
    assert row.trace_id == trace_id
    assert row.attempt.usage == finished.usage


async def test_one_line_says_where_it_listens_and_the_log_what_was_prepared(process):
    assert process.announced == f"llm-service {version()} is listening on {process.address}"
    assert "encryption key" in process.log
    assert "Traceback" not in process.log


async def refused(address: str) -> grpc.aio.AioRpcError:
    """How a service that is stopping refuses a new call.

    A call that meets the very moment of stopping may still pass, or be cancelled.
    """
    async with asyncio.timeout(20):
        while True:
            async with grpc.aio.insecure_channel(address) as channel:
                call = channel.unary_unary(
                    "/llmservice.v1.CompletionService/Complete",
                    request_serializer=pb.CompletionRequest.SerializeToString,
                )
                try:
                    await call(asking("providers/echo/models/echo-1"), timeout=5)
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.CANCELLED:
                        return error


async def slow_stream(running, tokens_per_second: str, text: str):
    """A stream that has begun: the call, and its events so far."""
    await running.service.add_provider(
        "slow", "", kind="echo", key="", settings={"tokens_per_second": tokens_per_second}
    )
    request = asking("providers/slow/models/echo-1", text)
    call = running.service.completions.StreamComplete(request, timeout=60)
    return call, await until_text(call)


async def until_text(call) -> list[pb.StreamCompleteResponse]:
    """The events of a stream up to its first text."""
    events = []
    async for event in call:
        events.append(event)
        if event.HasField("part_delta"):
            break
    return events


def said(**chunk) -> bytes:
    return json.dumps({"id": "c", "choices": [], **chunk}).encode()


async def test_sigterm_lets_a_stream_finish_refuses_new_calls_and_keeps_its_row(
    process_folder, vendor
):
    release = asyncio.Event()
    begun = sse([said(choices=[{"index": 0, "delta": {"content": "one "}}])], done=False)
    end = {"index": 0, "delta": {"content": "two"}, "finish_reason": "stop"}
    used = {"prompt_tokens": 3, "completion_tokens": 20, "total_tokens": 23}
    rest = sse([said(choices=[end]), said(usage=used)])
    kind = {"content-type": "text/event-stream"}
    vendor.replies.append(Reply(200, kind, [begun, rest], until=release))

    async with serving(process_folder, LLM_DRAIN_SECONDS="45") as running:
        await running.service.add_provider("slow", vendor.base_uri)
        request = asking("providers/slow/models/m")
        call = running.service.completions.StreamComplete(request, timeout=60)
        events = await until_text(call)

        await running.drain()
        refusal = await refused(running.address)
        unfinished = not call.done()
        release.set()
        events += [event async for event in call]
        code = await running.ended()

    [row] = stored(process_folder, ROW + " WHERE model LIKE '%slow%'")
    assert unfinished
    assert refusal.code() is grpc.StatusCode.UNAVAILABLE
    assert text_of(events) == "one two"
    assert events[-1].finished.usage.output_tokens == 20
    assert code == 0
    assert (row["output_tokens"], row["error_reason"]) == (20, "")
    assert "Traceback" not in running.log


async def test_a_second_sigterm_hurries_and_still_keeps_the_row(process_folder):
    async with serving(process_folder, LLM_DRAIN_SECONDS="3600") as running:
        call, events = await slow_stream(running, "1", TWENTY_WORDS * 100)

        await running.drain()
        began = time.monotonic()
        running.terminate()
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            events += [event async for event in call]
        code = await running.ended()
        took = time.monotonic() - began

    [row] = stored(process_folder, ROW)
    assert failure.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    assert not events[-1].HasField("finished")
    assert code == 0
    assert took < 30
    assert row["error_reason"] == "CANCELLED"
    assert row["output_tokens"] >= 1


async def test_a_client_that_watches_the_health_does_not_hold_up_the_end(process_folder):
    async with serving(process_folder, LLM_DRAIN_SECONDS="3600") as running:
        channel = running.service.channel
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        seen = [(await watch.read()).status]

        running.terminate()
        code = await running.ended()
        seen.append((await watch.read()).status)

    assert code == 0
    assert seen == [
        health_pb2.HealthCheckResponse.SERVING,
        health_pb2.HealthCheckResponse.NOT_SERVING,
    ]


def test_s11_a_serving_process_dumps_no_core_and_has_no_key_in_its_environment(process):
    about = Path(f"/proc/{process.process.pid}")
    if not about.exists():
        pytest.skip("needs Linux's /proc")
    [limit] = [line for line in (about / "limits").read_text().splitlines() if "core file" in line]
    ring = (process.folder / "data" / "vault.key").read_text()
    [key] = [line.split()[2] for line in ring.splitlines() if not line.startswith("#")]

    assert limit.split()[4:6] == ["0", "0"]
    assert key not in (about / "environ").read_text()

"""A process that is killed loses no record: not of answers given, not of calls it worked on."""

import asyncio
import sqlite3
from contextlib import closing

import grpc
import pytest

from llm_service.rpc.stubs import usage_service_pb2 as pb
from tests.e2e.process import database_in, serving
from tests.e2e.service import asking

ANSWERED = 20
STREAMED = 5
WORDS = " ".join("word" for _ in range(500))
SOURCES = pb.UsageRecord


async def all_records(service, count):
    """Once the records of the process before have been found."""
    async with asyncio.timeout(30):
        while True:
            records = await service.records()
            if len(records) >= count:
                return records
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("ledger", ["journal", "database"])
async def test_every_answer_and_every_call_in_flight_has_its_record_after_a_kill(tmp_path, ledger):
    async with serving(tmp_path, LLM_LEDGER=ledger) as before:
        await before.service.add_provider(
            "slow", "", kind="echo", key="", settings={"tokens_per_second": "20"}
        )
        streams = [
            before.service.completions.StreamComplete(asking("providers/slow/models/echo-1", WORDS))
            for _ in range(STREAMED)
        ]
        begun = [(await stream.read()).started.id for stream in streams]
        answers = await asyncio.gather(
            *(before.service.completions.Complete(asking("echo-1")) for _ in range(ANSWERED))
        )
        answered = {answer.completion.id for answer in answers}
        before.process.kill()
        await before.process.wait()
        for stream in streams:
            assert await stream.code() is grpc.StatusCode.UNAVAILABLE

    # A process that writes to the database is given up on after its lease: here, at once.
    with closing(sqlite3.connect(database_in(tmp_path))) as database:
        database.execute("DELETE FROM attempt_owners")
        database.commit()
    async with serving(tmp_path, LLM_LEDGER=ledger) as after:
        records = await all_records(after.service, ANSWERED + STREAMED)

    by_call = {record.completion_id: record for record in records}
    assert len(by_call) == len(records) == ANSWERED + STREAMED
    for one in answered:
        assert by_call[one].usage_source == SOURCES.USAGE_SOURCE_PROVIDER
        assert not by_call[one].error_reason
    for one in begun:
        assert by_call[one].error_reason == "ABANDONED"
        assert by_call[one].usage_source == SOURCES.USAGE_SOURCE_ESTIMATE
        assert by_call[one].attempt.usage.input_tokens > 0
        assert by_call[one].attempt.HasField("cost")

"""D1, D2 on a process under load: an outage of its database costs no call and no record."""

import asyncio
import os
import sys
import time
from pathlib import Path

import grpc
import pytest
from sqlalchemy import make_url

from llm_service.vault import Scheme, generate_key
from tests.e2e.chaos import records_of
from tests.e2e.load import Load
from tests.e2e.process import serving
from tests.e2e.service import asking
from tests.e2e.test_database_outage import read_only, soon, writable
from tests.integration.conftest import (  # noqa: F401 - fixtures
    migrated_postgres,
    postgres,
    postgresql_url,
)
from tests.integration.slow_road import road

MEASURED = "OUTAGE_SECONDS" in os.environ
SECONDS = float(os.environ.get("OUTAGE_SECONDS", "0.5"))
PER_SECOND = 40.0
BACK_SECONDS = 10.0 if MEASURED else 60.0  # a machine that pauses
CALL_SECONDS = 30.0


@pytest.fixture
async def way(postgresql_url):  # noqa: F811
    url = make_url(postgresql_url)
    async with road(Path(url.query["host"]) / ".s.PGSQL.5432") as one:
        one.url = f"postgresql://postgres@127.0.0.1:{one.port}/{url.database}"
        one.database = url.database
        yield one


async def disk_full(way, postgres):  # noqa: F811
    """Files of the server may not grow any more."""
    await _grown_by(way, postgres, "8192")


async def disk_free(way, postgres):  # noqa: F811
    await _grown_by(way, postgres, "unlimited")


async def _grown_by(way, postgres, limit):  # noqa: F811
    postgres.limit_files(limit)
    postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", way.database
    )


OUTAGES = {
    "refused": (lambda way, _: way.refuse(), lambda way, _: way.recover()),
    "black-holed": (lambda way, _: soon(way.swallow), lambda way, _: way.recover()),
    "20 s slow": (lambda way, _: soon(way.dawdle, 20.0), lambda way, _: way.recover()),
    "read-only": (read_only, writable),
    "disk full": (disk_full, disk_free),
}


async def stores(service, known: set[str]) -> float:
    """Seconds until the record of every call known is in the database."""
    begun = time.monotonic()
    async with asyncio.timeout(CALL_SECONDS + BACK_SECONDS):
        while True:
            try:
                records = await records_of(service)
            except grpc.aio.AioRpcError:
                records = []
            if known <= {one.completion_id for one in records}:
                assert len(records) == len({one.completion_id for one in records})
                return time.monotonic() - begun
            await asyncio.sleep(0.1)


@pytest.mark.timeout(180 + 8 * int(SECONDS))
async def test_outages_of_the_database_cost_no_call_and_no_record(
    way,
    postgres,  # noqa: F811
    process_folder,
):
    known: set[str] = set()
    environment = {
        "LLM_DATABASE_URL": way.url,
        "LLM_ENCRYPTION_KEY": generate_key(Scheme.FERNET_V1),
    }
    async with serving(process_folder, **environment) as running:
        service = running.service
        await service.add_provider("main", "", kind="echo", key="")

        async def call():
            asked = asking("echo-1")
            answer = await service.completions.Complete(asked, timeout=CALL_SECONDS)
            known.add(answer.completion.id)

        await call()
        usual = Load(call, PER_SECOND)
        await usual.during(asyncio.sleep(SECONDS))
        for name, (begin, end) in OUTAGES.items():
            load, logged = Load(call, PER_SECOND), len(running.log)
            await begin(way, postgres)
            await load.during(asyncio.sleep(SECONDS))
            async with asyncio.timeout(CALL_SECONDS):  # it is one, for those who store
                while "usage records wait" not in running.log[logged:]:  # noqa: ASYNC110 - a file
                    await asyncio.sleep(0.1)
            await end(way, postgres)
            back = await stores(service, set(known))
            told(
                f"{name}: {load.served:.2%} of {len(load.seconds)} served, p99"
                f" {1000 * (load.p99() - usual.p99()):+.0f} ms, stored {back:.1f} s after"
            )
            assert load.served >= 0.999, load.failures[:3]
            assert back <= BACK_SECONDS
            if MEASURED:
                assert load.p99() - usual.p99() <= 0.1


def told(line: str) -> None:
    """For whoever measures."""
    if MEASURED:
        sys.__stdout__.write(f"\n{line}")

"""CPU per usage record from the queue to the commit, by size of batch, on both databases.

    python bench/storing.py [--database sqlite] [--database postgresql]

CPU is this process's, all threads, so SQLite's work is in it and PostgreSQL's server's is not.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llm_service.domain.completion import (
    Attempt,
    Attribution,
    Cost,
    CostItem,
    FinishReason,
    ServedBy,
    TokenUsage,
)
from llm_service.domain.usage import UsageRecord, UsageSource
from llm_service.gateway.ids import new_id
from llm_service.gateway.ledger import Uploads
from llm_service.storage import migrations
from llm_service.storage.database import Database

SIZES = {1: 200, 20: 60, 50: 40, 200: 15, 500: 8}
"""Records of a batch, and how many batches of them."""

WARM_UP = 2


async def measure(name: str, url: str) -> None:
    migrations.upgrade(url)
    async with Database.open(url) as database:
        uploads = Uploads(database)
        for size, runs in SIZES.items():
            took = [await stored(uploads, size) for _ in range(WARM_UP + runs)][WARM_UP:]
            cpu, wall = (statistics.median(one) for one in zip(*took, strict=True))
            sys.stdout.write(f"{name:10} batch {size:4}: {cpu:6.1f} us CPU a row, {wall:6.1f} us\n")


async def stored(uploads: Uploads, size: int) -> tuple[float, float]:
    """Microseconds a row: of CPU, and by the wall."""
    for record in [a_record(number) for number in range(size)]:
        uploads.add(record)
    wall, cpu = time.perf_counter(), time.process_time()
    await uploads.flush()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return cpu / size * 1e6, wall / size * 1e6


def a_record(number: int) -> UsageRecord:
    """An ordinary one, of 36 cells of a day's sums."""
    now = datetime.now(UTC)
    provider = f"tenants/t{number % 3}/providers/p{number % 4}"
    usage = TokenUsage(number, 5)
    items = (CostItem("input_tokens", number, 3, "v1"), CostItem("output_tokens", 5, 4, "v1"))
    target = ServedBy(
        provider,
        f"{provider}/models/model-{number % 6}",
        credential=f"{provider}/credentials/main",
        provider_model="gpt-5",
        provider_request_id="req-123",
    )
    return UsageRecord(
        record_id=new_id(),
        completion_id=new_id(),
        attribution=Attribution(f"t{number % 3}", agent=f"agent-{number % 2}", labels={"a": "x"}),
        attempt=Attempt(
            target,
            now,
            0.2 + number % 50 / 10,
            usage=usage,
            cost=Cost(7, items, price_version="v1"),
        ),
        create_time=now,
        first_token=0.1,
        finish_reason=FinishReason.STOP,
        usage_source=UsageSource.PROVIDER,
        trace_id="0123456789abcdef0123456789abcdef",
        attempt_id=new_id(),
    )


@contextmanager
def database(name: str) -> Iterator[str]:
    """The URL of one made for this."""
    if name == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite+aiosqlite:///{folder}/storing.db"
        return
    from tests.integration import postgres_server

    with postgres_server.running() as server:
        server.execute("CREATE DATABASE storing")
        yield server.url("storing")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    names = ("sqlite", "postgresql")
    parser.add_argument("--database", action="append", choices=names)
    for name in parser.parse_args().database or names:
        with database(name) as url:
            asyncio.run(measure(name, url))


if __name__ == "__main__":
    main()

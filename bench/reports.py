"""Reports over many usage records on PostgreSQL, and what keeping sums by day costs an insert.

    python bench/reports.py [--rows 10000000] [--months 12] [--postgresql URL]

Prints one line a figure. The bar: any report of one month by day and model within a second.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from llm_service.domain.completion import Attempt, Attribution, Cost, ServedBy, TokenUsage
from llm_service.domain.usage import TimeBucket, UsageQuery, UsageRecord
from llm_service.gateway.admin.usage_upkeep import UsageUpkeep
from llm_service.gateway.ids import new_id
from llm_service.storage import migrations
from llm_service.storage.database import Database
from llm_service.storage.usage_months import earlier, following

RUNS = 5
BATCH = 500
CHECKED = 5
NOW = datetime(2026, 11, 20, tzinfo=UTC)

# 20 tenants, 7 agents, 12 models at 4 providers; of 33 attempts one fails and another follows.
FILL = """INSERT INTO usage_records_{month:%Y_%m}
  (record_id, attempt_id, completion_id, create_time, start_time, tenant, agent, user_id,
   interaction, session, labels, provider, model, credential, provider_model,
   provider_request_id, model_config, duration_us, first_token_us, finish_reason, error_reason,
   error_message, http_status, provider_code, input_tokens, output_tokens,
   cache_read_input_tokens, cache_write_input_tokens, reasoning_output_tokens, modality_tokens,
   usage_estimated, cost_nano_usd, cost_items, price_version, cost_estimated, cost_incomplete,
   trace_id, operation, usage_source)
SELECT gen_random_uuid(), gen_random_uuid(), 'call-{month:%Y%m}-' || (n - again), at,
  at - make_interval(secs => us / 1e6), 'tenant-' || call % 20, 'agent-' || call % 7, '',
  'tools', 'session-' || call % 5000, '{{"team": "x"}}', 'providers/p' || m % 4,
  'providers/p' || m % 4 || '/models/model-' || m % 12, 'providers/p/credentials/main',
  'upstream', 'req-' || n, '', us, us / 4, 'stop',
  CASE WHEN n % 33 = 0 THEN 'PROVIDER_UNAVAILABLE' ELSE '' END,
  '', 0, '', n % 4000, n % 800, 0, 0, 0, '[]', false, n % 100000,
  '[{{"meter": "input_tokens", "quantity": 10, "nano_usd": 7}}]', 'v1', false, n % 1000 = 0,
  '0123456789abcdef0123456789abcdef', 'chat', 'provider'
FROM (SELECT n, again, n - again AS call, hash % 97 + again AS m,
        (200000 * exp(hash % 400 / 100.0))::bigint AS us,
        '{month:%Y-%m-%d}T00:00:00Z'::timestamptz
          + (n - again) * interval '{step} microseconds' + again * interval '1 second' AS at
      FROM (SELECT n, (n % 33 = 1)::int AS again, abs(hashint8(n::bigint)) AS hash
            FROM generate_series(1, {rows}) n) rows) drawn"""

MONTH = UsageQuery(None, NOW, NOW)
QUERIES = {
    "by day and model": {"time_bucket": TimeBucket.DAY, "group_by": ("model",)},
    "by day and model, one tenant": {
        "tenant": "tenant-3",
        "time_bucket": TimeBucket.DAY,
        "group_by": ("model",),
    },
    "by day and model, one agent": {
        "time_bucket": TimeBucket.DAY,
        "group_by": ("model",),
        "filters": {"agent": "agent-2"},
    },
    "by day and provider": {"time_bucket": TimeBucket.DAY, "group_by": ("provider",)},
    "by day and agent": {"time_bucket": TimeBucket.DAY, "group_by": ("agent",)},
    "by tenant": {"group_by": ("tenant",)},
    "by tenant, agent and model": {"group_by": ("tenant", "agent", "model")},
    "by day and model, in Berlin": {
        "time_bucket": TimeBucket.DAY,
        "time_zone": "Europe/Berlin",
        "group_by": ("model",),
    },
    "by day and model, in Kolkata": {
        "time_bucket": TimeBucket.DAY,
        "time_zone": "Asia/Kolkata",
        "group_by": ("model",),
    },
    "by day and model, Los Angeles": {
        "time_bucket": TimeBucket.DAY,
        "time_zone": "America/Los_Angeles",
        "group_by": ("model",),
    },
    "the same, one tenant": {
        "tenant": "tenant-3",
        "time_bucket": TimeBucket.DAY,
        "time_zone": "America/Los_Angeles",
        "group_by": ("model",),
    },
    "by hour": {"time_bucket": TimeBucket.HOUR},
    "by day and outcome": {"time_bucket": TimeBucket.DAY, "group_by": ("outcome",)},
    "by session, one tenant": {"tenant": "tenant-3", "group_by": ("session",)},
    "by label": {"group_by": ("label.team",)},
}


async def main() -> None:
    arguments = parsed()
    with postgresql(arguments.postgresql) as url:
        migrations.upgrade(url)
        async with Database.open(url) as database:
            months = [earlier(NOW.date().replace(day=1), n) for n in range(arguments.months)]
            await fill(database, url, months, arguments.rows // arguments.months)
            await sums(database)
            await reports(database, months[min(1, len(months) - 1)])
            await inserts(database, url)


async def fill(database: Database, url: str, months: list[date], rows: int) -> None:
    began = time.perf_counter()
    for month in months:
        async with database.begin() as tx:
            await tx.usage_months.prepare(month)
        seconds = (following(month) - month).total_seconds()
        step = int(seconds * 1e6 / (rows + 1))
        with connected(url) as connection:
            connection.execute("SET statement_timeout = 0")
            connection.execute(FILL.format(month=month, rows=rows, step=step))
            connection.execute(f"VACUUM ANALYZE usage_records_{month:%Y_%m}")
    say("fill", f"{rows * len(months)} rows in {len(months)} months, {since(began):.0f} s")


async def sums(database: Database) -> None:
    began = time.perf_counter()
    days = [day async for day in UsageUpkeep(database).rebuild()]
    say("sums of all days", f"{len(days)} days, {since(began):.0f} s")
    began = time.perf_counter()
    wrong = 0
    for day in days[-CHECKED:]:
        async with database.begin() as tx:
            wrong += await tx.usage_days.differences(day)
    say(f"check of {CHECKED} days", f"{wrong} figures are wrong, {since(began):.0f} s")
    async with database.begin() as tx:
        await tx.usage._connection.exec_driver_sql("ANALYZE")  # noqa: SLF001


async def reports(database: Database, month: date) -> None:
    start = datetime(month.year, month.month, 1, tzinfo=UTC)
    end = start + (following(month) - month)
    for name, asked in QUERIES.items():
        query = replace(MONTH, start_time=start, end_time=end, **asked)
        took = []
        for _ in range(RUNS):
            began = time.perf_counter()
            async with database.read() as tx:
                rows, total = await tx.usage.query(query)
            took.append(since(began) * 1e3)
        took.sort()
        figures = f"{total.request_count} calls, {len(rows)} rows"
        say(name, f"p50 {took[len(took) // 2]:.0f} ms, max {took[-1]:.0f} ms ({figures})")


async def inserts(database: Database, url: str) -> None:
    """With sums and without: what a record costs, in batches as the ledger makes them."""
    for name, switch in (("with sums", "ENABLE"), ("without", "DISABLE")):
        with connected(url) as connection:
            connection.execute(f"ALTER TABLE usage_records {switch} TRIGGER sum_usage")
        took = []
        for _ in range(20):
            batch = [record(n) for n in range(BATCH)]
            began = time.perf_counter()
            async with database.begin() as tx:
                await tx.usage.add_many(batch)
            took.append(since(began) / BATCH * 1e6)
        took.sort()
        say(f"insert, {name}", f"p50 {took[len(took) // 2]:.0f} us a record, max {took[-1]:.0f} us")
    with connected(url) as connection:
        connection.execute("ALTER TABLE usage_records ENABLE TRIGGER sum_usage")


def record(number: int) -> UsageRecord:
    model = f"providers/p{number % 4}/models/model-{number % 12}"
    return UsageRecord(
        record_id=new_id(),
        completion_id=new_id(),
        attribution=Attribution(f"tenant-{number % 20}", agent=f"agent-{number % 7}"),
        attempt=Attempt(
            ServedBy(f"providers/p{number % 4}", model),
            NOW,
            0.2 + number % 50 / 10,
            usage=TokenUsage(number, 5),
            cost=Cost(7),
        ),
        create_time=NOW + timedelta(seconds=1),
        first_token=0.1,
        attempt_id=new_id(),
    )


def since(began: float) -> float:
    return time.perf_counter() - began


def say(what: str, figure: str) -> None:
    sys.stdout.write(f"{what:32} {figure}\n")
    sys.stdout.flush()


@contextmanager
def connected(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as connection:
        yield connection


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--months", type=int, default=12, help="how many the rows are spread over")
    parser.add_argument("--postgresql", default="", help="a database of its own, to be filled")
    return parser.parse_args()


@contextmanager
def postgresql(url: str) -> Iterator[str]:
    """The URL given, or that of a server made for this."""
    if url:
        yield url
        return
    from tests.integration import postgres_server

    with postgres_server.running() as server:
        server.execute("CREATE DATABASE reports")
        yield server.url("reports")


if __name__ == "__main__":
    asyncio.run(main())

"""What was used and what it cost: records, reports and a feed, with every finished call in them."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from llm_service.domain.listing import Filter, Listing, Page
from llm_service.domain.usage import UsageMetrics, UsageQuery, UsageRecord, UsageRow
from llm_service.gateway.ids import first_id
from llm_service.gateway.paging import attribute, matches, page
from llm_service.storage.database import Database

BATCH = 500
SETTLE = timedelta(seconds=2)
"""How long the records of other replicas may take to arrive.

Feeds, and monitors, stay that far behind.
"""
RECORD_SLACK = timedelta(days=1)
"""How much younger than its create_time a record's id may be: what a database may be away for."""


@dataclass(frozen=True, slots=True)
class UsageReport:
    """`total` is over all pages; everything before `complete_time` is counted."""

    page: Page[UsageRow]
    total: UsageMetrics
    complete_time: datetime


@dataclass(frozen=True, slots=True)
class FeedRequest:
    """Which records a feed gives: start_time <= create_time < end_time, or without an end.

    `after` is the record id to go on from, "" from `start_time`. `tenant` None: all tenants.
    """

    tenant: str | None
    start_time: datetime | None = None
    end_time: datetime | None = None
    filter: Filter | None = None
    after: str = ""


@dataclass(frozen=True, slots=True)
class FeedBatch:
    """Records in order of id, and the id to go on from after them."""

    records: tuple[UsageRecord, ...]
    after: str


class UsageReports:
    """Reads usage. `flush` returns once the ledger has stored every record it was given."""

    def __init__(
        self,
        database: Database,
        flush: Callable[[], Awaitable[None]],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        poll_seconds: float = 1.0,
    ) -> None:
        self._database = database
        self._flush = flush
        self._now = now
        self._poll_seconds = poll_seconds

    async def records(self, tenant: str | None, listing: Listing) -> Page[UsageRecord]:
        """One page of a tenant's records, oldest first; None: everybody's."""
        await self._flush()
        async with self._database.read() as tx:
            return await tx.usage.list(tenant, listing)

    async def query(self, query: UsageQuery, listing: Listing) -> UsageReport:
        """A report; `listing` says its order and page."""
        complete = self._now() - SETTLE
        await self._flush()
        async with self._database.read() as tx:
            rows, total = await tx.usage.query(query)
        key = ("bucket_start_time", *(f"dimensions.{name}" for name in query.group_by))
        return UsageReport(page(rows, listing, key, _of_row), total, complete)

    async def feed(self, request: FeedRequest) -> AsyncGenerator[FeedBatch]:
        """Records as they come; ends only if `end_time` is set.

        A feed without an end stays two seconds behind, so that no record arrives behind its back.
        """
        after = request.after
        if not after and request.start_time:
            after = first_id(request.start_time, less=1)
        last = first_id(request.end_time + RECORD_SLACK) if request.end_time else ""
        while True:
            await self._flush()
            settled = last or first_id(self._now() - SETTLE)
            async with self._database.read() as tx:
                found = await tx.usage.since(after, request.tenant, BATCH)
            records = tuple(record for record in found if record.record_id < settled)
            if records:
                after = records[-1].record_id
                if wanted := tuple(record for record in records if _wanted(record, request)):
                    yield FeedBatch(wanted, after)
            if len(records) == BATCH:
                continue
            if last:
                return
            await asyncio.sleep(self._poll_seconds)


def _wanted(record: UsageRecord, request: FeedRequest) -> bool:
    if request.start_time is not None and record.create_time < request.start_time:
        return False
    if request.end_time is not None and record.create_time >= request.end_time:
        return False
    return request.filter is None or matches(request.filter, record, attribute)


def _of_row(row: UsageRow, path: str) -> object:
    head, _, rest = path.partition(".")
    if head == "dimensions":
        return row.dimensions.get(rest, "")
    return getattr(row if hasattr(row, head) else row.metrics, head)

"""Usage records: what upstream attempts used and cost."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.domain.completion import FinishReason
from llm_service.domain.listing import Listing, Page
from llm_service.domain.usage import UsageMetrics, UsageQuery, UsageRecord, UsageRow
from llm_service.storage import reports, usage_inserts
from llm_service.storage.listing import Field, Kind, Listed
from llm_service.storage.tables import usage_records as table
from llm_service.storage.usage_rows import to_record

BATCH = 500
"""Records sent to the database in one go."""

_BILLED = func.coalesce(table.c.cost_nano_usd, 0)
_LISTED = Listed(
    {
        "record_id": Field(table.c.record_id),
        "completion_id": Field(table.c.completion_id),
        "create_time": Field(table.c.create_time, Kind.TIME),
        "finish_reason": Field(
            table.c.finish_reason, nullable=True, members=FinishReason, prefix="FINISH_REASON_"
        ),
        "error_reason": Field(table.c.error_reason),
        "trace_id": Field(table.c.trace_id),
        "operation": Field(table.c.operation),
        "attribution.tenant": Field(table.c.tenant),
        "attribution.agent": Field(table.c.agent),
        "attribution.user": Field(table.c.user_id),
        "attribution.interaction": Field(table.c.interaction),
        "attribution.session": Field(table.c.session),
        "attribution.labels": Field(table.c.labels, Kind.MAP),
        "attempt.target.provider": Field(table.c.provider),
        "attempt.target.model": Field(table.c.model),
        "attempt.target.credential": Field(table.c.credential),
        "attempt.start_time": Field(table.c.start_time, Kind.TIME),
        "attempt.cost.total_nano_usd": Field(_BILLED, Kind.INTEGER),
    },
    key=("create_time", "record_id"),
)


class UsageRecords:
    """Immutable rows, one per upstream attempt. `tenant` None means all tenants: operators only."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add_many(self, records: Sequence[UsageRecord]) -> None:
        """Store records; those already there, by record or attempt, are left as they are.

        Text a provider or caller sent too long is cut: a record is never lost for it.
        """
        for batch in _batches(records):
            await usage_inserts.add(self._connection, batch)

    async def add_new(self, records: Sequence[UsageRecord]) -> frozenset[str]:
        """As `add_many`, and give back the ids of the records that were not there."""
        added: set[str] = set()
        for batch in _batches(records):
            added.update(await usage_inserts.add_new(self._connection, batch))
        return frozenset(added)

    async def list(self, tenant: str | None, listing: Listing) -> Page[UsageRecord]:
        """One page of records, oldest first unless `order_by` says otherwise.

        Raises:
            InvalidField: `filter`, `order_by` or `page_token` asks for what cannot be.
        """
        statement = _of(tenant, select(table))
        found, after = await _LISTED.page(self._connection, statement, listing)
        return Page(tuple(to_record(row) for row in found), after)

    async def of_completion(self, completion_id: str) -> tuple[UsageRecord, ...]:
        """Those of one call, in the order of its attempts."""
        statement = (
            select(table)
            .where(table.c.completion_id == completion_id)
            .order_by(table.c.start_time, table.c.record_id)
        )
        return tuple(to_record(row) for row in await self._connection.execute(statement))

    async def latest(self, tenant: str | None) -> str:
        """The greatest record id; "" if there is none."""
        statement = _of(tenant, select(func.max(table.c.record_id)))
        return (await self._connection.execute(statement)).scalar_one() or ""

    async def since(
        self, record_id: str, tenant: str | None, limit: int
    ) -> tuple[UsageRecord, ...]:
        """Up to `limit` records whose ids come after `record_id` ("": all), in order of id.

        Replicas write in batches, so a record may arrive after another with a greater id: a feed
        must stay behind the present by more than the longest batch waits.
        """
        statement = (
            _of(tenant, select(table))
            .where(table.c.record_id > record_id)
            .order_by(table.c.record_id)
            .limit(limit)
        )
        return tuple(to_record(row) for row in await self._connection.execute(statement))

    async def query(self, query: UsageQuery) -> tuple[tuple[UsageRow, ...], UsageMetrics]:
        """A report's rows, by bucket and then dimensions, and the metrics over the whole range.

        A row counts what happened in [bucket_start_time, bucket_end_time): the first and the last
        bucket are cut to the query's range. A record's time is its `create_time`.

        Raises:
            InvalidField: an unknown dimension or time zone, or too many rows or buckets.
        """
        return await reports.run(self._connection, query)


def _batches(records: Sequence[UsageRecord]) -> Iterator[Sequence[UsageRecord]]:
    for start in range(0, len(records), BATCH):
        yield records[start : start + BATCH]


def _of(tenant: str | None, statement: Select[Any]) -> Select[Any]:
    return statement if tenant is None else statement.where(table.c.tenant == tenant)

"""Usage records as rows: what upstream attempts used and cost."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import Row, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.domain.completion import (
    Attempt,
    Attribution,
    CallError,
    Cost,
    CostItem,
    FinishReason,
    ModalityTokens,
    ServedBy,
    TokenUsage,
)
from llm_service.domain.content import ProviderToolUse
from llm_service.domain.listing import Listing, Page
from llm_service.domain.usage import (
    Operation,
    UsageMetrics,
    UsageQuery,
    UsageRecord,
    UsageRow,
    UsageSource,
)
from llm_service.storage import reports, rows
from llm_service.storage.listing import Field, Kind, Listed
from llm_service.storage.tables import usage_records as table

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
        statement = rows.insert_new(self._connection.dialect, table)
        if self._connection.dialect.name == "postgresql":
            # One statement for all of a batch: the trigger that sums usage up runs once for each.
            statement = statement.returning(table.c.record_id)
        for batch in _batches(records):
            await self._connection.execute(statement, batch)

    async def add_new(self, records: Sequence[UsageRecord]) -> frozenset[str]:
        """As `add_many`, and give back the ids of the records that were not there."""
        statement = rows.insert_new(self._connection.dialect, table).returning(table.c.record_id)
        added: set[str] = set()
        for batch in _batches(records):
            added.update((await self._connection.execute(statement, batch)).scalars())
        return frozenset(added)

    async def list(self, tenant: str | None, listing: Listing) -> Page[UsageRecord]:
        """One page of records, oldest first unless `order_by` says otherwise.

        Raises:
            InvalidField: `filter`, `order_by` or `page_token` asks for what cannot be.
        """
        statement = _of(tenant, select(table))
        found, after = await _LISTED.page(self._connection, statement, listing)
        return Page(tuple(_to_record(row) for row in found), after)

    async def of_completion(self, completion_id: str) -> tuple[UsageRecord, ...]:
        """Those of one call, in the order of its attempts."""
        statement = (
            select(table)
            .where(table.c.completion_id == completion_id)
            .order_by(table.c.start_time, table.c.record_id)
        )
        return tuple(_to_record(row) for row in await self._connection.execute(statement))

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
        return tuple(_to_record(row) for row in await self._connection.execute(statement))

    async def query(self, query: UsageQuery) -> tuple[tuple[UsageRow, ...], UsageMetrics]:
        """A report's rows, by bucket and then dimensions, and the metrics over the whole range.

        A row counts what happened in [bucket_start_time, bucket_end_time): the first and the last
        bucket are cut to the query's range. A record's time is its `create_time`.

        Raises:
            InvalidField: an unknown dimension or time zone, or too many rows or buckets.
        """
        return await reports.run(self._connection, query)


def _batches(records: Sequence[UsageRecord]) -> Iterator[list[rows.Values]]:
    for start in range(0, len(records), BATCH):
        yield [rows.clip(table, _to_values(record)) for record in records[start : start + BATCH]]


def _of(tenant: str | None, statement: Select[Any]) -> Select[Any]:
    return statement if tenant is None else statement.where(table.c.tenant == tenant)


def _to_values(record: UsageRecord) -> rows.Values:
    who, attempt = record.attribution, record.attempt
    return {
        "record_id": record.record_id,
        "completion_id": record.completion_id,
        "create_time": record.create_time,
        "tenant": who.tenant,
        "agent": who.agent,
        "user_id": who.user,
        "interaction": who.interaction,
        "session": who.session,
        "labels": dict(who.labels),
        "provider": attempt.target.provider,
        "model": attempt.target.model,
        "credential": attempt.target.credential,
        "provider_model": attempt.target.provider_model,
        "provider_request_id": attempt.target.provider_request_id,
        "model_config": attempt.target.model_config,
        "start_time": attempt.start_time,
        "duration_us": _microseconds(attempt.duration),
        "first_token_us": _microseconds(record.first_token),
        "finish_reason": record.finish_reason and record.finish_reason.value,
        "error_reason": record.error_reason,
        "trace_id": record.trace_id,
        "operation": record.operation.value,
        "attempt_id": record.attempt_id or None,
        "usage_source": record.usage_source and record.usage_source.value,
        "budget_time": record.budget_time,
        **_error_values(attempt.error),
        **_usage_values(attempt.usage),
        **_cost_values(attempt.cost),
    }


def _error_values(error: CallError | None) -> rows.Values:
    return {
        "attempt_error_reason": error and error.reason,
        "error_message": error.message if error else "",
        "retry_delay_us": _microseconds(error.retry_delay) if error else None,
        "http_status": error.http_status if error else 0,
        "provider_code": error.provider_code if error else "",
    }


def _usage_values(usage: TokenUsage | None) -> rows.Values:
    return {
        "input_tokens": usage and usage.input_tokens,
        "output_tokens": usage and usage.output_tokens,
        "cache_read_input_tokens": usage and usage.cache_read_input_tokens,
        "cache_write_input_tokens": usage and usage.cache_write_input_tokens,
        "cache_write_1h_input_tokens": usage and usage.cache_write_1h_input_tokens,
        "reasoning_output_tokens": usage and usage.reasoning_output_tokens,
        "modality_tokens": rows.document(usage and usage.modality_tokens),
        "provider_tool_uses": rows.document(usage and usage.provider_tool_uses),
        "usage_estimated": usage and usage.estimated,
    }


def _cost_values(cost: Cost | None) -> rows.Values:
    unknown = cost is not None and cost.incomplete and cost.total_nano_usd == 0
    return {
        "cost_nano_usd": None if cost is None or unknown else cost.total_nano_usd,
        "cost_items": rows.document(cost and cost.items),
        "price_version": cost and cost.price_version,
        "cost_estimated": cost and cost.estimated,
        "cost_incomplete": cost and cost.incomplete,
        "reported_nano_usd": cost and cost.reported_nano_usd,
        "price_effective_time": cost and cost.price_effective_time,
    }


def _microseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1_000_000)


def _seconds(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / 1_000_000


def _to_record(row: Row[Any]) -> UsageRecord:
    return UsageRecord(
        record_id=row.record_id,
        completion_id=row.completion_id,
        attribution=Attribution(
            row.tenant, row.agent, row.user_id, row.interaction, row.session, row.labels
        ),
        attempt=Attempt(
            target=ServedBy(
                provider=row.provider,
                model=row.model,
                credential=row.credential,
                provider_model=row.provider_model,
                provider_request_id=row.provider_request_id,
                model_config=row.model_config,
            ),
            start_time=row.start_time,
            duration=row.duration_us / 1_000_000,
            error=_to_error(row),
            usage=_to_usage(row),
            cost=_to_cost(row),
        ),
        create_time=row.create_time,
        finish_reason=row.finish_reason and FinishReason(row.finish_reason),
        error_reason=row.error_reason,
        trace_id=row.trace_id,
        first_token=_seconds(row.first_token_us),
        operation=Operation(row.operation),
        usage_source=row.usage_source and UsageSource(row.usage_source),
        attempt_id=row.attempt_id or "",
        budget_time=row.budget_time,
    )


def _to_error(row: Row[Any]) -> CallError | None:
    if row.attempt_error_reason is None:
        return None
    return CallError(
        reason=row.attempt_error_reason,
        message=row.error_message,
        retry_delay=_seconds(row.retry_delay_us),
        http_status=row.http_status,
        provider_code=row.provider_code,
    )


def _to_usage(row: Row[Any]) -> TokenUsage | None:
    if row.input_tokens is None:
        return None
    return TokenUsage(
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        cache_read_input_tokens=row.cache_read_input_tokens,
        cache_write_input_tokens=row.cache_write_input_tokens,
        cache_write_1h_input_tokens=row.cache_write_1h_input_tokens or 0,  # NULL: before there was
        reasoning_output_tokens=row.reasoning_output_tokens,
        modality_tokens=msgspec.convert(row.modality_tokens, tuple[ModalityTokens, ...]),
        estimated=row.usage_estimated,
        provider_tool_uses=msgspec.convert(
            row.provider_tool_uses or (), tuple[ProviderToolUse, ...]
        ),
        reported_nano_usd=row.reported_nano_usd,
    )


def _to_cost(row: Row[Any]) -> Cost | None:
    if row.cost_incomplete is None:
        return None
    return Cost(
        total_nano_usd=row.cost_nano_usd or 0,
        # Rows older than the items' own versions have that of the cost.
        items=msgspec.convert(
            [{"price_version": row.price_version, **item} for item in row.cost_items],
            tuple[CostItem, ...],
        ),
        price_version=row.price_version,
        estimated=row.cost_estimated,
        incomplete=row.cost_incomplete,
        reported_nano_usd=row.reported_nano_usd,
        price_effective_time=row.price_effective_time,
    )

"""Usage records as rows: what upstream attempts used and cost."""

from collections.abc import Sequence

from llm_service.domain.listing import Listing, Page
from llm_service.domain.usage import UsageMetrics, UsageQuery, UsageRecord, UsageRow


class UsageRecords:
    """Immutable rows, one per upstream attempt. `tenant` None means all tenants: operators only."""

    async def add_many(self, records: Sequence[UsageRecord]) -> None:
        """Store records; those already there, by `record_id`, are left as they are."""
        raise NotImplementedError

    async def list(self, tenant: str | None, listing: Listing) -> Page[UsageRecord]:
        """One page of records, oldest first unless `order_by` says otherwise.

        Raises:
            InvalidField: `filter`, `order_by` or `page_token` asks for what cannot be.
        """
        raise NotImplementedError

    async def latest(self, tenant: str | None) -> str:
        """The greatest record id; "" if there is none."""
        raise NotImplementedError

    async def since(
        self, record_id: str, tenant: str | None, limit: int
    ) -> tuple[UsageRecord, ...]:
        """Up to `limit` records whose ids come after `record_id` ("": all), in order of id."""
        raise NotImplementedError

    async def query(self, query: UsageQuery) -> tuple[tuple[UsageRow, ...], UsageMetrics]:
        """A report's rows, by bucket and then dimensions, and the metrics over the whole range.

        Raises:
            InvalidField: an unknown dimension or time zone, or too many rows or buckets.
        """
        raise NotImplementedError

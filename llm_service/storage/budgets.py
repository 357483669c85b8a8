"""Budgets as rows."""

import dataclasses
from collections.abc import Collection
from typing import Any

from sqlalchemy import and_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.domain.budget import Budget, BudgetPeriod, BudgetUnit
from llm_service.domain.listing import Listing, Page
from llm_service.errors import ResourceNotFound
from llm_service.storage import caps, reading, rows
from llm_service.storage.audit import AuditEntries
from llm_service.storage.listing import Field, Kind, Listed
from llm_service.storage.sqlite_driver import Driver
from llm_service.storage.tables import budgets as table

_LISTED = Listed(
    {
        "tenant": Field(table.c.tenant),
        "budget_id": Field(table.c.budget_id),
        "display_name": Field(table.c.display_name),
        "unit": Field(table.c.unit, members=BudgetUnit, prefix="UNIT_"),
        "period": Field(table.c.period, members=BudgetPeriod, prefix="PERIOD_"),
        "disabled": Field(table.c.disabled, Kind.BOOLEAN),
        "create_time": Field(table.c.create_time, Kind.TIME),
        "update_time": Field(table.c.update_time, Kind.TIME),
    },
    key=("tenant", "budget_id"),
)
ANY = "SELECT EXISTS (SELECT 1 FROM budgets)"
"""Whether anybody has some."""


class Budgets:
    """The budgets of all tenants; each method says whose."""

    def __init__(self, connection: AsyncConnection, audit: AuditEntries) -> None:
        self._connection = connection
        self._audit = audit

    async def get(self, tenant: str, budget_id: str, *, for_update: bool = False) -> Budget:
        """One budget. `for_update` keeps others from changing it until the end.

        Raises:
            ResourceNotFound: the tenant has none of that id.
        """
        statement = select(table).where(table.c.tenant == tenant, table.c.budget_id == budget_id)
        if for_update:
            statement = statement.with_for_update()
        row = await reading.first(self._connection, statement)
        if row is None:
            raise ResourceNotFound("no such budget")
        return _to_budget(row)

    async def add(self, budget: Budget) -> None:
        """Store a new budget.

        Raises:
            AlreadyExists: the tenant has one of that id. Nothing was written.
            InvalidField: a value does not fit its column.
        """
        await rows.add(self._connection, table, _to_values(budget))
        self._audit.changed(None, budget)

    async def update(self, budget: Budget, expected_version: int) -> Budget:
        """Replace the budget of that uid, and give it back with its next version.

        Raises:
            EtagMismatch: it is no longer at `expected_version`.
            InvalidField: a value does not fit its column.
            ResourceNotFound: it is gone.
        """
        key = and_(table.c.tenant == budget.tenant, table.c.uid == budget.uid)
        before = await reading.first(self._connection, select(table).where(key))
        version = await rows.replace(
            self._connection, table, key, expected_version, _to_values(budget)
        )
        self._audit.changed(before and _to_budget(before), budget)
        return dataclasses.replace(budget, version=version, unreadable=())

    async def delete(self, budget: Budget, expected_version: int | None = None) -> None:
        """Destroy a budget. `expected_version` None: whatever its version.

        Raises:
            EtagMismatch: it is no longer at `expected_version`.
            ResourceNotFound: it is gone.
        """
        key = and_(table.c.tenant == budget.tenant, table.c.uid == budget.uid)
        await rows.remove(self._connection, table, key, expected_version)
        self._audit.changed(budget, None)

    async def count_alone(self, tenant: str) -> int:
        """How many budgets a tenant has; others who ask wait until this transaction ends."""
        return await caps.count_alone(self._connection, table, tenant)

    async def list(self, tenant: str | None, listing: Listing) -> Page[Budget]:
        """One page of a tenant's own budgets ("": everybody's together; None: all there are).

        Raises:
            InvalidField: `filter`, `order_by` or `page_token` asks for what cannot be.
        """
        statement = select(table)
        if tenant is not None:
            statement = statement.where(table.c.tenant == tenant)
        found, after = await _LISTED.page(self._connection, statement, listing)
        return Page(tuple(_to_budget(row) for row in found), after)

    async def any(self) -> bool:
        """Whether anybody has some: asked for every batch of records, and nearly always no."""
        if self._connection.dialect.name == "sqlite":
            driver = await Driver.of(self._connection)
            return bool(await driver.run(lambda connection: connection.execute(ANY).fetchone()[0]))
        return bool((await self._connection.exec_driver_sql(ANY)).scalar_one())

    async def of_tenant(self, tenant: str) -> tuple[Budget, ...]:
        """All of a tenant's own, by uid."""
        return await self.of_tenants((tenant,))

    async def of_tenants(self, tenants: Collection[str]) -> tuple[Budget, ...]:
        """All that these own, by uid."""
        statement = select(table).where(table.c.tenant.in_(tenants)).order_by(table.c.uid)
        return tuple(map(_to_budget, await reading.every(self._connection, statement)))


def _to_values(budget: Budget) -> rows.Values:
    return {
        "uid": budget.uid,
        "tenant": budget.tenant,
        "budget_id": budget.budget_id,
        "version": budget.version,
        "display_name": budget.display_name,
        "filter": budget.filter,
        "unit": budget.unit.value,
        "limit_value": budget.limit,
        "period": budget.period.value,
        "time_zone": budget.time_zone,
        "rules": rows.document(budget.rules),
        "disabled": budget.disabled,
        "create_time": budget.create_time,
        "update_time": budget.update_time,
    }


def _to_budget(row: Any) -> Budget:  # noqa: ANN401 - a row
    return reading.value(Budget, row, limit=row.limit_value)

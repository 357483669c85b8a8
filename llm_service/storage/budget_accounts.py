"""What is spent of budgets in each window, and what processes hold of them in advance.

Whoever changes a window's row holds its lock until the end of the transaction, and takes it before
those of leases. So spent + leased of a window is as one process would have made it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    Table,
    and_,
    case,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from llm_service.domain.budget import BudgetUnit
from llm_service.domain.listing import Filter
from llm_service.storage import rows
from llm_service.storage.expressions import Total
from llm_service.storage.listing import Field, Kind, Listed
from llm_service.storage.tables import budget_holders as holders
from llm_service.storage.tables import budget_leases as leases
from llm_service.storage.tables import budget_windows as windows
from llm_service.storage.tables import usage_records as usage

MOST_SPENT = 2**62
"""What vendors may claim at most: more is not told apart, and a sum with leases fits 64 bits."""

_COUNTING = 0x6C6C6D5F62756467  # "llm_budg"
_TIMEOUT = text("SET LOCAL statement_timeout = '30s'")  # a count may take longer than others
_SETTLING = timedelta(days=2)
"""How long after its window an attempt may end, and how wrong a replica's clock may be."""

_ANY = select(or_(exists(select(windows)), exists(select(leases))))

_USAGE = Listed(
    {
        "tenant": Field(usage.c.tenant),
        "agent": Field(usage.c.agent),
        "user": Field(usage.c.user_id),
        "interaction": Field(usage.c.interaction),
        "session": Field(usage.c.session),
        "provider": Field(usage.c.provider),
        "model": Field(usage.c.model),
        "credential": Field(usage.c.credential),
        "operation": Field(usage.c.operation),
        "label": Field(usage.c.labels, Kind.MAP),
    },
    key=(),
)
_AMOUNTS: dict[BudgetUnit, ColumnElement[int]] = {
    BudgetUnit.NANO_USD: func.coalesce(usage.c.cost_nano_usd, 0),
    BudgetUnit.TOKENS: func.coalesce(usage.c.input_tokens + usage.c.output_tokens, 0),
    BudgetUnit.REQUESTS: case((usage.c.input_tokens.is_(None), 0), else_=1),
}


@dataclass(frozen=True, slots=True)
class Window:
    """Of one budget. `end_time` None: it never ends."""

    budget_uid: str
    start_time: datetime
    end_time: datetime | None


@dataclass(frozen=True, slots=True)
class Account:
    """What is taken of a window's budget. `holders`: processes that hold some of it."""

    spent: int
    leased: int
    refuse_time: datetime | None
    holders: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """An amount of a lease."""

    lease_id: str
    window: Window
    amount: int


class BudgetAccounts:
    """Rows of windows, of leases and of those who hold them."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def now(self) -> datetime:
        """By the database's clock, which decides what window it is."""
        if not self._on_postgresql:
            return datetime.now(UTC)
        now: datetime = (await self._connection.execute(select(func.now()))).scalar_one()
        return now

    async def share_counting(self) -> None:
        """Until the end of the transaction nobody begins to count a budget."""
        if self._on_postgresql:
            await self._connection.execute(select(func.pg_advisory_xact_lock_shared(_COUNTING)))

    async def count_alone(self) -> None:
        """Wait for those that store records, and have others wait, to the end of the transaction.

        So whoever stores a record has seen the budget, or the budget's count sees the record.
        """
        if self._on_postgresql:
            await self._connection.execute(select(func.pg_advisory_xact_lock(_COUNTING)))

    @property
    def _on_postgresql(self) -> bool:
        """On SQLite there is one writer at a time."""
        return self._connection.dialect.name == "postgresql"

    # --- windows ---

    async def open(self, window: Window) -> Account:
        """Lock a window's account, which is made if there is none."""
        values = {
            "budget_uid": window.budget_uid,
            "start_time": window.start_time,
            "end_time": window.end_time,
            "spent": 0,
            "leased": 0,
        }
        new = rows.insert_new(self._connection.dialect, windows)
        await self._connection.execute(new, values)
        account = await self._locked(window)
        assert account is not None  # noqa: S101 - for the type checker
        return account

    async def _locked(self, window: Window) -> Account | None:
        held = select(func.count(leases.c.holder.distinct())).where(_of(leases, window))
        found = select(
            windows.c.spent, windows.c.leased, windows.c.refuse_time, held.scalar_subquery()
        ).where(_of(windows, window))
        row = (await self._connection.execute(found.with_for_update(of=windows))).first()
        return None if row is None else Account(*row)

    async def charge(self, window: Window, amount: int) -> int:
        """Add to what is spent; what that was before. The account is locked."""
        before = (await self.open(window)).spent
        spent = _bounded(before + amount)
        statement = update(windows).where(_of(windows, window))
        await self._connection.execute(statement.values(spent=spent))
        return before

    async def set_spent(self, window: Window, spent: int) -> None:
        """Replace what is spent, and forget that calls were refused. The account is locked."""
        statement = update(windows).where(_of(windows, window))
        await self._connection.execute(statement.values(spent=_bounded(spent), refuse_time=None))

    async def refuse(self, window: Window, now: datetime) -> None:
        """Note that a call was refused. The account is locked."""
        statement = update(windows).where(_of(windows, window), windows.c.refuse_time.is_(None))
        await self._connection.execute(statement.values(refuse_time=now))

    async def of(self, windows_: Collection[Window]) -> dict[str, Account]:
        """The accounts of these windows, each of another budget, by budget; not locked."""
        if not windows_:
            return {}
        wanted = or_(*(_of(windows, window) for window in windows_))
        found = await self._connection.execute(select(windows).where(wanted))
        return {row.budget_uid: Account(row.spent, row.leased, row.refuse_time) for row in found}

    async def spent(self, window: Window, unit: BudgetUnit, scope: Filter | None) -> int:
        """Of the window's budget, by the ledger: the sum over all records that count in it."""
        if self._on_postgresql:
            await self._connection.execute(_TIMEOUT)
        charged = func.coalesce(usage.c.budget_time, usage.c.start_time)
        conditions = [
            charged >= window.start_time,
            usage.c.create_time >= window.start_time - _SETTLING,
            _USAGE.where(scope) if scope is not None else true(),
        ]
        if window.end_time is not None:
            conditions += [
                charged < window.end_time,
                usage.c.create_time < window.end_time + _SETTLING,
            ]
        total = select(func.coalesce(Total(_AMOUNTS[unit]), 0)).where(*conditions)
        return int((await self._connection.execute(total)).scalar_one())

    async def forget(self, budget_uid: str) -> None:
        """Drop all that is known of a budget."""
        for table in (windows, leases):
            await self._connection.execute(delete(table).where(table.c.budget_uid == budget_uid))

    async def forget_before(self, end: datetime) -> None:
        """Drop windows that were over by then, and of which nobody holds anything."""
        old = (windows.c.end_time < end, windows.c.leased == 0)
        await self._connection.execute(delete(windows).where(*old))

    async def _add(self, window: Window, *, leased: int) -> None:
        statement = update(windows).where(_of(windows, window))
        await self._connection.execute(statement.values(leased=windows.c.leased + leased))

    # --- leases ---

    async def grant(self, holder: str, part: Part, most: int) -> bool:
        """Let a process hold an amount; False: spent and held would be more than `most`."""
        taken = windows.c.spent + windows.c.leased + part.amount
        statement = update(windows).where(_of(windows, part.window), taken <= most)
        granted = await self._connection.execute(
            statement.values(leased=windows.c.leased + part.amount)
        )
        if granted.rowcount == 0:
            return False
        values = {
            "lease_id": part.lease_id,
            "holder": holder,
            "budget_uid": part.window.budget_uid,
            "start_time": part.window.start_time,
            "amount": part.amount,
        }
        await self._connection.execute(insert(leases).values(values))
        return True

    async def give_back(self, parts: Sequence[Part]) -> None:
        """Take amounts out of leases that are still there."""
        for part in _in_order(parts):
            await self._locked(part.window)
            held = leases.c.lease_id == part.lease_id
            less = update(leases).where(held).values(amount=leases.c.amount - part.amount)
            if (await self._connection.execute(less)).rowcount:
                await self._add(part.window, leased=-part.amount)

    async def end(self, ended: Mapping[str, Window]) -> None:
        """Give back all of these leases, whatever is left of each."""
        for lease_id in sorted(ended, key=lambda one: _place(ended[one])):
            await self._locked(ended[lease_id])
            await self._drop(leases.c.lease_id == lease_id, ended[lease_id])

    async def any(self) -> bool:
        """Whether there are windows, or leases."""
        return bool((await self._connection.execute(_ANY)).scalar_one())

    async def beat(self, holder: str) -> bool:
        """The process lives; False: what it held is no longer its own."""
        now = await self.now()
        known = update(holders).where(holders.c.holder == holder).values(beat_time=now)
        if (await self._connection.execute(known)).rowcount:
            return True
        new = rows.insert_new(self._connection.dialect, holders)
        await self._connection.execute(new, {"holder": holder, "beat_time": now})
        return False

    async def leave(self, holder: str) -> int:
        """A process has ended and its records are stored: what it held is free; how much it was."""
        await self._connection.execute(delete(holders).where(holders.c.holder == holder))
        return await self._end_all(leases.c.holder == holder)

    async def end_silent(self, term: timedelta) -> int:
        """Give back what processes hold that were silent for `term`; how much it was."""
        stale = holders.c.beat_time < await self.now() - term
        await self._connection.execute(delete(holders).where(stale))
        return await self._end_all(leases.c.holder.not_in(select(holders.c.holder)))

    async def _end_all(self, which: ColumnElement[bool]) -> int:
        found = select(leases.c.budget_uid, leases.c.start_time).where(which).distinct()
        concerned = [Window(*row, None) for row in await self._connection.execute(found)]
        freed = 0
        for window in sorted(concerned, key=_place):
            await self._locked(window)
            freed += await self._drop(which, window)
        return freed

    async def _drop(self, which: ColumnElement[bool], window: Window) -> int:
        statement = delete(leases).where(which, _of(leases, window)).returning(leases.c.amount)
        freed = sum(map(int, (await self._connection.execute(statement)).scalars()))
        if freed:
            await self._add(window, leased=-freed)
        return freed


def _of(table: Table, window: Window) -> ColumnElement[bool]:
    return and_(table.c.budget_uid == window.budget_uid, table.c.start_time == window.start_time)


def _place(window: Window) -> tuple[str, datetime]:
    """All lock windows in this order, so that nobody waits in a circle."""
    return window.budget_uid, window.start_time


def _in_order(parts: Sequence[Part]) -> list[Part]:
    return sorted(parts, key=lambda part: _place(part.window))


def _bounded(spent: int) -> int:
    return max(-MOST_SPENT, min(spent, MOST_SPENT))

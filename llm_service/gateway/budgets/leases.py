"""Room in hard budgets: held in memory where there is much, asked of the database where not.

A window's spent + leased never exceeds what its budget allows: a lease is taken by one conditional
update, attempts hold parts of leases for the most they could use, and the transaction that stores
what they used makes leased less by what it makes spent more.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from llm_service.domain.access import as_service
from llm_service.domain.budget import Budget
from llm_service.errors import BudgetExceeded, GatewayError, StorageUnavailable
from llm_service.gateway.budgets import accounting
from llm_service.gateway.budgets.holding import Hold, Holdings, Lease
from llm_service.gateway.budgets.scope import is_in, window_at
from llm_service.gateway.ids import new_id
from llm_service.storage.budget_accounts import Account, Part, Window
from llm_service.storage.database import Database, Transaction

logger = logging.getLogger(__name__)

TERM = timedelta(seconds=120)
"""How long a process may be silent before others take what it holds: an outage of a minute fits."""

TICK_SECONDS = 1.0
_BEAT_SECONDS = 10.0
_AHEAD = 32
"""Attempts that one question to the database makes room for, where there is much."""
_SHARE = 4
"""All processes together take at most about a quarter of the room ahead of their needs."""
_REFUSED_SECONDS = 0.5
"""How long an answer "there is no room", or none, stands for those that ask after."""
_ROUNDS = 4
_KEPT_DAYS = 400
_RESET_SOON = timedelta(hours=1)


class DatabaseClock:
    """The database's clock, as it was last told. Until then this machine's own."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.monotonic = monotonic
        self._zero: datetime | None = None

    def set(self, told: datetime, asked: float) -> None:
        """`asked`: when the question was put, by `monotonic`."""
        self._zero = told - timedelta(seconds=(asked + self.monotonic()) / 2)

    def now(self) -> datetime:
        if self._zero is None:
            return datetime.now(UTC)
        return self._zero + timedelta(seconds=self.monotonic())


@dataclass(slots=True)
class _Door:
    """Who asks the database for room in one budget: one at a time."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    shut_until: float = float("-inf")
    refusal: Callable[[], GatewayError] | None = None
    refused: int = 0

    def knock(self, amount: int, now: float) -> None:
        """Raise what was said a moment ago to somebody who asked for no more."""
        if self.refusal is not None and now < self.shut_until and amount >= self.refused:
            raise self.refusal()

    def shut(self, amount: int, now: float, refusal: Callable[[], GatewayError]) -> None:
        self.shut_until = now + _REFUSED_SECONDS
        self.refused, self.refusal = amount, refusal


class Leases:
    """What this process holds of hard budgets.

    Args:
        database: where budgets are.
        holder: who this process is; whoever stores its records after its death knows it, too.
        clock: see `DatabaseClock`.
        term: as `TERM`.
    """

    def __init__(
        self,
        database: Database,
        holder: str,
        clock: DatabaseClock | None = None,
        term: timedelta = TERM,
    ) -> None:
        self.clock = clock or DatabaseClock()
        self._database = database
        self._holder = holder
        self._term = term
        self._holdings = Holdings()
        self._doors: dict[str, _Door] = {}
        self._unstored: dict[str, list[Hold]] = {}
        self._ending: dict[str, Window] = {}
        self._taking: set[asyncio.Future[Hold]] = set()
        self._beating = asyncio.Lock()
        self._beaten = self._swept = float("-inf")

    async def hold(
        self, needs: Sequence[tuple[Budget, int]]
    ) -> tuple[tuple[tuple[Budget, Hold], ...], datetime]:
        """Hold all of these amounts, or none; and by which moment they are in their windows.

        Raises:
            BudgetExceeded: one has no room.
            StorageUnavailable: that cannot be known now.
        """
        for _ in range(_ROUNDS):
            when = self.clock.now()
            holds: list[tuple[Budget, Hold]] = []
            try:
                for budget, amount in needs:
                    holds.append((budget, await self._hold(budget, amount, when)))
            except BaseException:
                _let_go(holds)
                raise
            if all(is_in(when, hold.lease.window) for _, hold in holds):
                return tuple(holds), when
            _let_go(holds)  # a window has begun meanwhile, by the database's clock
        raise StorageUnavailable("the database's clock is not steady")

    def settle(self, attempt_id: str, holds: Sequence[tuple[Hold, int]]) -> None:
        """An attempt has used so much of each hold; what it has not is free again."""
        if kept := [hold for hold, used in holds if hold.settle(used)]:
            self._unstored[attempt_id] = kept

    async def release(self, tx: Transaction, attempt_ids: frozenset[str]) -> None:
        """These attempts' use is counted as spent by this transaction: it is no longer held."""
        parts: dict[str, Part] = {}
        for hold in (hold for one in attempt_ids for hold in self._unstored.get(one, ())):
            part, known = hold.part, parts.get(hold.lease.lease_id)
            amount = part.amount + (known.amount if known else 0)
            parts[part.lease_id] = Part(part.lease_id, part.window, amount)
        if parts:
            await tx.budget_accounts.give_back(tuple(parts.values()))

    def stored(self, attempt_ids: Sequence[str]) -> None:
        """The transaction is committed."""
        if self._unstored:
            for hold in (hold for one in attempt_ids for hold in self._unstored.pop(one, ())):
                hold.stored()

    async def run(self) -> None:
        """Say that this process lives, and give back what is idle, until cancelled."""
        failing = False
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                await self.tick()
            except StorageUnavailable:
                if not failing:
                    logger.warning("budgets wait for the database; what is held of them is used")
                failing = True
            except Exception:  # the next look must still come
                logger.exception("budgets could not be looked after")
            else:
                failing = False

    async def tick(self) -> None:
        now = self.clock.monotonic()
        with as_service():
            if self._holdings.by_budget:
                await self._beat()
            await self._give_back(now - TICK_SECONDS)
            if now - self._swept >= _BEAT_SECONDS:
                self._swept = now
                await self._sweep()

    async def aclose(self) -> None:
        """Give back all that is held; the records of what was used are stored."""
        self._holdings.lose()
        if self._beaten == float("-inf"):
            return
        with suppress(StorageUnavailable), as_service():
            async with self._database.begin() as tx:
                await tx.budget_accounts.leave(self._holder)

    # --- taking ---

    async def _hold(self, budget: Budget, amount: int, when: datetime) -> Hold:
        now = self.clock.monotonic()
        if hold := self._holdings.hold(budget.uid, amount, when, now):
            return hold
        door = self._doors.setdefault(budget.uid, _Door())
        door.knock(amount, now)
        async with door.lock:
            now = self.clock.monotonic()
            if hold := self._holdings.hold(budget.uid, amount, when, now):
                return hold
            door.knock(amount, now)
            taking = asyncio.ensure_future(self._take(budget, amount, door))
            self._taking.add(taking)
            taking.add_done_callback(self._taking.discard)
            try:
                return await asyncio.shield(taking)
            except asyncio.CancelledError:
                taking.add_done_callback(_leave)
                raise

    async def _take(self, budget: Budget, amount: int, door: _Door) -> Hold:
        asked = self.clock.monotonic()
        try:
            with as_service():
                await self._beat()
                async with self._database.begin() as tx:
                    taken = await self._taken(tx, budget, amount, asked)
        except StorageUnavailable as error:
            said = str(error)
            door.shut(0, self.clock.monotonic(), lambda: StorageUnavailable(said))
            raise
        if isinstance(taken, _Full):
            full = taken
            door.shut(amount, self.clock.monotonic(), lambda: full.refusal(budget))
            raise full.refusal(budget)
        self._holdings.add(taken)
        return taken.hold(amount, asked)

    async def _taken(
        self, tx: Transaction, budget: Budget, amount: int, asked: float
    ) -> "Lease | _Full":
        accounts = tx.budget_accounts
        now = await accounts.now()
        self.clock.set(now, asked)
        window = window_at(budget, now)
        if window is None or budget.block_at is None:
            raise StorageUnavailable("the budget is not there yet")
        account = await accounts.open(window)
        room = budget.block_at - account.spent - account.leased
        if room < amount:
            await accounts.refuse(window, now)
            await accounting.refused(tx, budget, window, account.spent)
            return _Full(account, window, now)
        part = Part(new_id(), window, amount + _ahead(amount, room - amount, account.holders))
        if not await accounts.grant(self._holder, part, budget.block_at):
            raise StorageUnavailable("the budget has changed")  # its row is locked: it cannot
        return Lease(part.lease_id, window, self._holdings.tenure, part.amount, asked)

    async def _beat(self) -> None:
        """Have the database know this process, unless it was told a moment ago.

        One at a time, and in a transaction of its own: what fails afterwards must not take it back.
        """
        async with self._beating:
            now = self.clock.monotonic()
            if now - self._beaten < _BEAT_SECONDS:
                return
            async with self._database.begin() as tx:
                alive = await tx.budget_accounts.beat(self._holder)
            if not alive:
                self._holdings.lose()
            self._beaten = now
            self._holdings.tenure.valid_until = now + self._term.total_seconds()

    # --- giving back ---

    async def _give_back(self, idle_since: float) -> None:
        parts: list[Part] = []
        idle = list(self._holdings.idle_since(idle_since))
        for lease in idle:
            if lease.holds:
                parts.append(Part(lease.lease_id, lease.window, lease.free))
            else:
                self._ending[lease.lease_id] = lease.window
        if not parts and not self._ending:
            return
        freed = [(lease, lease.free) for lease in idle]
        ended = [lease for lease in idle if not lease.holds]
        for lease in idle:
            lease.free = 0
        written = False
        try:
            async with self._database.begin() as tx:
                await tx.budget_accounts.give_back(parts)
                await tx.budget_accounts.end(self._ending)
                written = True
        except StorageUnavailable:
            if not written:  # else nobody knows: what is gone from here comes back with the lease
                self._keep(freed)
            raise
        self._ending.clear()
        for lease in ended:
            self._holdings.remove(lease)

    def _keep(self, freed: Sequence[tuple[Lease, int]]) -> None:
        for lease, amount in freed:
            lease.free += amount
            self._ending.pop(lease.lease_id, None)

    async def _sweep(self) -> None:
        async with self._database.read() as tx:
            if not await tx.budget_accounts.any():
                return
        async with self._database.begin() as tx:
            accounts = tx.budget_accounts
            if freed := await accounts.end_silent(self._term):
                logger.warning("budgets have back what silent processes held: %d", freed)
            await accounts.forget_before(await accounts.now() - timedelta(days=_KEPT_DAYS))


@dataclass(frozen=True, slots=True)
class _Full:
    """A window without the room that was asked for."""

    account: Account
    window: Window
    now: datetime

    def refusal(self, budget: Budget) -> BudgetExceeded:
        end, spent, held = self.window.end_time, self.account.spent, self.account.leased
        resets = end is not None and end - self.now <= _RESET_SOON
        metadata = {
            "budget": budget.name,
            "unit": budget.unit.value,
            "limit": str(budget.block_at),
            "spent": str(spent),
            "reserved": str(held),
        }
        if end is not None:
            metadata["resetTime"] = end.isoformat().replace("+00:00", "Z")
        return BudgetExceeded(
            f"{budget.name} has no room for the call: {spent} spent and {held} reserved of "
            f"{budget.block_at} {budget.unit.value}",
            metadata=metadata,
            retry_delay=max(0.0, (end - self.now).total_seconds()) if end and resets else None,
        )


def _ahead(amount: int, room: int, holders: int) -> int:
    """What to take beyond a need, given the room there is after it."""
    return max(0, min(amount * _AHEAD, room // (_SHARE * (holders + 1))))


def _let_go(holds: Sequence[tuple[Budget, Hold]]) -> None:
    for _, hold in holds:
        hold.settle(0)


def _leave(taking: asyncio.Future[Hold]) -> None:
    """Whoever asked has gone meanwhile."""
    if not taking.cancelled() and taking.exception() is None:
        taking.result().settle(0)

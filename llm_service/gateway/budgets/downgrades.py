"""Which budgets have calls served by a cheaper model now, and what that makes of a call's chain."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from llm_service.domain.access import as_service
from llm_service.domain.alert import AlertAction
from llm_service.domain.budget import Budget
from llm_service.domain.completion import Attribution, Warning
from llm_service.domain.model_config import TargetSpec
from llm_service.domain.usage import Operation
from llm_service.errors import GatewayError, StorageUnavailable
from llm_service.gateway.budgets.leases import DatabaseClock
from llm_service.gateway.budgets.scope import Use, counts, is_in, window_at
from llm_service.gateway.call import CompletionCall
from llm_service.gateway.configuration import Configuration, View
from llm_service.gateway.resolution import Choice, Resolution
from llm_service.gateway.routing import Router
from llm_service.gateway.targets import Target
from llm_service.storage.budget_accounts import Window
from llm_service.storage.database import Database

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
DOWNGRADED = "MODEL_DOWNGRADED"
"""The reason of the warning in an answer."""


class Downgrades:
    """Follows what is spent of budgets that downgrade; a call reads it from memory."""

    def __init__(
        self,
        database: Database,
        configuration: Configuration,
        clock: DatabaseClock,
        router: Router,
    ) -> None:
        self._database = database
        self._configuration = configuration
        self._clock = clock
        self._router = router
        self._active: dict[str, tuple[Window, str]] = {}

    async def run(self) -> None:
        """Look once a second, until cancelled. An outage keeps what was last known."""
        while True:
            try:
                await self.refresh()
            except StorageUnavailable:
                logger.debug("what is spent of budgets is not known now")
            except Exception:  # the next look must still come
                logger.exception("what is spent of budgets could not be read")
            await asyncio.sleep(POLL_SECONDS)

    async def refresh(self) -> None:
        owners = list(self._configuration.loaded.values())
        found = [one for owned in owners for one in owned.budgets if _downgrades(one)]
        if not found:
            self._active = {}
            return
        asked = self._clock.monotonic()
        with as_service():
            async with self._database.read() as tx:
                now = await tx.budget_accounts.now()
                self._clock.set(now, asked)
                windows = {b.uid: w for b in found if (w := window_at(b, now)) is not None}
                accounts = await tx.budget_accounts.of(windows.values())
        self._active = {
            budget.uid: (windows[budget.uid], model)
            for budget in found
            if budget.uid in accounts and (model := _model(budget, accounts[budget.uid].spent))
        }

    def apply(
        self, view: View, call: CompletionCall, targets: tuple[Target, ...]
    ) -> tuple[Resolution, tuple[Target, ...]]:
        """The chain with the targets that a budget downgrades replaced, and a warning about it.

        One whose cheaper model cannot be routed stays: a soft budget refuses nothing.
        """
        resolution, who = call.resolution, call.request.attribution
        seen: set[str] = set()
        for budget, model in self._of(view.budgets) if self._active else ():
            concerned = [one for one in targets if _counted(budget, one, who)]
            if not concerned or model in seen:
                continue
            seen.add(model)
            choice = Choice(TargetSpec(model), origin=budget.name)
            with suppress(GatewayError):
                cheaper = self._router.targets(view, replace(resolution, choices=(choice,)), call)
                changed = _replaced(targets, concerned, cheaper)
                if changed != targets:
                    warning = Warning(
                        DOWNGRADED, "model", f"{budget.name} has calls served by {model} now"
                    )
                    warnings = (*resolution.warnings, warning)
                    resolution, targets = replace(resolution, warnings=warnings), changed
        return resolution, targets

    def _of(self, budgets: Iterable[Budget]) -> Iterable[tuple[Budget, str]]:
        now = self._clock.now()
        for budget in budgets:
            window, model = self._active.get(budget.uid, (None, ""))
            if window is not None and is_in(now, window):
                yield budget, model


def _downgrades(budget: Budget) -> bool:
    rules = budget.rules
    return not budget.disabled and any(one.action is AlertAction.DOWNGRADE for one in rules)


def _model(budget: Budget, spent: int) -> str:
    """What the highest threshold that is reached says; "": none is."""
    reached = [one for one in budget.reached(spent) if one.action is AlertAction.DOWNGRADE]
    return max(reached, key=lambda one: one.threshold_percent).downgrade_model if reached else ""


def _counted(budget: Budget, target: Target, who: Attribution) -> bool:
    credential = target.credential.name if target.credential else ""
    use = Use(who, target.provider.name, target.model.name, credential, Operation.CHAT)
    return counts(budget, use)


def _replaced(
    targets: Sequence[Target], concerned: Sequence[Target], cheaper: Sequence[Target]
) -> tuple[Target, ...]:
    """`cheaper` in the place of the first concerned; those that are it already stay."""
    names = {target.model.name for target in cheaper}
    dear = [target for target in concerned if target.model.name not in names]
    if not dear:
        return tuple(targets)
    first = targets.index(dear[0])
    kept = [one for one in targets if one not in dear and one.model.name not in names]
    before = [one for one in kept if targets.index(one) < first]
    return (*before, *cheaper, *kept[len(before) :])[: len(targets)]

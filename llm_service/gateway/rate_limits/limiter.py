"""Holds callers and targets to their rate limits."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import count

from llm_service.domain.access import CALLER
from llm_service.domain.completion import TokenUsage
from llm_service.domain.provider import RateLimits
from llm_service.domain.rate_limits import TOKENS, Demand, Hold, Metric, Scope
from llm_service.domain.usage import UsageRecord
from llm_service.errors import Quota, RateLimited
from llm_service.gateway.gates import Admission, Pass
from llm_service.gateway.ids import new_id
from llm_service.gateway.rate_limits.allowance import Allowance
from llm_service.gateway.rate_limits.shared import Meters
from llm_service.gateway.rate_limits.windows import LocalMeters

Refused = Callable[[Scope, Metric], None]
"""Hears of every refusal."""

_CALLERS = frozenset({Scope.TENANT, Scope.CLIENT_KEY})
_METRICS = tuple((metric, metric.value) for metric in Metric)
_FREE: nullcontext[None] = nullcontext()


class RateLimiter:
    """Charges a call to its caller, and each of its attempts to where it goes.

    Both at the start, by an estimate of the tokens: the input, and the output as far as the caller
    or the configuration bounds it. A model's own bound is left out, since it is far above what
    answers use. What is used in the end replaces the estimate; the request stays.

    Args:
        meters: that count; by default of this process alone.
        tenant_limits: of each tenant.
        refused: hears of every refusal.
    """

    def __init__(
        self,
        meters: Meters | None = None,
        tenant_limits: RateLimits = RateLimits(),
        refused: Refused | None = None,
    ) -> None:
        self._meters = meters or LocalMeters()
        self._tenant_limits = tenant_limits
        self._refused = refused
        self._id = new_id()
        self._numbers = count()

    async def admit(self, tenant: str, tokens: Callable[[], int]) -> Allowance | nullcontext[None]:
        """Charge the caller; `tokens` estimates them. The context to run the call in.

        Raises:
            RateLimited: the tenant or the client key is at a limit.
        """
        principal = CALLER.get().principal
        if self._tenant_limits.unlimited and principal.rate_limits.unlimited:
            return _FREE
        demands = [
            *_demands(Scope.TENANT, f"tenants/{tenant}", self._tenant_limits, tokens),
            *_demands(Scope.CLIENT_KEY, principal.name, principal.rate_limits, tokens),
        ]
        hold_id = f"{self._id}-{next(self._numbers)}"
        return Allowance(self._meters, await self._hold(hold_id, demands))

    async def enter(self, admission: Admission) -> Pass:
        """Charge the target, as a `Gate`.

        Raises:
            RateLimited: the provider, the credential or the model is at a limit. It falls back.
        """
        allowance = admission.call.allowance
        demands = _of_target(admission)
        if not demands and allowance is None:
            return _NOTHING
        hold = await self._hold(admission.attempt_id, demands) if demands else None
        if allowance is not None:
            allowance.attempt_begins()
        return _Charged(self._meters, hold, allowance)

    async def _hold(self, hold_id: str, demands: Sequence[Demand]) -> Hold:
        for demand in demands:
            if demand.amount > demand.limit:
                raise self._refusal(demand)
        hold = Hold(hold_id, tuple(demands))
        if (refusal := await self._meters.take(hold)) is not None:
            raise self._refusal(refusal.demand, refusal.seconds)
        return hold

    def _refusal(self, demand: Demand, seconds: float | None = None) -> RateLimited:
        if self._refused is not None:
            self._refused(demand.scope, demand.metric)
        text = f"{demand.subject} is limited to {demand.limit} {demand.metric.replace('_', ' ')}"
        never = demand.amount > demand.limit
        return RateLimited(
            f"{text}, and the call needs {demand.amount}" if never else text,
            Quota(demand.subject, demand.metric, demand.limit),
            retry_delay=seconds,
            retriable=not never,
            falls_back=demand.scope not in _CALLERS,
            of_credential=demand.scope is Scope.CREDENTIAL,
        )


class _Charged:
    """What an attempt was charged, and the call it is charged to besides."""

    __slots__ = ("_allowance", "_hold", "_meters")

    def __init__(self, meters: Meters, hold: Hold | None, allowance: Allowance | None) -> None:
        self._meters = meters
        self._hold = hold
        self._allowance = allowance

    def settled(self, record: UsageRecord) -> None:
        tokens = _used(record.attempt.usage)
        if self._hold is not None:
            self._meters.settle(self._hold, tokens)
        if self._allowance is not None:
            self._allowance.attempt_ended(tokens)


class _Nothing:
    def settled(self, record: UsageRecord) -> None:
        pass


_NOTHING = _Nothing()


def _of_target(admission: Admission) -> Sequence[Demand]:
    target = admission.target
    provider, credential, model = target.provider, target.credential, target.model
    limited = [
        (scope, owner.name, owner.rate_limits)
        for scope, owner in (
            (Scope.PROVIDER, provider),
            (Scope.CREDENTIAL, credential),
            (Scope.MODEL, model),
        )
        if owner is not None and not owner.rate_limits.unlimited
    ]
    if not limited:
        return ()

    def tokens() -> int:
        return admission.input_tokens + (admission.call.asked_output_tokens(target) or 0)

    return [demand for one in limited for demand in _demands(*one, tokens)]


def _demands(
    scope: Scope, subject: str, limits: RateLimits, tokens: Callable[[], int]
) -> list[Demand]:
    return [
        Demand(scope, subject, metric, limit, tokens() if metric in TOKENS else 1)
        for metric, name in _METRICS
        if (limit := getattr(limits, name)) is not None
    ]


def _used(usage: TokenUsage | None) -> int:
    return usage.input_tokens + usage.output_tokens if usage is not None else 0

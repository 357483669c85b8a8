"""Every target that was called lately: its circuit, its averages, and its provider in sum."""

import logging
import random
import re
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Any

from llm_service.domain.completion import CallError
from llm_service.domain.health import ANY, TargetKey
from llm_service.domain.usage import UsageRecord
from llm_service.errors import GatewayError, ProviderRateLimited, ProviderUnavailable
from llm_service.gateway.call import Call
from llm_service.gateway.health import outcomes
from llm_service.gateway.health.breaker import RULES, Breaker, Change, Outcome, Probe, Rules
from llm_service.gateway.health.windows import Average, Usual, Window
from llm_service.gateway.targets import Target

logger = logging.getLogger(__name__)

KEPT_TARGETS = 10_000
"""Beyond it the least used is forgotten: callers may name models that nobody listed."""

KEPT_PROVIDERS = 10_000
"""As many as there can be with a target each; providers come and go, and their records must too."""

HEALTH_SECONDS = 300.0
FIRST_TOKENS = 100  # of a provider's median; the latest ones

_WEIGHT = 0.2  # of one value in what routing reads
_LEAST_SPEED_SECONDS = 0.05  # of an answer; in less, its tokens came all at once
_PLAIN_ID = re.compile(r"[A-Za-z0-9._:/@-]{1,128}")


class TargetHealth:
    """What is known of one target."""

    __slots__ = ("breaker", "first_token", "key", "kind", "provider_id", "seen", "speed", "tenant",
                 "usual")  # fmt: skip

    def __init__(
        self, key: TargetKey, tenant: str, provider_id: str, kind: str, breaker: Breaker
    ) -> None:
        self.key = key
        self.tenant = tenant
        self.provider_id = provider_id
        self.kind = kind
        self.breaker = breaker
        self.first_token = Average(_WEIGHT)
        self.speed = Average(_WEIGHT)
        self.usual = Usual()
        self.seen = 0.0

    @property
    def provider(self) -> str:
        owner = f"tenants/{self.tenant}/" if self.tenant else ""
        return f"{owner}providers/{self.provider_id}"

    @property
    def text(self) -> str:
        """For the log, where a caller's own word has no place."""
        model_id = self.key.model_id
        plain = model_id if _PLAIN_ID.fullmatch(model_id) else "(unlisted)"
        by = f" by credentials/{self.key.credential_id}" if self.key.credential_id else ""
        return f"{self.provider}/models/{plain}{by}"


class ProviderRecord:
    """What is known of a provider beyond its targets."""

    __slots__ = ("first_tokens", "last_error", "seen", "targets", "window")

    def __init__(self) -> None:
        self.window = Window(HEALTH_SECONDS)
        self.first_tokens: deque[tuple[float, float]] = deque(maxlen=FIRST_TOKENS)
        self.last_error: CallError | None = None
        self.seen: float | None = None
        self.targets: dict[TargetKey, TargetHealth] = {}


Told = Callable[[TargetHealth, Change, float], None]


class Circuits:
    """Lets attempts through, learns from how they end, and tells routing: it is `Signals`.

    Args:
        rules: when circuits open.
        patience: seconds the service itself waits for a first token.
        now: a clock that never goes back, the one of calls.
        draw: 0 to 1, for jitter.
    """

    def __init__(
        self,
        rules: Rules = RULES,
        *,
        patience: float = 60.0,
        now: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.now = now
        self.told: Told = lambda *_: None
        """Told of what opens and closes here, and when."""
        self._rules = rules
        self._patience = patience
        self._draw = draw
        self._targets: OrderedDict[tuple[str, str, str], TargetHealth] = OrderedDict()
        self._providers: dict[str, ProviderRecord] = {}

    # --- as `Signals` ---

    def first_token_seconds(self, target: Target) -> float | None:
        known = self._targets.get(key_of(target))
        return known.first_token.read(self.now()) if known else None

    def tokens_per_second(self, target: Target) -> float | None:
        known = self._targets.get(key_of(target))
        return known.speed.read(self.now()) if known else None

    def ejected(self, target: Target) -> bool:
        known = self._targets.get(key_of(target))
        return known is not None and known.breaker.ejected(self.now())

    # --- around attempts ---

    def enter(
        self, key: tuple[str, str, str], target: Target, call: Call[Any]
    ) -> tuple[int, Probe | None]:
        """The epoch an attempt is let in at, and whether as a probe.

        Raises:
            ProviderUnavailable, ProviderRateLimited: it is to be passed over, and the call has
                another target that is not. Where nothing else is left it is tried all the same.
        """
        known = self._targets.get(key)
        if known is None:
            return 0, None
        breaker, now = known.breaker, self.now()
        if breaker.ejected(now):
            refusal = _refusal(breaker, now)
            if self._has_another(call, target, refusal):
                raise refusal
            return breaker.epoch, None
        if not breaker.opened:
            return breaker.epoch, None

        def answering() -> bool:
            return call.first_content is not None and call.first_content >= now

        return breaker.epoch, breaker.probe(now, answering)

    def settled(
        self,
        record: UsageRecord,
        target: Target,
        call: Call[Any],
        entered: tuple[int, Probe | None],
    ) -> float | None:
        """Learn from an attempt that was let in; gives its time to first token over the usual.

        None where it has no such time.
        """
        now, key = self.now(), key_of(target)
        known = self._targets.get(key)
        usual = known.usual.value if known else None
        found = outcomes.outcome(record, call, target, usual, self._patience)
        limit = outcomes.limit_seconds(record) if found is Outcome.SILENT else None
        self._note(target, record, now, found)
        if known is None:
            if found is Outcome.SILENT and limit is None:
                return None
            known = self._known(TargetKey(*key), target)
        else:
            self._targets.move_to_end(key)
        known.seen, known.kind = now, target.provider.kind
        if limit is not None:
            known.breaker.limit(now, limit)
        epoch, probe = entered
        change = known.breaker.settled(now, found, epoch, probe, record.error_reason)
        if change is not None:
            self._changed(known, change, now)
        return self._averaged(known, record, now, usual) if found is Outcome.SERVED else None

    # --- for whoever shares and shows it ---

    def known(self, key: TargetKey, tenant: str, provider_id: str) -> TargetHealth:
        """The target of that key, which may be new here."""
        return self._targets.get(key) or self._made(key, tenant, provider_id, "")

    def of_provider(self, uid: str) -> ProviderRecord | None:
        return self._providers.get(uid)

    def reset(self, provider_uid: str, credential_id: str = ANY, model_id: str = ANY) -> int:
        """Close the circuits of a provider's targets; how many were not closed."""
        record, now = self._providers.get(provider_uid), self.now()
        reset = 0
        for known in tuple(record.targets.values()) if record else ():
            fits = credential_id in (ANY, known.key.credential_id)
            if fits and model_id in (ANY, known.key.model_id) and known.breaker.reset(now):
                logger.info("the circuit of %s was reset", known.text)
                reset += 1
        return reset

    def count(self) -> dict[tuple[str, str], int]:
        """How many circuits are not closed, by provider kind and state. Safe in any thread."""
        now = self.now()
        found = Counter(
            (known.kind, known.breaker.state(now).value)
            for known in list(self._targets.values())
            if known.breaker.opened or now < known.breaker.limited_until
        )
        return dict(found)

    def _has_another(self, call: Call[Any], target: Target, refusal: GatewayError) -> bool:
        reasons = target.choice.spec.fallback_reasons
        if reasons and refusal.reason not in reasons:
            return False
        targets = call.targets
        later = targets[targets.index(target) + 1 :] if target in targets else ()
        return any(not self.ejected(one) for one in later)

    def _note(self, target: Target, record: UsageRecord, now: float, found: Outcome) -> None:
        """Into the provider's health."""
        uid, error = target.provider.uid, record.attempt.error
        known = self._providers.get(uid)
        theirs = error is not None and outcomes.is_of_provider(error.reason)
        if found is Outcome.SILENT and not theirs:
            return
        if known is None:
            known = self._providers[uid] = ProviderRecord()
            self._forget_refused()
        known.seen = now
        if theirs:
            known.last_error = error
        if found is not Outcome.SILENT:
            known.window.add(now, failed=found is Outcome.FAILED)
        if record.first_token is not None and found is Outcome.SERVED:
            known.first_tokens.append((now, record.first_token))

    def _forget_refused(self) -> None:
        """Of too many providers, the first that has no target: all it did was refuse a key."""
        if len(self._providers) > KEPT_PROVIDERS:
            bare = (uid for uid, record in self._providers.items() if not record.targets)
            del self._providers[next(bare)]  # the newest, if no other

    def _averaged(
        self, known: TargetHealth, record: UsageRecord, now: float, usual: float | None
    ) -> float | None:
        first, usage = record.first_token, record.attempt.usage
        if first is None:
            return None
        known.first_token.add(now, first)
        known.usual.add(now, first)
        lasted = record.attempt.duration - first
        if usage is not None and usage.output_tokens and lasted >= _LEAST_SPEED_SECONDS:
            known.speed.add(now, usage.output_tokens / lasted)
        return first / usual if usual else None

    def _changed(self, known: TargetHealth, change: Change, now: float) -> None:
        breaker = known.breaker
        if change is Change.OPENED:
            seconds = (breaker.until(now) or now) - now
            logger.warning(
                "the circuit of %s is open for %.1f s: %s", known.text, seconds, breaker.reason
            )
        else:
            logger.info("the circuit of %s is closed again", known.text)
        self.told(known, change, now)

    def _known(self, key: TargetKey, target: Target) -> TargetHealth:
        provider = target.provider
        return self._made(key, provider.tenant, provider.provider_id, provider.kind)

    def _made(self, key: TargetKey, tenant: str, provider_id: str, kind: str) -> TargetHealth:
        made = TargetHealth(key, tenant, provider_id, kind, Breaker(self._rules, self._draw))
        self._targets[key] = made
        record = self._providers.setdefault(key.provider_uid, ProviderRecord())
        record.targets[key] = made
        if len(self._targets) > KEPT_TARGETS:
            self._forget(next(iter(self._targets.values())))
        return made

    def _forget(self, known: TargetHealth) -> None:
        del self._targets[known.key]
        record = self._providers[known.key.provider_uid]
        del record.targets[known.key]
        if not record.targets:
            del self._providers[known.key.provider_uid]


def key_of(target: Target) -> tuple[str, str, str]:
    """As `TargetKey`, which it equals."""
    credential = target.credential
    return (
        target.provider.uid,
        credential.credential_id if credential is not None else "",
        target.model.model_id,
    )


def _refusal(breaker: Breaker, now: float) -> GatewayError:
    until = breaker.until(now)
    delay = None if until is None else until - now
    if breaker.opened:
        return ProviderUnavailable("it has been failing and is left alone", retry_delay=delay)
    return ProviderRateLimited("it takes no more calls for now", retry_delay=delay)

"""The service's metrics: their instruments, and the bound on what may become a label."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from opentelemetry.metrics import CallbackOptions, Meter, NoOpMeter, Observation

from llm_service.telemetry import conventions as names

MODELS_MAX = 500
"""Distinct (provider, model) pairs that get series of their own."""

Health = Callable[[], tuple[Mapping[tuple[str, str], int], int, int]]
"""Circuits that are not closed, by provider kind and state; how many calls there may be, and are.
"""


@dataclass(frozen=True, slots=True)
class AttemptLabels:
    """The label sets of one operation on one model, made once."""

    duration: dict[str, str]
    input_tokens: dict[str, str]
    output_tokens: dict[str, str]


class Metrics:
    """Every instrument of the service. No label holds a tenant, a user or a caller's text."""

    def __init__(self, meter: Meter) -> None:
        self.is_collected = not isinstance(meter, NoOpMeter)
        """Otherwise calls and attempts need not be told of."""
        self.active_calls = 0
        self._backlog: Callable[[], int] = lambda: 0
        self._configuration: Callable[[], tuple[int, float]] = lambda: (0, 0.0)
        self._health: Health = lambda: ({}, 0, 0)
        self._lag = 0.0
        self._labels: dict[tuple[str, str, str], AttemptLabels] = {}
        self._calls: dict[tuple[str, str], dict[str, str]] = {}
        self._call_duration = meter.create_histogram(
            names.CALL_DURATION,
            unit="s",
            description="Duration of inbound calls.",
            explicit_bucket_boundaries_advisory=names.RPC_SECONDS,
        )
        self._operation_duration = meter.create_histogram(
            names.OPERATION_DURATION,
            unit="s",
            description="Duration of upstream attempts.",
            explicit_bucket_boundaries_advisory=names.GENAI_SECONDS,
        )
        self._tokens = meter.create_histogram(
            names.TOKEN_USAGE,
            unit="{token}",
            description="Tokens an upstream attempt used.",
            explicit_bucket_boundaries_advisory=names.TOKENS,
        )
        self._first_chunk = meter.create_histogram(
            names.TIME_TO_FIRST_CHUNK,
            unit="s",
            description="From the start of a streamed attempt to its first content.",
            explicit_bucket_boundaries_advisory=names.FIRST_CHUNK_SECONDS,
        )
        self.undelivered_age = 0.0
        self._shared_limits_away: Callable[[], bool] = lambda: False
        self._count(meter)
        self._observe(meter)
        self._observe_parts(meter)
        self._observe_health(meter)

    def _count(self, meter: Meter) -> None:
        self._shed = meter.create_counter(
            names.SHED_CALLS,
            unit="{call}",
            description="Calls turned away for want of room: of the service, provider or tenant.",
        )
        self._rate_limited = meter.create_counter(
            names.RATE_LIMITED,
            unit="{refusal}",
            description="Calls and attempts that a rate limit refused.",
        )
        self._alerts = meter.create_counter(
            names.ALERTS, unit="{alert}", description="Alerts that this replica raised first."
        )
        self._deliveries = meter.create_counter(
            names.WEBHOOK_DELIVERIES,
            unit="{attempt}",
            description="Attempts to deliver an alert to a webhook, and those given up.",
        )

    def _observe(self, meter: Meter) -> None:
        meter.create_observable_gauge(
            names.ACTIVE_CALLS,
            callbacks=[lambda _: [Observation(self.active_calls)]],
            unit="{call}",
            description="Inbound calls in progress.",
        )
        meter.create_observable_gauge(
            names.LEDGER_BACKLOG,
            callbacks=[lambda _: [Observation(self._backlog())]],
            unit="{record}",
            description="Usage records that have not reached the database.",
        )
        meter.create_observable_gauge(
            names.QUARANTINED,
            callbacks=[lambda _: [Observation(self._configuration()[0])]],
            unit="{resource}",
            description="Loaded providers, credentials and models whose rows are broken.",
        )
        meter.create_observable_gauge(
            names.CONFIG_AGE,
            callbacks=[lambda _: [Observation(self._configuration()[1])]],
            unit="s",
            description="Since the database last confirmed the configuration in use.",
        )
        meter.create_observable_gauge(
            names.LOOP_LAG,
            callbacks=[self._take_lag],
            unit="s",
            description="Longest delay of the event loop since the last collection.",
        )

    def _observe_parts(self, meter: Meter) -> None:
        meter.create_observable_gauge(
            names.WEBHOOK_UNDELIVERED_AGE,
            callbacks=[lambda _: [Observation(self.undelivered_age)]],
            unit="s",
            description="Age of the oldest alert that is still to be delivered to a webhook.",
        )
        self._observe_process(meter)

    def _observe_process(self, meter: Meter) -> None:
        meter.create_observable_gauge(
            names.RATE_LIMITS_ALONE,
            callbacks=[lambda _: [Observation(int(self._shared_limits_away()))]],
            unit="1",
            description="1 while the server of shared rate limits is out of reach.",
        )

    def _observe_health(self, meter: Meter) -> None:
        meter.create_observable_gauge(
            names.CIRCUITS,
            callbacks=[self._look_at_circuits],
            unit="{circuit}",
            description="Targets passed over for now, by provider kind and state.",
        )
        meter.create_observable_gauge(
            names.INTAKE_LIMIT,
            callbacks=[lambda _: [Observation(self._health()[1])]],
            unit="{call}",
            description="Completions and embeddings that may be in progress at a time.",
        )
        meter.create_observable_gauge(
            names.INTAKE_CALLS,
            callbacks=[lambda _: [Observation(self._health()[2])]],
            unit="{call}",
            description="Completions and embeddings in progress.",
        )

    def _look_at_circuits(self, _: CallbackOptions) -> Iterable[Observation]:
        for (kind, state), count in self._health()[0].items():
            provider = names.PROVIDER_NAMES.get(kind, kind) or names.OTHER
            yield Observation(count, {names.PROVIDER: provider, names.CIRCUIT_STATE: state})

    def observe_health(self, look: Health) -> None:
        """As `observe_backlog`."""
        self._health = look

    def shed(self, by: str) -> None:
        self._shed.add(1, {names.SHED_BY: by})

    def observe_backlog(self, backlog: Callable[[], int]) -> None:
        """`backlog` is called from the collecting thread and must be quick and safe there."""
        self._backlog = backlog

    def observe_configuration(self, look: Callable[[], tuple[int, float]]) -> None:
        """As `observe_backlog`."""
        self._configuration = look

    def alert(self, kind: str) -> None:
        """`kind` comes from a closed set, as the outcome of `delivery` does."""
        self._alerts.add(1, {names.ALERT_KIND: kind})

    def delivery(self, outcome: str) -> None:
        self._deliveries.add(1, {names.WEBHOOK_OUTCOME: outcome})

    def observe_shared_limits(self, away: Callable[[], bool]) -> None:
        """As `observe_backlog`."""
        self._shared_limits_away = away

    def rate_limited(self, scope: str, metric: str) -> None:
        """Both labels come from closed sets: the kinds of owners and the limits there are."""
        self._rate_limited.add(1, {names.LIMIT_SCOPE: scope, names.LIMIT_METRIC: metric})

    def loop_lagged(self, seconds: float) -> None:
        self._lag = max(self._lag, seconds)

    def _take_lag(self, _: CallbackOptions) -> Iterable[Observation]:
        lag, self._lag = self._lag, 0.0
        return [Observation(lag)]

    def call(self, method: str, code: str, seconds: float) -> None:
        """Both labels come from closed sets: registered methods and gRPC's codes."""
        labels = self._calls.get((method, code))
        if labels is None:
            labels = {names.RPC_SYSTEM: "grpc", names.RPC_METHOD: method, names.RPC_STATUS: code}
            if code in names.SERVER_FAULTS:
                labels[names.ERROR_TYPE] = code
            self._calls[method, code] = labels
        self._call_duration.record(seconds, labels)

    def labels(self, operation: str, provider: str, model: str) -> AttemptLabels:
        """The labels of a configured model; beyond `MODELS_MAX` of them, one shared set."""
        known = self._labels.get((operation, provider, model))
        if known is not None:
            return known
        if len(self._labels) >= MODELS_MAX:
            return _attempt_labels(operation, names.OTHER, names.OTHER)
        made = self._labels[operation, provider, model] = _attempt_labels(
            operation, provider, model
        )
        return made

    def attempt(self, labels: AttemptLabels, seconds: float, error: str) -> None:
        """`error` is a reason from the contract, "" for none."""
        duration = labels.duration
        self._operation_duration.record(
            seconds, {**duration, names.ERROR_TYPE: error} if error else duration
        )

    def first_chunk(self, labels: AttemptLabels, seconds: float) -> None:
        self._first_chunk.record(seconds, labels.duration)

    def tokens(self, labels: AttemptLabels, input_tokens: int, output_tokens: int) -> None:
        self._tokens.record(input_tokens, labels.input_tokens)
        self._tokens.record(output_tokens, labels.output_tokens)


def _attempt_labels(operation: str, provider: str, model: str) -> AttemptLabels:
    labels = {names.OPERATION: operation, names.PROVIDER: provider, names.REQUEST_MODEL: model}
    return AttemptLabels(
        labels, {**labels, names.TOKEN_TYPE: "input"}, {**labels, names.TOKEN_TYPE: "output"}
    )

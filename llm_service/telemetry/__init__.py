"""What the service tells about itself: spans, metrics and logs, without content or secrets."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Self

from opentelemetry.metrics import NoOpMeter

from llm_service.telemetry import conventions as names
from llm_service.telemetry import spans
from llm_service.telemetry.metrics import Health, Metrics
from llm_service.telemetry.pipeline import Pipeline
from llm_service.telemetry.spans import AttemptSpan, ServerCall

__all__ = ["AttemptSpan", "ServerCall", "Telemetry"]


class Telemetry:
    """The tracer and the instruments of this process. Sets no global provider."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._tracer = pipeline.tracer
        self._metrics = Metrics(pipeline.meter)

    @classmethod
    def start(  # noqa: PLR0913  settings, by name
        cls,
        *,
        service_version: str,
        otlp_endpoint: str = "",
        sample_ratio: float = 1.0,
        prometheus_listen: str = "",
        environment: str = "",
        span_processor: object | None = None,
        metric_reader: object | None = None,
    ) -> Self:
        """Start exporting to what is named; without an exporter, trace ids still exist and flow.

        Args:
            service_version: of this build.
            otlp_endpoint: "http://host:4317" or "https://..."; takes OTLP over gRPC.
            sample_ratio: share of new traces to record, 0 to 1. A caller's own decision wins.
            prometheus_listen: "host:port" to serve `/metrics` on.
            environment: `deployment.environment.name`, e.g. "production".
            span_processor: an OpenTelemetry `SpanProcessor` instead of the OTLP exporter.
            metric_reader: an OpenTelemetry `MetricReader` beside the exporters.

        Raises:
            OSError: nothing can listen on `prometheus_listen`.
        """
        if not (otlp_endpoint or prometheus_listen or span_processor or metric_reader):
            return cls(Pipeline(None, NoOpMeter(names.SCOPE)))
        from llm_service.telemetry import export  # the SDK takes some 3 MB

        return cls(
            export.started(
                service_version=service_version,
                environment=environment,
                otlp_endpoint=otlp_endpoint,
                sample_ratio=sample_ratio,
                prometheus_listen=prometheus_listen,
                span_processor=span_processor,
                metric_reader=metric_reader,
            )
        )

    def server_call(
        self, method: str, metadata: Iterable[tuple[str, str | bytes]] = ()
    ) -> ServerCall:
        """A context manager around one inbound call of the full `method` name."""
        return ServerCall(self._tracer, self._metrics, method, metadata)

    def attempt(
        self,
        *,
        operation: str,
        provider_name: str,
        model: str,
        stream: bool,
        server_address: str = "",
        server_port: int = 0,
    ) -> AttemptSpan:
        """A context manager around one upstream attempt.

        `operation` is the conventions' word ("chat"); `provider_name` a provider kind; `model` a
        configured model's upstream id, never text a caller chose.
        """
        if self._tracer is None and not self._metrics.is_collected:
            return spans.UNWATCHED
        provider = names.PROVIDER_NAMES.get(provider_name, provider_name)
        labels = self._metrics.labels(operation, provider, model)
        if self._tracer is None:
            return AttemptSpan(self._metrics, labels, None)
        attributes: dict[str, str | bool | int] = {
            names.OPERATION: operation,
            names.PROVIDER: provider,
            names.REQUEST_MODEL: model,
            names.REQUEST_STREAM: stream,
        }
        if server_address:
            attributes[names.SERVER_ADDRESS] = server_address
        if server_port:
            attributes[names.SERVER_PORT] = server_port
        return AttemptSpan(self._metrics, labels, spans.attempt_span(self._tracer, attributes))

    trace_id = staticmethod(spans.trace_id)
    """The current call's trace, sampled or not: 32 hexadecimal digits; zeros outside a call."""

    def note_reason(self, reason: str) -> None:
        """The current call is about to fail with `reason`, an `ErrorReason` name."""
        call = spans.current_call.get()
        if call is not None:
            call.failed(reason)

    def observe_backlog(self, backlog: Callable[[], int]) -> None:
        """Publish `backlog()`: usage records not yet stored. Called from another thread."""
        self._metrics.observe_backlog(backlog)

    def observe_configuration(self, look: Callable[[], tuple[int, float]]) -> None:
        """Publish how many resources are quarantined, and the configuration's age in seconds.

        `look` is called from another thread.
        """
        self._metrics.observe_configuration(look)

    def alert(self, kind: str) -> None:
        """Count an alert that was raised; `kind` is an `AlertKind`'s value."""
        self._metrics.alert(kind)

    def delivery(self, outcome: str) -> None:
        """Count an attempt to deliver an alert: "delivered", "given_up" or a problem's value."""
        self._metrics.delivery(outcome)

    def note_undelivered(self, seconds: float) -> None:
        """Publish how long the oldest alert has waited to be delivered; 0: none waits."""
        self._metrics.undelivered_age = seconds

    def rate_limited(self, scope: str, metric: str) -> None:
        """A limit on `metric` (the contract's `RateLimits`) refused; `scope` says what it is of."""
        self._metrics.rate_limited(scope, metric)

    def observe_shared_limits(self, away: Callable[[], bool]) -> None:
        """Publish whether rate limits are held by this process alone against the configuration."""
        self._metrics.observe_shared_limits(away)

    def observe_health(self, look: Health) -> None:
        """Publish circuits that are not closed, and what is let in. Called from another thread."""
        self._metrics.observe_health(look)

    def shed(self, by: str) -> None:
        """A call was turned away by the bulkhead `by`: "service", "provider" or "tenant"."""
        self._metrics.shed(by)

    @property
    def active_calls(self) -> int:
        """Inbound calls in progress."""
        return self._metrics.active_calls

    async def watch_loop(self, interval: float = 0.5) -> None:
        """Measure how late the event loop wakes, every `interval` seconds, if that is collected."""
        if not self._metrics.is_collected:
            return
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + interval
            await asyncio.sleep(interval)
            self._metrics.loop_lagged(max(0.0, loop.time() - due))

    async def shutdown(self) -> None:
        """Export what is left, for at most ten seconds, and stop."""
        await asyncio.to_thread(self._pipeline.stop)

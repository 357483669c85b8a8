"""Where spans and metrics go: the OpenTelemetry SDK, OTLP, and the Prometheus endpoint."""

from collections.abc import Callable
from functools import partial
from typing import cast
from urllib.parse import urlsplit

from opentelemetry.metrics import NoOpMeter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

from llm_service.telemetry.conventions import SCOPE
from llm_service.telemetry.pipeline import Pipeline

FLUSH_MILLISECONDS = 10_000


def started(  # noqa: PLR0913  settings, by name
    *,
    service_version: str,
    environment: str,
    otlp_endpoint: str,
    sample_ratio: float,
    prometheus_listen: str,
    span_processor: object | None,
    metric_reader: object | None,
) -> Pipeline:
    """The SDK, exporting to what is named; as `Telemetry.start`."""
    resource = _resource(service_version, environment)
    processor = cast("SpanProcessor | None", span_processor) or _otlp_spans(otlp_endpoint)
    readers, closers = _metric_readers(otlp_endpoint, prometheus_listen, metric_reader)
    traces = TracerProvider(
        sampler=ParentBasedTraceIdRatio(sample_ratio), resource=resource, shutdown_on_exit=False
    )
    if processor:
        traces.add_span_processor(processor)
    tracer = traces.get_tracer(SCOPE, service_version) if processor else None
    if not readers:  # an SDK instrument costs its microseconds even when nobody reads it
        return Pipeline(tracer, NoOpMeter(SCOPE), (traces.shutdown,))
    meters = MeterProvider(readers, resource, shutdown_on_exit=False)
    meter = meters.get_meter(SCOPE, service_version)
    stop_meters = partial(meters.shutdown, FLUSH_MILLISECONDS)
    return Pipeline(tracer, meter, (traces.shutdown, stop_meters, *closers))


def _resource(service_version: str, environment: str) -> Resource:
    attributes = {"service.name": "llm-service", "service.version": service_version}
    if environment:
        attributes["deployment.environment.name"] = environment
    return Resource.create(attributes)


def _otlp_spans(endpoint: str) -> SpanProcessor | None:
    if not endpoint:
        return None
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    return BatchSpanProcessor(
        OTLPSpanExporter(endpoint, insecure=_is_plain(endpoint)),
        export_timeout_millis=FLUSH_MILLISECONDS,
    )


def _metric_readers(
    otlp_endpoint: str, prometheus_listen: str, extra: object | None
) -> tuple[list[MetricReader], list[Callable[[], object]]]:
    readers: list[MetricReader] = [cast("MetricReader", extra)] if extra else []
    closers: list[Callable[[], object]] = []
    if otlp_endpoint:
        readers.append(_otlp_metrics(otlp_endpoint))
    if prometheus_listen:
        reader, close = _prometheus(prometheus_listen)
        readers.append(reader)
        closers.append(close)
    return readers, closers


def _otlp_metrics(endpoint: str) -> MetricReader:
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

    return PeriodicExportingMetricReader(
        OTLPMetricExporter(endpoint, insecure=_is_plain(endpoint)),
        export_timeout_millis=FLUSH_MILLISECONDS,
    )


def _prometheus(listen: str) -> tuple[MetricReader, Callable[[], object]]:
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry()
    host, _, port = listen.rpartition(":")
    server, thread = start_http_server(int(port), host.strip("[]"), registry)

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return PrometheusMetricReader(registry=registry), close


def _is_plain(endpoint: str) -> bool:
    return urlsplit(endpoint).scheme != "https"

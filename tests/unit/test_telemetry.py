"""Spans, metrics and trace ids, as an exporter would see them."""

import asyncio
import socket
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from llm_service import errors
from llm_service.telemetry import Telemetry
from llm_service.telemetry.metrics import MODELS_MAX

METHOD = "/llmservice.v1.CompletionService/Complete"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOBODY = "0" * 32
CHAT = {"operation": "chat", "provider_name": "openai", "model": "gpt-4o", "stream": True}


class Collected:
    """A telemetry and what it would have exported."""

    def __init__(self, **settings) -> None:
        self.exported, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.telemetry = Telemetry.start(
            service_version="1.2.3",
            span_processor=SimpleSpanProcessor(self.exported),
            metric_reader=self.reader,
            **settings,
        )

    def spans(self):
        return self.exported.get_finished_spans()

    def metrics(self):
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        scopes = [s for resource in data.resource_metrics for s in resource.scope_metrics]
        return {m.name: m.data.data_points for scope in scopes for m in scope.metrics}


@pytest.fixture
def collected():
    return Collected()


def test_an_attempt_is_a_client_span_of_the_genai_conventions_inside_its_call(collected):
    with collected.telemetry.server_call(METHOD, ()) as call:
        with collected.telemetry.attempt(
            **CHAT, server_address="api.openai.com", server_port=443
        ) as attempt:
            attempt.first_chunk(0.25)
            attempt.finished(
                response_model="gpt-4o-2024",
                response_id="r-1",
                finish_reason="stop",
                input_tokens=10,
                output_tokens=20,
                cache_read=3,
                reasoning=4,
            )
        trace_id = call.trace_id

    inner, outer = collected.spans()
    assert (inner.name, inner.kind) == ("chat gpt-4o", SpanKind.CLIENT)
    assert inner.parent.span_id == outer.context.span_id
    assert format(inner.context.trace_id, "032x") == trace_id
    assert inner.status.status_code is StatusCode.UNSET
    assert dict(inner.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.request.stream": True,
        "server.address": "api.openai.com",
        "server.port": 443,
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.response.model": "gpt-4o-2024",
        "gen_ai.response.id": "r-1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 3,
        "gen_ai.usage.reasoning.output_tokens": 4,
    }


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(errors.ProviderTimeout("secret words"), "PROVIDER_TIMEOUT", id="ours"),
        pytest.param(RuntimeError("secret words"), "INTERNAL", id="bug"),
        pytest.param(asyncio.CancelledError("secret words"), "CANCELLED", id="cancelled"),
        pytest.param(GeneratorExit("secret words"), "CANCELLED", id="closed"),
    ],
)
def test_an_attempt_left_by_an_exception_names_its_reason_and_not_its_text(
    collected, error, reason
):
    with pytest.raises(type(error)), collected.telemetry.attempt(**CHAT):
        raise error

    [span] = collected.spans()
    assert span.attributes["error.type"] == span.status.description == reason
    assert not span.events
    assert "secret words" not in span.to_json()
    [duration] = collected.metrics()["gen_ai.client.operation.duration"]
    assert duration.attributes["error.type"] == reason


def test_a_reason_given_to_an_attempt_wins_over_its_exception(collected):
    attempt = collected.telemetry.attempt(**CHAT)
    attempt.failed("DEADLINE_EXCEEDED")
    with pytest.raises(asyncio.CancelledError), attempt:
        raise asyncio.CancelledError

    [span] = collected.spans()
    assert span.status.description == "DEADLINE_EXCEEDED"


def test_an_attempt_is_measured_by_provider_and_model(collected):
    with collected.telemetry.attempt(**{**CHAT, "provider_name": "bedrock"}) as attempt:
        attempt.first_chunk(0.5)
        attempt.finished(input_tokens=10, output_tokens=20)

    metrics = collected.metrics()
    labels = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "aws.bedrock",
        "gen_ai.request.model": "gpt-4o",
    }
    assert dict(metrics["gen_ai.client.operation.duration"][0].attributes) == labels
    assert metrics["gen_ai.client.operation.time_to_first_chunk"][0].sum == 0.5
    assert {
        point.attributes["gen_ai.token.type"]: point.sum
        for point in metrics["gen_ai.client.token.usage"]
    } == {"input": 10, "output": 20}


def test_attempts_that_nobody_traces_or_measures_have_one_span(collected):
    unwatched = Telemetry.start(service_version="1")
    with unwatched.attempt(**CHAT) as span:
        span.first_chunk(0.1)
        span.finished(input_tokens=1)
        span.failed("CANCELLED")
    with pytest.raises(ZeroDivisionError), unwatched.attempt(**CHAT) as other:
        raise ZeroDivisionError

    assert span is other
    assert collected.telemetry.attempt(**CHAT) is not span


async def test_nobody_watches_a_loop_whose_lag_nobody_collects():
    async with asyncio.timeout(5):
        await Telemetry.start(service_version="1").watch_loop()


def test_the_number_of_models_that_become_labels_is_bounded(collected):
    for number in range(MODELS_MAX + 20):
        with collected.telemetry.attempt(**{**CHAT, "model": f"m-{number}"}):
            pass
    with collected.telemetry.attempt(**{**CHAT, "model": "m-0"}):
        pass

    points = collected.metrics()["gen_ai.client.operation.duration"]
    by_model = {point.attributes["gen_ai.request.model"]: point.count for point in points}
    assert len(by_model) == MODELS_MAX + 1
    assert (by_model["_OTHER"], by_model["m-0"]) == (20, 2)


@pytest.mark.parametrize("exporting", [False, True], ids=["off", "on"])
def test_a_callers_trace_goes_on_whether_or_not_spans_are_recorded(exporting):
    telemetry = Collected().telemetry if exporting else Telemetry.start(service_version="1")

    assert telemetry.trace_id() == NOBODY
    with telemetry.server_call(METHOD, (("traceparent", PARENT), ("x-bin", b"\0"))):
        inside = telemetry.trace_id()
        with telemetry.attempt(**CHAT) as attempt:
            attempt.first_chunk(1.0)
            attempt.finished(input_tokens=1)
            attempt.failed("INTERNAL")

    assert inside == "0af7651916cd43dd8448eb211c80319c"
    assert telemetry.trace_id() == NOBODY


@pytest.mark.parametrize("exporting", [False, True], ids=["off", "on"])
def test_every_call_without_a_parent_has_a_trace_id_of_its_own(exporting):
    telemetry = Collected().telemetry if exporting else Telemetry.start(service_version="1")

    seen = set()
    for _ in range(50):
        with telemetry.server_call(METHOD) as call:
            seen.add(call.trace_id)

    assert len(seen) == 50
    assert NOBODY not in seen
    assert all(len(trace_id) == 32 for trace_id in seen)


@given(st.text(max_size=80))
def test_a_trace_header_that_is_no_trace_is_ignored(header):
    telemetry = Telemetry.start(service_version="1")

    with telemetry.server_call(METHOD, (("traceparent", header),)) as call:
        assert len(call.trace_id) == 32
        assert call.trace_id != NOBODY


def test_a_sampled_out_call_still_has_its_trace_id():
    collected = Collected(sample_ratio=0.0)

    with collected.telemetry.server_call(METHOD) as call:
        assert call.trace_id != NOBODY
        with collected.telemetry.attempt(**CHAT):
            pass

    assert collected.spans() == ()


@pytest.mark.parametrize(
    ("code", "reason", "span_status"),
    [
        ("OK", "", StatusCode.UNSET),
        ("INVALID_ARGUMENT", "INVALID_FIELD", StatusCode.UNSET),
        ("UNAVAILABLE", "PROVIDER_TIMEOUT", StatusCode.ERROR),
        ("INTERNAL", "", StatusCode.ERROR),
    ],
)
def test_only_the_servers_own_faults_make_a_server_span_an_error(
    collected, code, reason, span_status
):
    with collected.telemetry.server_call(METHOD) as call:
        call.status(code)
        if reason:
            collected.telemetry.note_reason(reason)

    [span] = collected.spans()
    assert span.attributes["rpc.response.status_code"] == code
    assert span.status.status_code is span_status
    assert span.attributes.get("error.type", "") == (reason or ("INTERNAL" if code != "OK" else ""))


def test_spans_say_which_service_and_version_and_environment():
    collected = Collected(environment="staging")

    with collected.telemetry.server_call(METHOD):
        pass

    [span] = collected.spans()
    resource = span.resource.attributes
    assert (resource["service.name"], resource["service.version"]) == ("llm-service", "1.2.3")
    assert resource["deployment.environment.name"] == "staging"


def test_active_calls_and_the_backlog_can_be_read_while_they_change(collected):
    collected.telemetry.observe_backlog(lambda: 17)
    collected.telemetry.observe_configuration(lambda: (3, 1.5))

    with collected.telemetry.server_call(METHOD):
        during = collected.metrics()
        assert collected.telemetry.active_calls == 1
    after = collected.metrics()

    assert during["llm_service.server.active_calls"][0].value == 1
    assert after["llm_service.server.active_calls"][0].value == 0
    assert after["llm_service.ledger.backlog"][0].value == 17
    assert after["llm_service.config.quarantined"][0].value == 3
    assert after["llm_service.config.age"][0].value == 1.5


def test_refusals_of_rate_limits_are_counted_by_what_they_are_of(collected):
    away = [False]
    collected.telemetry.observe_shared_limits(lambda: away[0])
    collected.telemetry.rate_limited("tenant", "requests_per_minute")
    collected.telemetry.rate_limited("tenant", "requests_per_minute")
    away[0] = True

    metrics = collected.metrics()

    [refusals] = metrics["llm_service.rate_limit.refusals"]
    assert refusals.value == 2
    assert dict(refusals.attributes) == {
        "llm_service.rate_limit.scope": "tenant",
        "llm_service.rate_limit.metric": "requests_per_minute",
    }
    assert metrics["llm_service.rate_limit.shared_away"][0].value == 1


def test_circuits_and_what_is_let_in_and_shed_are_counted(collected):
    found = {("azure-openai", "open"): 2, ("", "limited"): 1}
    collected.telemetry.observe_health(lambda: (found, 100, 7))
    collected.telemetry.shed("provider")

    metrics = collected.metrics()

    circuits = {
        (one.attributes["gen_ai.provider.name"], one.attributes["llm_service.circuit.state"]): (
            one.value
        )
        for one in metrics["llm_service.circuits"]
    }
    assert circuits == {("azure.ai.openai", "open"): 2, ("_OTHER", "limited"): 1}
    assert metrics["llm_service.intake.limit"][0].value == 100
    assert metrics["llm_service.intake.calls"][0].value == 7
    assert dict(metrics["llm_service.shed.calls"][0].attributes) == {
        "llm_service.shed.by": "provider"
    }


async def test_a_blocked_loop_is_seen_once_and_then_forgotten(collected, monkeypatch):
    metrics, measured = collected.telemetry._metrics, asyncio.Event()
    lagged = metrics.loop_lagged
    monkeypatch.setattr(metrics, "loop_lagged", lambda late: (lagged(late), measured.set()))
    watch = asyncio.create_task(collected.telemetry.watch_loop(interval=0.001))
    await asyncio.sleep(0)
    blocked = asyncio.get_running_loop().time() + 0.05
    while asyncio.get_running_loop().time() < blocked:
        pass
    await measured.wait()
    watch.cancel()

    assert collected.metrics()["llm_service.event_loop.lag"][0].value >= 0.04
    assert collected.metrics()["llm_service.event_loop.lag"][0].value == 0


async def test_prometheus_can_scrape_the_metrics_until_the_end():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    telemetry = Telemetry.start(service_version="1", prometheus_listen=f"127.0.0.1:{port}")
    with telemetry.server_call(METHOD):
        pass

    page = await asyncio.to_thread(_scrape, port)
    await telemetry.shutdown()

    assert "rpc_server_call_duration_seconds_count{" in page
    assert "llm_service_server_active_calls" in page
    with pytest.raises(OSError, match="refused"):
        await asyncio.to_thread(_scrape, port)


class Collector:
    """An OTLP collector that keeps the bodies it is sent, by service."""

    def __init__(self) -> None:
        self.received: dict[str, list[bytes]] = {}
        self._server = grpc.server(ThreadPoolExecutor(2))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        for service in ("trace.v1.TraceService", "metrics.v1.MetricsService"):
            name = f"opentelemetry.proto.collector.{service}"
            bodies = self.received[service] = []
            handler = grpc.unary_unary_rpc_method_handler(
                lambda body, context, bodies=bodies: bodies.append(body) or b""
            )
            generic = grpc.method_handlers_generic_handler(name, {"Export": handler})
            self._server.add_generic_rpc_handlers((generic,))
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()


async def test_spans_and_metrics_reach_an_otlp_collector_before_shutdown_ends():
    collector = Collector()
    telemetry = Telemetry.start(
        service_version="1", otlp_endpoint=f"http://127.0.0.1:{collector.port}"
    )
    with telemetry.server_call(METHOD), telemetry.attempt(**CHAT):
        pass

    await telemetry.shutdown()
    collector.stop()

    assert b"chat gpt-4o" in b"".join(collector.received["trace.v1.TraceService"])
    assert b"rpc.server.call.duration" in b"".join(collector.received["metrics.v1.MetricsService"])


def _scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        return reply.read().decode()

"""Commands that call the service: call, usage, health."""

import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from llm_service.commands.console import (
    DEFAULT_ADDRESS,
    FAILED,
    Address,
    ApiKey,
    CaFile,
    CertFile,
    KeyFile,
    Target,
    app,
    channel,
    output,
    own_address,
    remote,
)

if TYPE_CHECKING:
    from rich.table import Table

    from llm_service.rpc.stubs import completion_pb2, usage_service_pb2


@app.command()
def call(
    prompt: Annotated[str, typer.Argument(help='What to say; "-" reads standard input.')],
    model: Annotated[str, typer.Option(help="Model, alias or resource name.")] = "",
    system: Annotated[str, typer.Option(help="System prompt.")] = "",
    max_tokens: Annotated[int, typer.Option(help="Most tokens to answer with; 0: no limit.")] = 0,
    timeout: Annotated[float, typer.Option(help="Seconds for the whole call.")] = 120.0,
    address: Address = DEFAULT_ADDRESS,
    ca_file: CaFile = "",
    cert_file: CertFile = "",
    key_file: KeyFile = "",
    key: ApiKey = "",
) -> None:
    """Stream one completion to the terminal."""
    request = _request(sys.stdin.read() if prompt == "-" else prompt, model, system, max_tokens)
    target = Target(address, ca_file, cert_file, key_file, key)
    remote(_stream(target, request, timeout))


@app.command()
def usage(
    days: Annotated[int, typer.Option(help="How many days back.", min=1, max=366)] = 7,
    tenant: Annotated[str, typer.Option(help='Tenant id; "-" for all.')] = "-",
    group_by: Annotated[str, typer.Option(help="Comma list of dimensions.")] = "model",
    address: Address = DEFAULT_ADDRESS,
    ca_file: CaFile = "",
    cert_file: CertFile = "",
    key_file: KeyFile = "",
    key: ApiKey = "",
) -> None:
    """Show what was used and what it cost, by day."""
    dimensions = [name.strip() for name in group_by.split(",") if name.strip()]
    target = Target(address, ca_file, cert_file, key_file, key)
    remote(_report(target, f"tenants/{tenant}", days, dimensions))


@app.command()
def health(
    service: Annotated[str, typer.Argument(help="Name to ask for; empty: the process.")] = "",
    address: Address = "",
    ca_file: CaFile = "",
    cert_file: CertFile = "",
    key_file: KeyFile = "",
    key: ApiKey = "",
) -> None:
    """Ask whether the service is serving; exit 0 if so. Without --address: the configured one."""
    target = Target(address or own_address(), ca_file, cert_file, key_file, key)
    remote(_health(target, service))


def _request(
    prompt: str, model: str, system: str, max_tokens: int
) -> "completion_pb2.CompletionRequest":
    from llm_service.rpc.stubs import completion_pb2, content_pb2

    request = completion_pb2.CompletionRequest(model=model)
    if system:
        request.messages.add(
            role=content_pb2.ROLE_SYSTEM, parts=[content_pb2.ContentPart(text=system)]
        )
    request.messages.add(role=content_pb2.ROLE_USER, parts=[content_pb2.ContentPart(text=prompt)])
    if max_tokens:
        request.params.max_output_tokens = max_tokens
    return request


async def _stream(
    target: Target, request: "completion_pb2.CompletionRequest", timeout: float
) -> None:
    from llm_service.rpc.stubs import completion_service_pb2_grpc as stubs

    provider = ""
    async with channel(target) as opened:
        stub = stubs.CompletionServiceStub(opened)
        async for event in stub.StreamComplete(request, timeout=timeout, metadata=target.metadata):
            if event.HasField("started"):
                provider = event.started.served_by.model
            if event.HasField("part_delta"):
                delta = event.part_delta
                typer.echo(delta.text or delta.refusal or delta.arguments_json, nl=False)
                sys.stdout.flush()
            if event.HasField("finished"):
                typer.echo("")
                typer.echo(_summary(provider, event.finished), err=True)


def _summary(model: str, finished: "completion_pb2.CompletionFinished") -> str:
    from llm_service.rpc.stubs import completion_pb2

    reason = completion_pb2.FinishReason.Name(finished.finish_reason)
    about = "~" if finished.usage.estimated else ""
    used = finished.usage
    return (
        f"[{model}, {reason.removeprefix('FINISH_REASON_').lower()}, "
        f"{about}{used.input_tokens} tokens in, {about}{used.output_tokens} out, "
        f"{money(finished.cost.total_nano_usd, incomplete=finished.cost.incomplete)}]"
    )


def money(nano_usd: int, *, incomplete: bool = False) -> str:
    """US dollars, to the nano-dollar; a missing price is said, never shown as nothing."""
    if incomplete and nano_usd == 0:
        return "price unknown"
    whole, rest = divmod(nano_usd, 1_000_000_000)
    digits = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"${whole}.{digits}" + (" + unknown" if incomplete else "")


async def _report(target: Target, parent: str, days: int, dimensions: list[str]) -> None:
    from llm_service.rpc.stubs import usage_service_pb2 as pb
    from llm_service.rpc.stubs import usage_service_pb2_grpc as stubs

    end = datetime.now(UTC)
    request = pb.QueryUsageRequest(
        parent=parent, time_bucket=pb.TIME_BUCKET_DAY, group_by=dimensions, page_size=1000
    )
    request.start_time.FromDatetime(end - timedelta(days=days))
    request.end_time.FromDatetime(end + timedelta(seconds=1))
    async with channel(target) as opened:
        answer = await stubs.UsageServiceStub(opened).QueryUsage(
            request, timeout=30, metadata=target.metadata
        )
    output().print(_table(answer, dimensions))


def _table(answer: "usage_service_pb2.QueryUsageResponse", dimensions: list[str]) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(
        title="Usage by day (UTC), in tokens", caption=_total(answer.total), box=box.SIMPLE
    )
    table.add_column("day", no_wrap=True)
    for name in dimensions:
        table.add_column(name, overflow="fold")
    for name in ["calls", "errors", "in", "out", "cost"]:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("share")
    most = max((row.metrics.cost_nano_usd for row in answer.rows), default=0)
    for row in answer.rows:
        metrics = row.metrics
        table.add_row(
            row.bucket_start_time.ToDatetime().date().isoformat(),
            *(row.dimensions[name] for name in dimensions),
            str(metrics.request_count),
            str(metrics.error_count),
            str(metrics.input_tokens),
            str(metrics.output_tokens),
            money(metrics.cost_nano_usd, incomplete=metrics.unpriced_request_count > 0),
            "█" * round(20 * metrics.cost_nano_usd / most) if most else "",
        )
    return table


def _total(total: "usage_service_pb2.UsageMetrics") -> str:
    cost = money(total.cost_nano_usd, incomplete=total.unpriced_request_count > 0)
    calls = "call" if total.request_count == 1 else "calls"
    return f"{total.request_count} {calls}, {cost}"


async def _health(target: Target, service: str) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    async with channel(target) as opened:
        stub = health_pb2_grpc.HealthStub(opened)
        answer = await stub.Check(
            health_pb2.HealthCheckRequest(service=service), timeout=5, metadata=target.metadata
        )
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    typer.echo(status)
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise typer.Exit(FAILED)

"""The commands: serve, migrate, seed, call, usage, health, version."""

import asyncio
import os
import sys
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llm_service.settings import Settings, SettingsError

if TYPE_CHECKING:
    import grpc
    from rich.table import Table

    from llm_service.rpc.stubs import completion_pb2, usage_service_pb2

FAILED = 1
USAGE_ERROR = 2

app = typer.Typer(
    name="llm-service",
    help="One gRPC service through which every backend and agent reaches every LLM vendor.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Address = Annotated[str, typer.Option("--address", envvar="LLM_ADDRESS", help="host:port to call.")]
CaFile = Annotated[
    str, typer.Option("--ca-file", help="Certificate authority of the service: turns TLS on.")
]
CertFile = Annotated[str, typer.Option("--cert-file", help="Client certificate, for mutual TLS.")]
KeyFile = Annotated[str, typer.Option("--key-file", help="Client key, for mutual TLS.")]

DEFAULT_ADDRESS = "127.0.0.1:50051"

_UNBOUNDED = 1000


def fail(message: str, code: int = FAILED) -> typer.Exit:
    """Say why in one line; raise what this returns."""
    typer.echo(f"llm-service: {message}", err=True)
    return typer.Exit(code)


def settings() -> Settings:
    try:
        return Settings.from_env(os.environ)
    except SettingsError as error:
        raise fail(str(error), USAGE_ERROR) from error


@app.command()
def serve() -> None:
    """Serve until SIGTERM, then drain. Settings come from the environment (see .env.example)."""
    from llm_service import serving

    raise typer.Exit(serving.run())


@app.command()
def migrate() -> None:
    """Bring the database's schema up to date. Safe to run from several machines at once."""
    from llm_service import bootstrap

    try:
        typer.echo(f"schema is at {bootstrap.migrate(settings())}")
    except bootstrap.CannotStart as error:
        raise fail(str(error)) from error


@app.command()
def seed() -> None:
    """Create the echo provider, and one per vendor key that is set."""
    from llm_service import bootstrap

    try:
        lines = asyncio.run(bootstrap.seed(settings()))
    except bootstrap.CannotStart as error:
        raise fail(str(error)) from error
    for line in lines:
        typer.echo(line)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(metadata.version("llm-service"))


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
) -> None:
    """Stream one completion to the terminal."""
    request = _request(sys.stdin.read() if prompt == "-" else prompt, model, system, max_tokens)
    tls = (ca_file, cert_file, key_file)
    _remote(_stream(address, tls, request, timeout))


@app.command()
def usage(
    days: Annotated[int, typer.Option(help="How many days back.", min=1, max=366)] = 7,
    tenant: Annotated[str, typer.Option(help='Tenant id; "-" for all.')] = "-",
    group_by: Annotated[str, typer.Option(help="Comma list of dimensions.")] = "model",
    address: Address = DEFAULT_ADDRESS,
    ca_file: CaFile = "",
    cert_file: CertFile = "",
    key_file: KeyFile = "",
) -> None:
    """Show what was used and what it cost, by day."""
    dimensions = [name.strip() for name in group_by.split(",") if name.strip()]
    tls = (ca_file, cert_file, key_file)
    _remote(_report(address, tls, f"tenants/{tenant}", days, dimensions))


@app.command()
def health(
    service: Annotated[str, typer.Argument(help="Name to ask for; empty: the process.")] = "",
    address: Address = "",
    ca_file: CaFile = "",
    cert_file: CertFile = "",
    key_file: KeyFile = "",
) -> None:
    """Ask whether the service is serving; exit 0 if so. Without --address: the configured one."""
    target = address or _own_address()
    _remote(_health(target, (ca_file, cert_file, key_file), service))


def _own_address() -> str:
    listen = str(settings().listen)
    for anywhere, here in (("0.0.0.0:", "127.0.0.1:"), ("[::]:", "[::1]:")):
        if listen.startswith(anywhere):
            return listen.replace(anywhere, here, 1)
    return listen


def _remote(work: Coroutine[object, object, None]) -> None:
    import grpc

    try:
        asyncio.run(work)
    except grpc.aio.AioRpcError as error:
        raise fail(_told(error)) from error
    except OSError as error:
        raise fail(f"{error.filename or ''}: {error.strerror}") from error


def _told(error: "grpc.aio.AioRpcError") -> str:
    from google.rpc import error_details_pb2, status_pb2

    reason = ""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    reason = f" {info.reason}:"
    details = " ".join((error.details() or "").split())
    return f"{error.code().name}:{reason} {details}".rstrip(" :")


def _channel(address: str, tls: tuple[str, str, str]) -> "grpc.aio.Channel":
    import grpc

    ca_file, cert_file, key_file = tls
    if not ca_file:
        return grpc.aio.insecure_channel(address)
    read = [Path(name).read_bytes() if name else None for name in (ca_file, key_file, cert_file)]
    return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(*read))


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
    address: str,
    tls: tuple[str, str, str],
    request: "completion_pb2.CompletionRequest",
    timeout: float,
) -> None:
    from llm_service.rpc.stubs import completion_service_pb2_grpc as stubs

    provider = ""
    async with _channel(address, tls) as channel:
        stub = stubs.CompletionServiceStub(channel)
        async for event in stub.StreamComplete(request, timeout=timeout):
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


async def _report(
    address: str, tls: tuple[str, str, str], parent: str, days: int, dimensions: list[str]
) -> None:
    from rich.console import Console

    from llm_service.rpc.stubs import usage_service_pb2 as pb
    from llm_service.rpc.stubs import usage_service_pb2_grpc as stubs

    end = datetime.now(UTC)
    request = pb.QueryUsageRequest(
        parent=parent, time_bucket=pb.TIME_BUCKET_DAY, group_by=dimensions, page_size=1000
    )
    request.start_time.FromDatetime(end - timedelta(days=days))
    request.end_time.FromDatetime(end + timedelta(seconds=1))
    async with _channel(address, tls) as channel:
        answer = await stubs.UsageServiceStub(channel).QueryUsage(request, timeout=30)
    console = Console()
    if not console.is_terminal:
        console.width = _UNBOUNDED  # whoever reads a pipe wants names whole
    console.print(_table(answer, dimensions))


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
    return f"{total.request_count} calls, {cost}"


async def _health(address: str, tls: tuple[str, str, str], service: str) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    async with _channel(address, tls) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    typer.echo(status)
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise typer.Exit(FAILED)

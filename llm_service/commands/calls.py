"""Commands that call the service: call, health."""

import sys
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
    money,
    own_address,
    remote,
)

if TYPE_CHECKING:
    from llm_service.rpc.stubs import completion_pb2


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

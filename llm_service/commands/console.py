"""What every command is made of: the application, its options, and a channel to the service."""

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llm_service.settings import Settings, SettingsError

if TYPE_CHECKING:
    import grpc
    from rich.console import Console

FAILED = 1
USAGE_ERROR = 2

_UNBOUNDED = 1000

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


def fail(message: str, code: int = FAILED) -> typer.Exit:
    """Say why in one line; raise what this returns."""
    typer.echo(f"llm-service: {message}", err=True)
    return typer.Exit(code)


def output() -> "Console":
    """Where tables are printed: a pipe has no width, for whoever reads it wants names whole."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = _UNBOUNDED
    return console


def settings() -> Settings:
    try:
        return Settings.from_env(os.environ)
    except SettingsError as error:
        raise fail(str(error), USAGE_ERROR) from error


def own_address() -> str:
    listen = str(settings().listen)
    for anywhere, here in (("0.0.0.0:", "127.0.0.1:"), ("[::]:", "[::1]:")):
        if listen.startswith(anywhere):
            return listen.replace(anywhere, here, 1)
    return listen


def remote(work: Coroutine[object, object, None]) -> None:
    import grpc

    try:
        asyncio.run(work)
    except grpc.aio.AioRpcError as error:
        raise fail(told(error)) from error
    except OSError as error:
        raise fail(f"{error.filename or ''}: {error.strerror}") from error


def told(error: "grpc.aio.AioRpcError") -> str:
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


def channel(address: str, tls: tuple[str, str, str]) -> "grpc.aio.Channel":
    import grpc

    ca_file, cert_file, key_file = tls
    if not ca_file:
        return grpc.aio.insecure_channel(address)
    read = [Path(name).read_bytes() if name else None for name in (ca_file, key_file, cert_file)]
    return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(*read))

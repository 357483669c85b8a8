"""What every command is made of: the application, its options, and a channel to the service."""

import asyncio
import os
from collections.abc import Coroutine
from dataclasses import dataclass, field
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

ApiKey = Annotated[
    str,
    typer.Option(
        "--key",
        envvar="LLM_API_KEY",
        show_envvar=True,
        show_default=False,
        help="Client key or token to call with. Better in the variable: others see an option.",
    ),
]

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


def money(nano_usd: int, *, incomplete: bool = False) -> str:
    """US dollars, to the nano-dollar; a missing price is said, never shown as nothing."""
    if incomplete and nano_usd == 0:
        return "price unknown"
    whole, rest = divmod(nano_usd, 1_000_000_000)
    digits = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"${whole}.{digits}" + (" + unknown" if incomplete else "")


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
                    reason = info.reason
    code = error.code().name
    named = code if reason in ("", code) else f"{code}: {reason}"
    details = " ".join((error.details() or "").split())
    return f"{named}: {details}".rstrip(" :")


@dataclass(frozen=True, slots=True)
class Target:
    """Where to call, and what to show there. The repr shows no key."""

    address: str
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    api_key: str = field(default="", repr=False)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What each call carries.

        Raises:
            typer.Exit: the key has characters that no header can carry.
        """
        if not self.api_key:
            return ()
        if not (self.api_key.isascii() and self.api_key.isprintable()):
            raise fail("the key is not printable ASCII", USAGE_ERROR)
        return (("authorization", f"Bearer {self.api_key}"),)


def channel(target: Target) -> "grpc.aio.Channel":
    import grpc

    if not target.ca_file:
        return grpc.aio.insecure_channel(target.address)
    names = (target.ca_file, target.key_file, target.cert_file)
    read = [Path(name).read_bytes() if name else None for name in names]
    return grpc.aio.secure_channel(target.address, grpc.ssl_channel_credentials(*read))

"""Commands on client keys: in the service's own database, or by --address through a service."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llm_service.commands.console import (
    ApiKey,
    CaFile,
    CertFile,
    KeyFile,
    Target,
    app,
    channel,
    fail,
    remote,
    settings,
)
from llm_service.domain.access import Role

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from llm_service.rpc.stubs import access_service_pb2 as pb

    Ask = Callable[[str, Message], Awaitable[Any]]
    Work = Callable[[Ask], Awaitable[None]]

_SECONDS = 30

commands = typer.Typer(no_args_is_help=True, help="Make, list and revoke the keys callers show.")
app.add_typer(commands, name="client-keys")

Service = Annotated[
    str,
    typer.Option(
        "--address",
        envvar="LLM_ADDRESS",
        help="host:port of a service to ask; without one: the database that is configured here.",
    ),
]


@commands.command()
def create(
    role: Annotated[list[Role], typer.Option(help="What it may do; may be given several times.")],
    tenant: Annotated[str, typer.Option(help="Tenant it is confined to; empty: none.")] = "",
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    expires_days: Annotated[int, typer.Option(help="Days it lasts; 0: for good.", min=0)] = 0,
    address: Service = "",
    ca_file: CaFile = "",
    cert_file: CertFile = "",
    key_file: KeyFile = "",
    key: ApiKey = "",
) -> None:
    """Make a key. Its text is printed, this once; all else goes to standard error."""
    from llm_service.rpc.stubs import access_service_pb2 as pb

    request = pb.CreateClientKeyRequest(parent=f"tenants/{tenant}" if tenant else "")
    request.client_key.display_name = name
    request.client_key.roles.extend(_role(one) for one in dict.fromkeys(role))
    if expires_days:
        expires = datetime.now(UTC) + timedelta(days=expires_days)
        request.client_key.expire_time.FromDatetime(expires)

    async def work(ask: "Ask") -> None:
        made = await ask("CreateClientKey", request)
        typer.echo(made.client_key.name, err=True)
        typer.echo(made.key_text)

    _run(Target(address, ca_file, cert_file, key_file, key), work)


@commands.command(name="list")
def list_keys(
    tenant: Annotated[str, typer.Option(help='Tenant id; "-" for all.')] = "-",
    address: Service = "",
    ca_file: CaFile = "",
    cert_file: CertFile = "",
    key_file: KeyFile = "",
    key: ApiKey = "",
) -> None:
    """Show keys, revoked ones too: name, state, roles, and what each is for."""
    from llm_service.rpc.stubs import access_service_pb2 as pb

    async def work(ask: "Ask") -> None:
        request = pb.ListClientKeysRequest(parent=f"tenants/{tenant}", page_size=1000)
        while True:
            page = await ask("ListClientKeys", request)
            for found in page.client_keys:
                typer.echo(_line(found))
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    _run(Target(address, ca_file, cert_file, key_file, key), work)


@commands.command()
def revoke(
    name: Annotated[str, typer.Argument(help="The key's name: clientKeys/... or tenants/...")],
    address: Service = "",
    ca_file: CaFile = "",
    cert_file: CertFile = "",
    key_file: KeyFile = "",
    key: ApiKey = "",
) -> None:
    """End a key for good, on every replica within seconds."""
    from llm_service.rpc.stubs import access_service_pb2 as pb

    async def work(ask: "Ask") -> None:
        await ask("RevokeClientKey", pb.RevokeClientKeyRequest(name=name))
        typer.echo(f"revoked {name}")

    _run(Target(address, ca_file, cert_file, key_file, key), work)


def _run(target: Target, work: "Work") -> None:
    """The work, asking a service or, without an address, the database behind none."""
    if target.address:
        remote(_through_service(target, work))
        return
    from llm_service.bootstrap import CannotStart
    from llm_service.errors import GatewayError

    try:
        asyncio.run(_on_database(work))
    except (CannotStart, GatewayError) as error:
        raise fail(str(error)) from error


async def _through_service(target: Target, work: "Work") -> None:
    from llm_service.rpc.stubs.access_service_pb2_grpc import AccessServiceStub

    async with channel(target) as opened:
        stub = AccessServiceStub(opened)

        async def ask(method: str, request: "Message") -> Any:  # noqa: ANN401 - its answer
            call = getattr(stub, method)
            return await call(request, timeout=_SECONDS, metadata=target.metadata)

        await work(ask)


async def _on_database(work: "Work") -> None:
    from llm_service.bootstrap import client_keys
    from llm_service.rpc.access import AccessServicer

    async with client_keys(settings()) as keys:
        servicer = AccessServicer(keys)

        async def ask(method: str, request: "Message") -> Any:  # noqa: ANN401 - its answer
            return await getattr(servicer, method)(request, None)

        await work(ask)


def _role(role: Role) -> "pb.AccessRole.ValueType":
    from llm_service.rpc.stubs import access_service_pb2 as pb

    return pb.AccessRole.Value(f"ACCESS_ROLE_{role.name}")


def _line(key: "pb.ClientKey") -> str:
    from llm_service.rpc.stubs import access_service_pb2 as pb

    state = pb.ClientKey.State.Name(key.state).removeprefix("STATE_").lower()
    roles = ",".join(_word(pb.AccessRole.Name(role)) for role in key.roles)
    return f"{key.name}\t{state}\t{roles}\t{key.display_name}"


def _word(role: str) -> str:
    return role.removeprefix("ACCESS_ROLE_").lower().replace("_", "-")

"""Commands about the audit: list, verify, anchor."""

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    fail,
    remote,
)

if TYPE_CHECKING:
    from llm_service.rpc.stubs import audit_service_pb2 as pb

Tenant = Annotated[str, typer.Option(help='Tenant id; "" for what is shared, "-" for all.')]

audit = typer.Typer(help="Show who changed what, and verify that record.", no_args_is_help=True)
app.add_typer(audit, name="audit")


@audit.command("list")
def list_entries(
    tenant: Tenant = "-",
    filter_text: Annotated[str, typer.Option("--filter", help="AIP-160 filter.")] = "",
    limit: Annotated[int, typer.Option(help="Most entries to show.", min=1, max=1000)] = 50,
    address: Address = DEFAULT_ADDRESS,
    ca_file: CaFile = "",
    cert_file: CertFile = "",
    key_file: KeyFile = "",
    key: ApiKey = "",
) -> None:
    """Show entries, newest first, one JSON object a line."""
    target = Target(address, ca_file, cert_file, key_file, key)
    remote(_list(target, tenant, filter_text, limit))


@audit.command()
def verify(
    tenant: Tenant = "-",
    anchors: Annotated[
        str, typer.Option("--anchors", help="File of what `audit anchor` printed earlier.")
    ] = "",
    address: Address = DEFAULT_ADDRESS,
    ca_file: CaFile = "",
    cert_file: CertFile = "",
    key_file: KeyFile = "",
    key: ApiKey = "",
) -> None:
    """Verify chains, a line for each; exit 0 if all are intact."""
    kept = _read_anchors(anchors) if anchors else []
    target = Target(address, ca_file, cert_file, key_file, key)
    remote(_verify(target, tenant, kept))


@audit.command()
def anchor(
    tenant: Tenant = "-",
    address: Address = DEFAULT_ADDRESS,
    ca_file: CaFile = "",
    cert_file: CertFile = "",
    key_file: KeyFile = "",
    key: ApiKey = "",
) -> None:
    """Print where intact chains have come to, to be kept elsewhere and given to `audit verify`."""
    target = Target(address, ca_file, cert_file, key_file, key)
    remote(_anchor(target, tenant))


async def _list(target: Target, tenant: str, filter_text: str, limit: int) -> None:
    from google.protobuf.json_format import MessageToDict

    from llm_service.rpc.stubs import audit_service_pb2 as pb
    from llm_service.rpc.stubs import audit_service_pb2_grpc as stubs

    request = pb.ListAuditEntriesRequest(
        parent=_parent(tenant), filter=filter_text, page_size=limit
    )
    async with channel(target) as opened:
        answer = await stubs.AuditServiceStub(opened).ListAuditEntries(
            request, timeout=30, metadata=target.metadata
        )
    for entry in answer.audit_entries:
        typer.echo(_line(MessageToDict(entry, preserving_proto_field_name=True)))


async def _verify(target: Target, tenant: str, anchors: "list[pb.AuditAnchor]") -> None:
    from llm_service.rpc.stubs import audit_service_pb2 as pb

    broken = False
    for verdict in await _verdicts(target, tenant, anchors):
        chain = verdict.anchor.parent or "shared"
        if verdict.problem:
            broken = True
            problem = pb.VerifyAuditResponse.Problem.Name(verdict.problem)
            told = problem.removeprefix("PROBLEM_").lower().replace("_", " ")
            typer.echo(f"{chain}: broken at {verdict.broken_sequence}: {told}")
        else:
            typer.echo(f"{chain}: intact, {verdict.anchor.sequence} entries")
    if broken:
        raise typer.Exit(FAILED)


async def _anchor(target: Target, tenant: str) -> None:
    broken = False
    for verdict in await _verdicts(target, tenant, []):
        found = verdict.anchor
        if verdict.problem:
            broken = True
            typer.echo(f"{found.parent or 'shared'}: broken, no anchor", err=True)
        elif found.sequence:
            kept = {"parent": found.parent, "sequence": found.sequence, "digest": found.digest}
            typer.echo(_line(kept))
    if broken:
        raise typer.Exit(FAILED)


async def _verdicts(
    target: Target, tenant: str, anchors: "list[pb.AuditAnchor]"
) -> "list[pb.VerifyAuditResponse]":
    from llm_service.rpc.stubs import audit_service_pb2 as pb
    from llm_service.rpc.stubs import audit_service_pb2_grpc as stubs

    request = pb.VerifyAuditRequest(parent=_parent(tenant), anchors=anchors)
    async with channel(target) as opened:
        answers = stubs.AuditServiceStub(opened).VerifyAudit(request, metadata=target.metadata)
        return [verdict async for verdict in answers]


def _read_anchors(path: str) -> "list[pb.AuditAnchor]":
    from llm_service.rpc.stubs import audit_service_pb2 as pb

    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise fail(f"{path}: {error.strerror}") from error
    with suppress(ValueError, TypeError):
        return [pb.AuditAnchor(**json.loads(line)) for line in lines if line.strip()]
    raise fail(f"{path}: holds something else than anchors")


def _parent(tenant: str) -> str:
    return f"tenants/{tenant}" if tenant else ""


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)

"""The command about usage: tables and bars, and the upkeep of sums."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from llm_service.commands.console import (
    DEFAULT_ADDRESS,
    FAILED,
    USAGE_ERROR,
    Address,
    ApiKey,
    CaFile,
    CertFile,
    KeyFile,
    Target,
    app,
    channel,
    fail,
    output,
    remote,
    settings,
)
from llm_service.commands.usage_table import Metric, Shape, table

if TYPE_CHECKING:
    from llm_service.gateway.admin.usage_upkeep import UsageUpkeep
    from llm_service.rpc.stubs import usage_service_pb2 as pb

_PAGE = 1000

usage = typer.Typer(
    help="Show what was used and what it cost.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
app.add_typer(usage, name="usage")


class Bucket(StrEnum):
    """How long a row's time is; ALL: the whole period."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    ALL = "all"


_BUCKETS = {Bucket.ALL: "TIME_BUCKET_UNSPECIFIED"}


Days = Annotated[int, typer.Option(help="How many days back, today included.", min=1, max=366)]
Since = Annotated[str, typer.Option(help="First day, as 2026-01-31; instead of --days.")]
Until = Annotated[str, typer.Option(help="Last day; without one: up to now.")]
By = Annotated[Bucket, typer.Option(help="Length of a row's time.")]
GroupBy = Annotated[str, typer.Option(help="Comma list of dimensions.")]
FilterText = Annotated[
    str, typer.Option("--filter", help='Conditions, like: agent = "a" AND provider = "p"')
]
Bars = Annotated[Metric, typer.Option(help="What the bars show.")]
TimeZone = Annotated[str, typer.Option(help="IANA zone that days begin in.")]
Tenant = Annotated[str, typer.Option(help='Tenant id; "-" for all.')]
AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON object a row, and one of the total.")
]


@usage.callback()
def show(
    context: typer.Context,
    days: Days = 7,
    since: Since = "",
    until: Until = "",
    by: By = Bucket.DAY,
    group_by: GroupBy = "model",
    filter_text: FilterText = "",
    metric: Bars = Metric.COST,
    time_zone: TimeZone = "UTC",
    tenant: Tenant = "-",
    *,
    as_json: AsJson = False,
    address: Address = DEFAULT_ADDRESS,
    ca_file: CaFile = "",
    cert_file: CertFile = "",
    key_file: KeyFile = "",
    key: ApiKey = "",
) -> None:
    """Show what was used and what it cost."""
    if context.invoked_subcommand:
        return
    from llm_service.rpc.stubs import usage_service_pb2 as pb

    start, end = _period(days, since, until, time_zone)
    request = pb.QueryUsageRequest(
        parent=f"tenants/{tenant}",
        time_bucket=pb.TimeBucket.Value(_BUCKETS.get(by, f"TIME_BUCKET_{by.name}")),
        time_zone=time_zone,
        group_by=[name.strip() for name in group_by.split(",") if name.strip()],
        filter=filter_text,
        page_size=_PAGE,
    )
    request.start_time.FromDatetime(start)
    request.end_time.FromDatetime(end)
    target = Target(address, ca_file, cert_file, key_file, key)
    remote(_report(target, request, by, metric, as_json=as_json))


@usage.command()
def check() -> None:
    """Hold sums by day against their records, in the database; exit 0 if all are right."""
    asyncio.run(_check())


@usage.command()
def rebuild() -> None:
    """Make sums by day anew from their records, in the database."""
    asyncio.run(_rebuild())


def _period(days: int, since: str, until: str, time_zone: str) -> tuple[datetime, datetime]:
    """From the beginning of the first day to the end of the last, or to now."""
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise fail(f"--time-zone {time_zone} is not the name of an IANA zone", USAGE_ERROR) from (
            error
        )
    now = datetime.now(zone)
    end = now + timedelta(seconds=1)
    if until:
        end = _midnight(until, "--until", zone, later=1)
    start = _midnight(f"{now:%Y-%m-%d}", "", zone, later=1 - days)
    if since:
        start = _midnight(since, "--since", zone)
    return start.astimezone(UTC), end.astimezone(UTC)


def _midnight(day: str, option: str, zone: ZoneInfo, later: int = 0) -> datetime:
    try:
        found = datetime.strptime(day, "%Y-%m-%d") + timedelta(days=later)  # noqa: DTZ007
    except (ValueError, OverflowError) as error:
        raise fail(f"{option} must be a day, like 2026-01-31", USAGE_ERROR) from error
    return found.replace(tzinfo=zone)


async def _report(
    target: Target, request: "pb.QueryUsageRequest", by: Bucket, metric: Metric, *, as_json: bool
) -> None:
    from llm_service.rpc.stubs import usage_service_pb2_grpc as stubs

    rows: list[pb.UsageRow] = []
    async with channel(target) as opened:
        stub = stubs.UsageServiceStub(opened)
        while True:
            answer = await stub.QueryUsage(request, timeout=60, metadata=target.metadata)
            rows += answer.rows
            if not answer.next_page_token:
                break
            request.page_token = answer.next_page_token
    if as_json:
        for line in _json(rows, answer):
            typer.echo(json.dumps(line, ensure_ascii=False))
        return
    console = output()
    shape = Shape(metric, console.width, short=console.is_terminal)
    console.print(table(rows, answer.total, request, by.value, shape))


def _json(rows: "list[pb.UsageRow]", answer: "pb.QueryUsageResponse") -> list[dict[str, Any]]:
    total = {"total": _dict(answer.total), "complete_time": answer.complete_time.ToJsonString()}
    return [*map(_dict, rows), total]


def _dict(message: "pb.UsageRow | pb.UsageMetrics") -> dict[str, Any]:
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


async def _check() -> None:
    days = bad = 0
    async with _upkeep() as upkeep:
        async for day, wrong in upkeep.check():
            days += 1
            if wrong:
                bad += 1
                typer.echo(f"{day}: {wrong} figures differ from the records")
    typer.echo(f"checked {days} days, {bad} with differences")
    if bad:
        raise typer.Exit(FAILED)


async def _rebuild() -> None:
    days = 0
    async with _upkeep() as upkeep:
        async for day in upkeep.rebuild():
            days += 1
            typer.echo(f"summed up {day}", err=True)
    typer.echo(f"made the sums of {days} days anew")


@asynccontextmanager
async def _upkeep() -> "AsyncIterator[UsageUpkeep]":
    from llm_service.bootstrap import CannotStart
    from llm_service.bootstrap.usage import usage_upkeep
    from llm_service.errors import GatewayError

    try:
        async with usage_upkeep(settings()) as upkeep:
            yield upkeep
    except (CannotStart, GatewayError) as error:
        raise fail(str(error)) from error

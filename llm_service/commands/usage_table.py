"""Usage in a terminal: a table with bars."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from enum import StrEnum
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from llm_service.commands.console import money

if TYPE_CHECKING:
    from rich.table import Table

    from llm_service.rpc.stubs import usage_service_pb2 as pb

_UNITS = "kMGT"
_EIGHTHS = " ▏▎▍▌▋▊▉"
_FORMATS = {"hour": "%Y-%m-%d %H:%M", "day": "%Y-%m-%d", "week": "%Y-%m-%d", "month": "%Y-%m"}


_NARROW = 100


class Metric(StrEnum):
    """What bars show."""

    COST = "cost"
    TOKENS = "tokens"
    CALLS = "calls"
    ERRORS = "errors"


@dataclass(frozen=True, slots=True)
class Shape:
    """How a table is drawn: what bars show, columns there are, names without their middle words."""

    metric: Metric
    width: int
    short: bool


def table(
    rows: "Sequence[pb.UsageRow]",
    total: "pb.UsageMetrics",
    request: "pb.QueryUsageRequest",
    bucket: str,
    shape: Shape,
) -> "Table":
    """Rows by time and dimensions; costs in US dollars; "+ ?" where a price is unknown."""
    from rich import box
    from rich.table import Table

    narrow = shape.width < _NARROW
    most = max((amount(row.metrics, shape.metric) for row in rows), default=0)
    heads = [bucket] * (bucket in _FORMATS) + list(request.group_by)
    made = Table(box=box.SIMPLE, show_footer=True, pad_edge=False, collapse_padding=True)
    for place, name in enumerate(heads):
        made.add_column(name, "" if place else "total", overflow="fold", no_wrap=name == bucket)
    for name, value in _cells(total).items():
        made.add_column(name, value, justify="right", no_wrap=True)
    made.add_column(shape.metric.value, no_wrap=True)
    for row in rows:
        made.add_row(
            *([_when(row, request.time_zone, bucket, narrow=narrow)] * (bucket in _FORMATS)),
            *(_named(row.dimensions[name], short=shape.short) for name in request.group_by),
            *_cells(row.metrics).values(),
            bar(amount(row.metrics, shape.metric), most, 8 if narrow else 20),
        )
    made.caption = f"{_caption(total)}; days in {request.time_zone}"
    return made


def _when(row: "pb.UsageRow", time_zone: str, bucket: str, *, narrow: bool) -> str:
    when = row.bucket_start_time.ToDatetime(UTC).astimezone(ZoneInfo(time_zone))
    shown = when.strftime(_FORMATS.get(bucket, ""))
    return shown[5:] if narrow and bucket != "month" else shown


def _named(value: str, *, short: bool) -> str:
    """A resource's name without the words between its ids, where there is little room."""
    words = value.split("/")
    if short and words[0] in ("tenants", "providers"):
        return "/".join(words[1::2])
    return value or "-"


def amount(metrics: "pb.UsageMetrics", metric: Metric) -> int:
    match metric:
        case Metric.COST:
            return metrics.cost_nano_usd
        case Metric.TOKENS:
            return metrics.input_tokens + metrics.output_tokens
        case Metric.CALLS:
            return metrics.request_count
        case Metric.ERRORS:
            return metrics.error_count


def bar(value: int, most: int, width: int) -> str:
    """A part of `width` blocks, to an eighth; something is never nothing."""
    if not value or not most:
        return ""
    whole, eighths = divmod(max(1, round(8 * width * value / most)), 8)
    return "█" * whole + _EIGHTHS[eighths].strip()


def _cells(metrics: "pb.UsageMetrics") -> dict[str, str]:
    return {
        "calls": f"{metrics.request_count:,}",
        "errors": f"{metrics.error_count:,}",
        "in": count(metrics.input_tokens),
        "out": count(metrics.output_tokens),
        "cost": cost(metrics),
    }


def count(tokens: int) -> str:
    """Exact up to 9,999, then in thousands and so on."""
    if tokens < 10_000:  # noqa: PLR2004 - as said
        return f"{tokens:,}"
    power = 1
    while power < len(_UNITS) and tokens >= 999.95 * 1000**power:  # 1000.0 takes the next unit
        power += 1
    return f"{tokens / 1000**power:,.1f}{_UNITS[power - 1]}"


def cost(metrics: "pb.UsageMetrics") -> str:
    """Dollars to the cent, or to the first two digits of less; what is unknown is said."""
    nano = metrics.cost_nano_usd
    if metrics.unpriced_request_count and not nano:
        return "unknown"
    whole, rest = divmod(nano, 1_000_000_000)
    digits = f"{rest:09d}"
    if not nano:
        shown = "00"
    elif nano < 10_000_000:  # noqa: PLR2004 - a cent
        shown = digits[: max(2, len(digits) - len(digits.lstrip("0")) + 2)]
    else:
        cents = round(nano / 10_000_000)
        whole, shown = cents // 100, f"{cents % 100:02d}"
    return f"${whole:,}.{shown}" + (" + ?" if metrics.unpriced_request_count else "")


def _caption(total: "pb.UsageMetrics") -> str:
    calls = "call" if total.request_count == 1 else "calls"
    exact = money(total.cost_nano_usd, incomplete=total.unpriced_request_count > 0)
    return f"{total.request_count} {calls}, {exact}"

"""Usage in a terminal: a table with bars."""

from collections.abc import Sequence
from datetime import UTC
from enum import StrEnum
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from llm_service.commands.console import money

if TYPE_CHECKING:
    from rich.table import Table

    from llm_service.rpc.stubs import usage_service_pb2 as pb

_BAR = 12
_EIGHTHS = " ▏▎▍▌▋▊▉"
_FORMATS = {"hour": "%Y-%m-%d %H:%M", "day": "%Y-%m-%d", "week": "%Y-%m-%d", "month": "%Y-%m"}


class Metric(StrEnum):
    """What bars show."""

    COST = "cost"
    TOKENS = "tokens"
    CALLS = "calls"
    ERRORS = "errors"


def table(
    rows: "Sequence[pb.UsageRow]",
    total: "pb.UsageMetrics",
    request: "pb.QueryUsageRequest",
    bucket: str,
    metric: Metric,
) -> "Table":
    """Rows by time and dimensions; costs in US dollars; "+ ?" where a price is unknown."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE, show_footer=True, pad_edge=False)
    if bucket in _FORMATS:
        made.add_column(bucket, "total", no_wrap=True)
    for name in request.group_by:
        made.add_column(name, overflow="fold", ratio=1)
    for name, value in _cells(total).items():
        made.add_column(name, value, justify="right", no_wrap=True)
    made.add_column(metric.value, no_wrap=True, min_width=_BAR)
    most = max((amount(row.metrics, metric) for row in rows), default=0)
    zone = ZoneInfo(request.time_zone)
    for row in rows:
        when = row.bucket_start_time.ToDatetime(UTC).astimezone(zone)
        made.add_row(
            *([when.strftime(_FORMATS[bucket])] if bucket in _FORMATS else ()),
            *(row.dimensions[name] or "-" for name in request.group_by),
            *_cells(row.metrics).values(),
            bar(amount(row.metrics, metric), most),
        )
    made.caption = f"{_caption(total)}; days in {request.time_zone}"
    return made


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


def bar(value: int, most: int, width: int = _BAR) -> str:
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
    """Exact up to 99,999, then in thousands and so on."""
    value, unit = float(tokens), ""
    if tokens < 100_000:  # noqa: PLR2004 - as said
        return f"{tokens:,}"
    for unit in ("k", "M", "G", "T"):
        value /= 1000
        if value < 999.95:  # noqa: PLR2004 - what is shown as 1000.0 takes the next unit
            break
    return f"{value:.1f}{unit}"


def cost(metrics: "pb.UsageMetrics") -> str:
    """Dollars to the cent, or to the first two digits of less; what is unknown is said."""
    nano = metrics.cost_nano_usd
    if metrics.unpriced_request_count and not nano:
        return "unknown"
    whole, rest = divmod(nano, 1_000_000_000)
    digits = f"{rest:09d}"
    if nano < 10_000_000:  # noqa: PLR2004 - a cent
        shown = digits[: max(2, len(digits) - len(digits.lstrip("0")) + 2)]
    else:
        cents = round(nano / 10_000_000)
        whole, shown = cents // 100, f"{cents % 100:02d}"
    return f"${whole:,}.{shown}" + (" + ?" if metrics.unpriced_request_count else "")


def _caption(total: "pb.UsageMetrics") -> str:
    calls = "call" if total.request_count == 1 else "calls"
    exact = money(total.cost_nano_usd, incomplete=total.unpriced_request_count > 0)
    return f"{total.request_count} {calls}, {exact}"

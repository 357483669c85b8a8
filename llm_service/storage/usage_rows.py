"""Usage records as rows, and records again from rows."""

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import starmap
from operator import le
from typing import Any, NamedTuple, get_type_hints

import msgspec
from sqlalchemy import Row

from llm_service.domain.completion import (
    Attempt,
    Attribution,
    CallError,
    Cost,
    CostItem,
    FinishReason,
    ModalityTokens,
    ServedBy,
    TokenUsage,
)
from llm_service.domain.content import ProviderToolUse
from llm_service.domain.usage import Operation, UsageRecord, UsageSource
from llm_service.storage import rows
from llm_service.storage.positional import Settled
from llm_service.storage.tables import usage_records as table

TEXTS = (
    "record_id",
    "completion_id",
    "tenant",
    "agent",
    "user_id",
    "interaction",
    "session",
    "provider",
    "model",
    "credential",
    "provider_model",
    "provider_request_id",
    "model_config",
    "error_reason",
    "error_message",
    "provider_code",
    "trace_id",
    "operation",
    "price_version",  # "" where there is no cost
)
CODES = ("finish_reason", "attempt_error_reason", "usage_source", "attempt_id")
"""Texts of which "" stands for NULL."""

COUNTS = (
    "duration_us",
    "http_status",
    "first_token_us",
    "retry_delay_us",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_write_input_tokens",
    "cache_write_1h_input_tokens",
    "reasoning_output_tokens",
    "usage_estimated",
    "cost_nano_usd",
    "cost_estimated",
    "cost_incomplete",
    "reported_nano_usd",
)
"""Whole numbers, and flags as 0 and 1."""

TIMES = ("create_time", "start_time", "budget_time", "price_effective_time")
DOCUMENTS = ("labels", "modality_tokens", "provider_tool_uses", "cost_items")
COLUMNS = (*TEXTS, *CODES, *COUNTS, *TIMES, *DOCUMENTS)
"""Every column, in the order of a row's values."""


class Form(NamedTuple):
    """How a database takes what is neither a text nor a number."""

    absent: Any
    instant: Callable[[datetime], Any]
    document: Callable[[bytes], Any]
    """Of JSON."""


_LENGTHS = tuple(table.c[name].type.length for name in (*TEXTS, *CODES))  # type: ignore[attr-defined]
_MOST, _LEAST = 2**63 - 1, -(2**63)
_EMPTY = b"[]"
_NO_ERROR = ("", "", None, 0, "")
_CostItem = msgspec.defstruct("_CostItem", list(get_type_hints(CostItem)), gc=False)
# Either may be one that no column holds. Looked for like that, in a quarter of the time that an
# expression takes.
_NUL, _LARGE = rb"\u0000", b"0" * 19
_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_encode: Callable[[object], bytes] = msgspec.json.Encoder().encode


def to_values(settled: Settled, form: Form) -> tuple[Any, ...]:
    """The record's values for `COLUMNS`, cut to what those can hold."""
    ids, who, attempt, ends = settled[:2], settled[2], settled[3], settled[4:]
    create_time, finish_reason, error_reason, trace_id, first_token = ends[:5]
    operation, usage_source, attempt_id, budget_time = ends[5:]
    target, start_time, duration, error, usage, cost = attempt
    reason, message, retry_delay, http_status, provider_code = error or _NO_ERROR
    texts = (
        *ids,
        *who[:-1],
        *target,
        error_reason,
        message,
        provider_code,
        trace_id,
        operation._value_,  # `value` is a call
        cost[2] if cost is not None else "",
        finish_reason._value_ if finish_reason is not None else "",
        reason,
        usage_source._value_ if usage_source is not None else "",
        attempt_id,
    )
    absent, instant, _ = form
    counts = (
        round(duration * 1_000_000),
        http_status,
        absent if first_token is None else round(first_token * 1_000_000),
        absent if retry_delay is None else round(retry_delay * 1_000_000),
        *(_used(*usage) if usage is not None else (absent,) * 7),
        *(_charged(absent, *cost) if cost is not None else (absent,) * 4),
    )
    return (
        *_fitting(texts),
        *_bounded(counts),
        instant(create_time),
        instant(start_time),
        absent if budget_time is None else instant(budget_time),
        absent if cost is None or cost[-1] is None else instant(cost[-1]),
        *_documents(form, who[-1], usage, cost),
    )


def _used(*usage: Any) -> tuple[int, ...]:  # noqa: ANN401 - of TokenUsage
    put, out, cache_read, cache_write, reasoning, _, estimated, cache_write_1h, _, _ = usage
    return put, out, cache_read, cache_write, cache_write_1h, reasoning, int(estimated)


def _charged(absent: Any, *cost: Any) -> tuple[Any, ...]:  # noqa: ANN401 - a form's, of Cost
    total, _, _, estimated, incomplete, reported, _ = cost
    return (
        absent if incomplete and total == 0 else total,
        int(estimated),
        int(incomplete),
        absent if reported is None else reported,
    )


def _documents(form: Form, labels: Any, usage: Any, cost: Any) -> tuple[Any, ...]:  # noqa: ANN401
    absent, _, document = form
    return (
        document(_json(labels) if labels else b"{}"),
        absent if usage is None else document(_json(usage[5])),
        absent if usage is None else document(_json(usage[8])),
        absent if cost is None else document(_json([*starmap(_CostItem, cost[1])])),
    )


def _fitting(texts: tuple[str, ...]) -> Sequence[str]:
    """Nearly all of them fit, and are looked at together."""
    every = "".join(texts)
    if every.isascii() and "\0" not in every and all(map(le, map(len, texts), _LENGTHS)):
        return texts
    return [rows.clipped(text, most) for text, most in zip(texts, _LENGTHS, strict=True)]


def _bounded(counts: tuple[Any, ...]) -> Sequence[Any]:
    some = [*filter(None, counts)]
    if not some or (max(some) <= _MOST and min(some) >= _LEAST):
        return counts
    return [one and min(max(one, _LEAST), _MOST) for one in counts]


def _json(value: object) -> bytes:
    if not value:
        return _EMPTY
    try:
        encoded = _encode(value)
    except (UnicodeEncodeError, OverflowError):
        encoded = b""
    if encoded and _NUL not in encoded and _LARGE not in encoded.translate(_DIGITS):
        return encoded
    return _encode(rows.clipped(rows.document(value)))


def _seconds(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / 1_000_000


def to_record(row: Row[Any]) -> UsageRecord:
    return UsageRecord(
        record_id=row.record_id,
        completion_id=row.completion_id,
        attribution=Attribution(
            row.tenant, row.agent, row.user_id, row.interaction, row.session, row.labels
        ),
        attempt=Attempt(
            target=ServedBy(
                provider=row.provider,
                model=row.model,
                credential=row.credential,
                provider_model=row.provider_model,
                provider_request_id=row.provider_request_id,
                model_config=row.model_config,
            ),
            start_time=row.start_time,
            duration=row.duration_us / 1_000_000,
            error=_to_error(row),
            usage=_to_usage(row),
            cost=_to_cost(row),
        ),
        create_time=row.create_time,
        finish_reason=row.finish_reason and FinishReason(row.finish_reason),
        error_reason=row.error_reason,
        trace_id=row.trace_id,
        first_token=_seconds(row.first_token_us),
        operation=Operation(row.operation),
        usage_source=row.usage_source and UsageSource(row.usage_source),
        attempt_id=row.attempt_id or "",
        budget_time=row.budget_time,
    )


def _to_error(row: Row[Any]) -> CallError | None:
    if row.attempt_error_reason is None:
        return None
    return CallError(
        reason=row.attempt_error_reason,
        message=row.error_message,
        retry_delay=_seconds(row.retry_delay_us),
        http_status=row.http_status,
        provider_code=row.provider_code,
    )


def _to_usage(row: Row[Any]) -> TokenUsage | None:
    if row.input_tokens is None:
        return None
    return TokenUsage(
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        cache_read_input_tokens=row.cache_read_input_tokens,
        cache_write_input_tokens=row.cache_write_input_tokens,
        cache_write_1h_input_tokens=row.cache_write_1h_input_tokens or 0,  # NULL: before there was
        reasoning_output_tokens=row.reasoning_output_tokens,
        modality_tokens=msgspec.convert(row.modality_tokens, tuple[ModalityTokens, ...]),
        estimated=row.usage_estimated,
        provider_tool_uses=msgspec.convert(
            row.provider_tool_uses or (), tuple[ProviderToolUse, ...]
        ),
        reported_nano_usd=row.reported_nano_usd,
    )


def _to_cost(row: Row[Any]) -> Cost | None:
    if row.cost_incomplete is None:
        return None
    return Cost(
        total_nano_usd=row.cost_nano_usd or 0,
        # Rows older than the items' own versions have that of the cost.
        items=msgspec.convert(
            [{"price_version": row.price_version, **item} for item in row.cost_items],
            tuple[CostItem, ...],
        ),
        price_version=row.price_version,
        estimated=row.cost_estimated,
        incomplete=row.cost_incomplete,
        reported_nano_usd=row.reported_nano_usd,
        price_effective_time=row.price_effective_time,
    )

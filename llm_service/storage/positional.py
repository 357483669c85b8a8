"""Attempts and records as arrays: a value's fields in order, without their names.

Every call writes two of them. With names they are two and a half times as long, and to look the
fields up took most of the time (docs/adr/0038). A field that is added goes to the end of its value,
with a default: what was written before has less.
"""

from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from operator import attrgetter, itemgetter
from typing import Any, get_type_hints

import msgspec

from llm_service.domain.completion import (
    Attempt,
    Attribution,
    CallError,
    Cost,
    CostItem,
    ServedBy,
    TokenUsage,
)
from llm_service.domain.provider import Price, PriceItem
from llm_service.domain.usage import OpenedAttempt, UsageRecord

_encode: Callable[[object], bytes] = msgspec.msgpack.Encoder().encode
Settled = tuple[Any, ...]
"""A record as `plain` makes it."""

record_id: Callable[[Settled], str] = itemgetter(0)
attempt_id: Callable[[Settled], str] = itemgetter(11)

_ARRAY = b"\x90"
"""The least that an array begins with. Maps, as both were written before, begin with less."""

_cost_item: Callable[[CostItem], object] = attrgetter(*get_type_hints(CostItem))
_price_item: Callable[[PriceItem], object] = attrgetter(*get_type_hints(PriceItem))


def opened(attempt: OpenedAttempt) -> bytes:
    """An attempt, for `to_opened`."""
    who, target, price = attempt.attribution, attempt.target, attempt.price
    return _encode(
        (
            attempt.attempt_id,
            attempt.completion_id,
            (who.tenant, who.agent, who.user, who.interaction, who.session, who.labels),
            (
                target.provider,
                target.model,
                target.credential,
                target.provider_model,
                target.provider_request_id,
                target.model_config,
            ),
            attempt.start_time,
            attempt.operation,
            attempt.trace_id,
            attempt.input_tokens,
            None
            if price is None
            else (price.version, [*map(_price_item, price.items)], price.effective_time),
            attempt.budget_time,
        )
    )


def settled(record: UsageRecord) -> bytes:
    """A record, for `read`."""
    return _encode(plain(record))


def plain(record: UsageRecord) -> Settled:
    """A record's fields, and those of the values in it."""
    who, attempt = record.attribution, record.attempt
    target, error, usage, cost = attempt.target, attempt.error, attempt.usage, attempt.cost
    return (
        record.record_id,
        record.completion_id,
        (who.tenant, who.agent, who.user, who.interaction, who.session, who.labels),
        (
            (
                target.provider,
                target.model,
                target.credential,
                target.provider_model,
                target.provider_request_id,
                target.model_config,
            ),
            attempt.start_time,
            attempt.duration,
            None if error is None else _error(error),
            None if usage is None else _usage(usage),
            None if cost is None else _cost(cost),
        ),
        record.create_time,
        record.finish_reason,
        record.error_reason,
        record.trace_id,
        record.first_token,
        record.operation,
        record.usage_source,
        record.attempt_id,
        record.budget_time,
    )


def to_opened(payload: bytes) -> OpenedAttempt:
    """What `opened` was given.

    Raises:
        msgspec.MsgspecError: it is nothing that `opened` gives.
    """
    decoder = _named_opened if payload < _ARRAY else _opened
    found: OpenedAttempt = _made(decoder.decode(payload))
    return found


def read(payload: bytes) -> Settled:
    """The record that `settled` was given, as `plain`.

    Raises:
        msgspec.MsgspecError: it is nothing that `settled` gives.
    """
    if payload < _ARRAY:
        return plain(_named_settled.decode(payload))
    found: Settled
    try:
        found = _settled.decode(payload)
    except msgspec.ValidationError:  # of another release, perhaps
        found = plain(_any_settled.decode(payload))
    return found


def to_record(settled: Settled) -> UsageRecord:
    """What `plain` was given."""
    record_id, completion_id, who, attempt, *rest = settled
    target, start_time, duration, error, usage, cost = attempt
    return UsageRecord(
        record_id,
        completion_id,
        Attribution(*who),
        Attempt(
            ServedBy(*target),
            start_time,
            duration,
            None if error is None else CallError(*error),
            None if usage is None else TokenUsage(*usage),
            None if cost is None else _to_cost(*cost),
        ),
        *rest,
    )


def renewed(settled: Settled, record_id: str) -> Settled:
    """The same, with another id."""
    return (record_id, *settled[1:])


def _error(error: CallError) -> object:
    return (error.reason, error.message, error.retry_delay, error.http_status, error.provider_code)


def _usage(usage: TokenUsage) -> object:
    return (
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_input_tokens,
        usage.cache_write_input_tokens,
        usage.reasoning_output_tokens,
        usage.modality_tokens,
        usage.estimated,
        usage.cache_write_1h_input_tokens,
        usage.provider_tool_uses,
        usage.reported_nano_usd,
    )


def _cost(cost: Cost) -> object:
    return (
        cost.total_nano_usd,
        [*map(_cost_item, cost.items)],
        cost.price_version,
        cost.estimated,
        cost.incomplete,
        cost.reported_nano_usd,
        cost.price_effective_time,
    )


def _to_cost(total: int, items: tuple[tuple[Any, ...], ...], *rest: Any) -> Cost:  # noqa: ANN401
    return Cost(total, tuple(CostItem(*item) for item in items), *rest)


def _shape(kind: type, **nested: Any) -> Any:  # noqa: ANN401 - types
    """A tuple of the types of the fields, in order; `nested` are values that are arrays, too."""
    return tuple[*(nested.get(name, hint) for name, hint in get_type_hints(kind).items())]  # type: ignore[misc]


def _mirror(kind: type, **nested: Any) -> Any:  # noqa: ANN401 - types
    """As `_shape`, but what is missing at the end has its default, and what is beyond is left."""
    hints = get_type_hints(kind) | nested
    described = [
        (one.name, hints[one.name], msgspec.field(**_default(one))) for one in fields(kind)
    ]
    mirror = msgspec.defstruct(kind.__name__, described, array_like=True)
    _KINDS[mirror] = kind
    return mirror


def _default(one: Field[Any]) -> dict[str, Any]:
    if one.default_factory is not MISSING:
        return {"default_factory": one.default_factory}
    return {} if one.default is MISSING else {"default": one.default}


def _made(mirrored: Any) -> Any:  # noqa: ANN401 - whatever is in one
    """The values again."""
    if isinstance(mirrored, tuple):
        return tuple(map(_made, mirrored))
    kind = _KINDS.get(type(mirrored))
    return kind(*map(_made, msgspec.structs.astuple(mirrored))) if kind else mirrored


def _several(shape: Any) -> Any:  # noqa: ANN401 - types
    return tuple[shape, ...]


def _attempt(of: Callable[..., Any]) -> Any:  # noqa: ANN401 - types
    return of(
        Attempt,
        target=of(ServedBy),
        error=of(CallError) | None,
        usage=of(TokenUsage) | None,
        cost=of(Cost, items=_several(of(CostItem))) | None,
    )


_KINDS: dict[type, type] = {}
_settled: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(
    _shape(UsageRecord, attribution=_shape(Attribution), attempt=_attempt(_shape))
)
_any_settled: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(
    _mirror(UsageRecord, attribution=_mirror(Attribution), attempt=_attempt(_mirror))
)
_opened: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(
    _mirror(
        OpenedAttempt,
        attribution=_mirror(Attribution),
        target=_mirror(ServedBy),
        price=_mirror(Price, items=_several(_mirror(PriceItem))) | None,
    )
)
_named_opened = msgspec.msgpack.Decoder(OpenedAttempt)
_named_settled = msgspec.msgpack.Decoder(UsageRecord)

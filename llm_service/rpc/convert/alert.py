"""Alerts: domain -> protobuf, and their kinds both ways."""

from collections.abc import Iterable

from llm_service.domain.alert import Alert, AlertKind
from llm_service.errors import InvalidField, Violation
from llm_service.rpc.convert.times import to_timestamp
from llm_service.rpc.stubs import alert_service_pb2 as pb

_KINDS: dict[pb.AlertKind.ValueType, AlertKind] = {
    pb.AlertKind.Value(f"ALERT_KIND_{kind.name}"): kind for kind in AlertKind
}
_NUMBERS = {kind: number for number, kind in _KINDS.items()}


def to_kinds(numbers: Iterable[pb.AlertKind.ValueType], field: str) -> tuple[AlertKind, ...]:
    """The kinds a caller chose.

    Raises:
        InvalidField: names each that is unknown or there twice.
    """
    chosen = list(numbers)
    wrong = [
        Violation(f"{field}[{index}]", "is not a known kind, or there twice")
        for index, number in enumerate(chosen)
        if number not in _KINDS or number in chosen[:index]
    ]
    if wrong:
        raise InvalidField(*wrong)
    return tuple(_KINDS[number] for number in chosen)


def from_kinds(kinds: Iterable[AlertKind]) -> list[pb.AlertKind.ValueType]:
    return [_NUMBERS[kind] for kind in kinds]


def from_alert(alert: Alert) -> pb.Alert:
    return pb.Alert(
        name=alert.name,
        kind=_NUMBERS[alert.kind],
        subject=alert.subject,
        window_start_time=to_timestamp(alert.window_start_time),
        threshold_percent=alert.threshold_percent,
        action=pb.Alert.Action.Value(f"ACTION_{alert.action.name}"),
        observed=alert.observed,
        limit=alert.limit,
        unit=pb.Alert.Unit.Value(f"UNIT_{alert.unit.name}"),
        create_time=to_timestamp(alert.create_time),
    )

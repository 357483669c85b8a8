"""What of a message may be shown: the fields of listed messages, less those marked debug_redact.

The mark does nothing by itself: every way protobuf prints a message shows the field. So nothing
prints a message but through here, and what is not listed is not shown.
"""

import json
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from llm_service.domain.audit import REDACTED_JSON

SHOWN = frozenset(
    f"llmservice.v1.{name}"
    for name in (
        "AwsKey",
        "Budget",
        "BudgetRule",
        "Circuit",
        "ClientKey",
        "Credential",
        "EmbeddingInfo",
        "GenerationParams",
        "Model",
        "ModelCapabilities",
        "ModelConfig",
        "Price",
        "PriceItem",
        "Provider",
        "RateLimits",
        "Reasoning",
        "RoutingOptions",
        "SecretReference",
        "Selector",
        "Target",
        "UpstreamTimeouts",
        "Webhook",
        "WorkloadIdentity",
    )
)
"""Messages whose fields may be shown. Of every other message, it is only said that it is there."""

_SPELLED = frozenset({"google.protobuf.Timestamp", "google.protobuf.Duration"})


def fields(message: Message) -> dict[str, str]:
    """The message's set fields by path ("labels.team"), as JSON text; lists are one field."""
    if message.DESCRIPTOR.full_name not in SHOWN:
        return {"": REDACTED_JSON}
    return dict(_fields(message, ""))


def _fields(message: Any, prefix: str) -> Iterator[tuple[str, str]]:
    for field, value in message.ListFields():
        path = prefix + field.name
        if not _is_shown(field):
            yield path, REDACTED_JSON
        elif _is_map(field):
            for key in sorted(value):
                yield f"{path}.{key}", _json(_item(value[key]))
        elif field.is_repeated:
            yield path, _json([_spelled(field, item) for item in value])
        elif _is_message(field) and field.message_type.full_name not in _SPELLED:
            yield from _fields(value, f"{path}.")
        else:
            yield path, _json(_spelled(field, value))


def _is_shown(field: Any) -> bool:
    """Whether a field's value may be told at all, itself or what is in it."""
    if field.GetOptions().debug_redact or field.type == FieldDescriptor.TYPE_BYTES:
        return False
    if not _is_message(field):
        return True
    if _is_map(field):
        return _is_shown(field.message_type.fields_by_name["value"])
    return field.message_type.full_name in SHOWN | _SPELLED


def _spelled(field: Any, value: Any) -> Any:
    """A value of one shown field as what JSON has for it."""
    if _is_message(field):
        return _item(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else value
    return value


def _item(value: Any) -> Any:
    """A member of a list or map."""
    if not isinstance(value, Message):
        return value
    if value.DESCRIPTOR.full_name in _SPELLED:
        return value.ToJsonString()  # type: ignore[attr-defined]
    return {path: json.loads(text) for path, text in _fields(value, "")}


def _is_message(field: Any) -> bool:
    return field.message_type is not None


def _is_map(field: Any) -> bool:
    return _is_message(field) and bool(field.message_type.GetOptions().map_entry)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

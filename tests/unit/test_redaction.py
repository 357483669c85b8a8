"""S7: of any message, only what is listed here is ever shown."""

import importlib
import json
import pkgutil

import pytest
from google.protobuf import any_pb2, struct_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from llm_service.rpc import redaction, stubs

MODULES = [
    importlib.import_module(f"{stubs.__name__}.{one.name}")
    for one in pkgutil.iter_modules(stubs.__path__)
    if one.name.endswith("_pb2")
]
MESSAGES = [
    message
    for module in MODULES
    for message in module.DESCRIPTOR.message_types_by_name.values()
    if not message.GetOptions().map_entry
]
SHOWN_TEXTS = {
    "AwsKey": {"access_key_id"},
    "Circuit": {"model", "credential", "reason"},
    "Budget": {"name", "display_name", "filter", "time_zone", "etag"},
    "BudgetRule": {"downgrade_model"},
    "ClientKey": {"name", "display_name", "etag"},
    "Credential": {"name", "uid", "display_name", "environment_variable", "obfuscated_secret"}
    | {"origin"}
    | {"etag"},
    "EmbeddingInfo": {"vector_space"},
    "GenerationParams": {"stop_sequences"},
    "Model": {"name", "provider_model", "aliases", "display_name", "description", "etag"}
    | {"replacement_model", "labels"},
    "ModelConfig": {"name", "display_name", "labels", "etag"},
    "Price": {"version"},
    "PriceItem": {"meter"},
    "Provider": {"name", "uid", "kind", "display_name", "description", "base_uri", "settings"}
    | {"default_credential", "labels", "etag"},
    "RoutingOptions": {"fallback_models", "allowed_providers", "excluded_providers"}
    | {"affinity_key"},
    "Selector": {"agent", "user", "interaction"},
    "Target": {"model", "credential", "fallback_reasons"},
    "SecretReference": {"store", "path", "key", "version"},
    "Webhook": {"name", "display_name", "target_uri", "etag"},
    "WorkloadIdentity": {"audience"},
}
"""The text fields that may be shown: none of them ever holds a secret or a prompt."""

DEPTH = 5
CANARY = "canary:"


def filled(descriptor, oneof_choice=0, depth=DEPTH):
    """A message with a canary in each text of it, and each of its messages filled likewise.

    Of a oneof the `oneof_choice`th member is set.
    """
    message = GetMessageClass(descriptor)()
    skipped = {
        field.name
        for oneof in descriptor.oneofs
        for place, field in enumerate(oneof.fields)
        if place != oneof_choice % len(oneof.fields)
    }
    for field in descriptor.fields:
        if field.name not in skipped:
            fill(message, field, oneof_choice, depth)
    return message


def fill(message, field, oneof_choice, depth):
    held = field.message_type
    if held is not None and held.GetOptions().map_entry:
        fill_map(getattr(message, field.name), field, oneof_choice, depth)
    elif held is not None:
        if depth:
            target = getattr(message, field.name)
            target = target.add() if field.is_repeated else target
            target.CopyFrom(filled(held, oneof_choice, depth - 1))
            if not field.is_repeated:
                target.SetInParent()
    elif (value := value_of(field)) is not None:
        if field.is_repeated:
            getattr(message, field.name).append(value)
        else:
            setattr(message, field.name, value)


def fill_map(target, field, oneof_choice, depth):
    value = field.message_type.fields_by_name["value"]
    if value.message_type is not None:
        target["k"].CopyFrom(filled(value.message_type, oneof_choice, depth - 1))
    else:
        target["k"] = canary(field) if value.type == value.TYPE_STRING else 7


def value_of(field):
    if field.type == FieldDescriptor.TYPE_STRING:
        return canary(field)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return canary(field).encode()
    if field.enum_type is not None:
        return field.enum_type.values[-1].number
    return 1


def canary(field):
    return f"{CANARY}{field.containing_type.name}.{field.name};"


def texts_of(shown):
    return {part.partition(";")[0] for text in shown.values() for part in text.split(CANARY)[1:]}


@pytest.mark.parametrize("descriptor", MESSAGES, ids=lambda one: one.name)
def test_s7_a_message_shows_no_text_that_is_not_listed(descriptor):
    allowed = {f"{name}.{field}" for name, fields in SHOWN_TEXTS.items() for field in fields}

    for choice in range(max((len(one.fields) for one in descriptor.oneofs), default=1)):
        shown = redaction.fields(filled(descriptor, choice))

        assert texts_of(shown) <= allowed
        assert all(json.loads(text) is not None for text in shown.values())


def test_s7_what_is_listed_is_shown():
    found = set()
    for name in SHOWN_TEXTS:
        [descriptor] = [one for one in MESSAGES if one.name == name]
        for choice in range(max((len(one.fields) for one in descriptor.oneofs), default=1)):
            found |= texts_of(redaction.fields(filled(descriptor, choice)))

    assert found == {f"{name}.{field}" for name, fields in SHOWN_TEXTS.items() for field in fields}


def test_s7_every_field_marked_debug_redact_says_redacted():
    marked = {
        (message.name, field.name)
        for message in MESSAGES
        for field in message.fields
        if field.GetOptions().debug_redact
    }
    said = set()
    for message in MESSAGES:
        for choice in range(max((len(one.fields) for one in message.oneofs), default=1)):
            shown = redaction.fields(filled(message, choice, depth=1))
            said |= {(message.name, path) for path in shown if shown[path] == '"[redacted]"'}
            if shown.keys() == {""}:  # nothing of it is shown
                said |= {(message.name, field.name) for field in message.fields}

    assert marked
    assert marked <= said


@pytest.mark.parametrize(
    "message",
    [
        any_pb2.Any(type_url="t", value=b"canary"),
        struct_pb2.Struct(fields={"canary": struct_pb2.Value(string_value="canary")}),
    ],
    ids=["any", "struct"],
)
def test_s7_messages_of_any_shape_are_not_shown(message):
    assert redaction.fields(message) == {"": '"[redacted]"'}

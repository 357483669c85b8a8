"""What botocore makes of Bedrock's bytes, and sends for parameters: the measure of our own code."""

import functools
from dataclasses import dataclass
from typing import Any

from botocore.eventstream import EventStream
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from botocore.validate import ParamValidator


@dataclass
class Told:
    """An answer, in the terms both sides have. Arguments are text as streamed, else an object."""

    text: str
    thinking: str
    signatures: list[str]
    redacted: list[bytes]
    calls: list[tuple[str, str, Any]]
    finish: str
    usage: dict[str, int] | None


@functools.cache
def service(name: str = "bedrock-runtime") -> ServiceModel:
    return ServiceModel(Loader().load_service_model(name, "service-2"), name)


class _Bytes:
    """A body for botocore's reader of event streams."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self):
        yield self._data

    def close(self) -> None:
        pass


def read_events(data: bytes) -> list[dict[str, Any]]:
    shape = service().operation_model("ConverseStream").output_shape.members["stream"]
    parser = _lenient(create_parser("rest-json")._event_stream_parser)
    return list(EventStream(_Bytes(data), shape, parser, "ConverseStream"))


def _lenient(parser):
    """Some recordings name the kind of a block a second time, or leave out what begins."""
    parser._has_unknown_tagged_union_member = lambda shape, value: False
    return parser


def read_stream(data: bytes) -> Told:
    """botocore reads the events; there is no more to join than their text."""
    told = Told("", "", [], [], [], "", None)
    calls: dict[int, list[str]] = {}
    for event in read_events(data):
        if "contentBlockStart" in event:
            said = event["contentBlockStart"]
            if "toolUse" in said["start"]:
                use = said["start"]["toolUse"]
                calls[said["contentBlockIndex"]] = [use["toolUseId"], use["name"], ""]
        if "contentBlockDelta" in event:
            said = event["contentBlockDelta"]
            if "toolUse" in said["delta"]:
                calls[said["contentBlockIndex"]][2] += said["delta"]["toolUse"]["input"]
            _take(told, said["delta"])
        if "messageStop" in event:
            told.finish = event["messageStop"]["stopReason"]
        if "metadata" in event:
            told.usage = event["metadata"].get("usage")
    told.calls = [tuple(call) for call in calls.values()]
    return told


def read_answer(data: bytes) -> Told:
    response = {"status_code": 200, "headers": {}, "body": data}
    operation = service().operation_model("Converse")
    parser = _lenient(create_parser("rest-json"))
    answer = parser.parse(response, operation.output_shape)
    told = Told("", "", [], [], [], answer["stopReason"], answer.get("usage"))
    for block in answer["output"]["message"]["content"]:
        if "toolUse" in block:
            use = block["toolUse"]
            told.calls.append((use["toolUseId"], use["name"], use["input"]))
        if "citationsContent" in block:
            told.text += "".join(piece["text"] for piece in block["citationsContent"]["content"])
        _take(told, block)
    return told


def _take(told: Told, said: dict[str, Any]) -> None:
    told.text += said.get("text", "")
    thought = said.get("reasoningContent", {})
    thought = thought.get("reasoningText", thought)
    told.thinking += thought.get("text", "")
    if "signature" in thought:
        told.signatures.append(thought["signature"])
    if "redactedContent" in thought:
        told.redacted.append(thought["redactedContent"])


def sent(operation: str, **params) -> dict[str, Any]:
    """The request botocore makes of the parameters: `url_path` and `body`."""
    model = service().operation_model(operation)
    serializer = create_serializer(service().metadata["protocol"], include_validation=False)
    return serializer.serialize_to_request(params, model)


def complaints(operation: str, params: dict[str, Any]) -> str:
    """What botocore finds wrong with the parameters: types, lengths, what is missing or unknown."""
    shape = service().operation_model(operation).input_shape
    report = ParamValidator().validate(params, shape)
    return report.generate_report() if report.has_errors() else ""

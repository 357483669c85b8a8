"""Whatever a caller writes into a request, the provider's address and key stay the operator's."""

import itertools
import json
from contextlib import suppress

import grpc
import pytest

from llm_service.rpc.stubs import completion_pb2 as pb
from tests.contract.vendor_server import Reply
from tests.e2e.service import KEY, asking

HOSTILE = [
    "https://attacker.example/v1",
    "http://127.0.0.1:1/",
    "../../admin?key=x#",
    "a\r\nauthorization: Bearer attacker",
    '{"api_base": "https://attacker.example", "base_url": "x", "headers": {"authorization": "x"}}',
]
_numbers = itertools.count()


def places(descriptor, path=()) -> list[tuple]:
    """Every text in a completion request: the fields that lead to it."""
    found = []
    for field in descriptor.fields:
        if field in path or len(path) > 4:
            continue
        here = (*path, field)
        if field.type == field.TYPE_STRING:
            found.append(here)
        elif field.type == field.TYPE_MESSAGE and not field.message_type.GetOptions().map_entry:
            found += places(field.message_type, here)
        elif field.type == field.TYPE_MESSAGE:
            found.append(here)
    return found


PLACES = places(pb.CompletionRequest.DESCRIPTOR)


def put(message, path, text: str) -> None:
    field, *rest = path
    if not rest:
        write(message, field, text)
        return
    if field.is_repeated:
        held = getattr(message, field.name)
        message = held[0] if len(held) else held.add()
    else:
        message = getattr(message, field.name)
    put(message, rest, text)


def write(message, field, text: str) -> None:
    if field.type == field.TYPE_MESSAGE:  # a map
        kind = field.message_type.fields_by_name["value"].type
        if kind == field.TYPE_STRING:
            for key in ("openai-compatible", text):
                getattr(message, field.name)[key] = text
    elif field.is_repeated:
        getattr(message, field.name).append(text)
    else:
        setattr(message, field.name, text)


@pytest.mark.parametrize("path", PLACES, ids=lambda path: ".".join(one.name for one in path))
async def test_a9_no_field_of_a_request_moves_the_call_or_its_key(service, vendor, path):
    provider_id = f"fixed-{next(_numbers)}"
    await service.add_provider(provider_id, vendor.base_uri)
    model = f"providers/{provider_id}/models/m"
    answer = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "model": "m"}

    vendor.replies.append(Reply(200, {}, [json.dumps(answer).encode()]))
    for text in HOSTILE:
        request = asking(model)
        put(request, path, f"{model}{text}" if path[0].name == "model" else text)
        vendor.replies.append(Reply(200, {}, [json.dumps(answer).encode()]))
        with suppress(grpc.aio.AioRpcError):  # most are refused before anybody is called
            await service.completions.Complete(request, timeout=20)
    await service.completions.Complete(asking(model), timeout=20)

    assert vendor.asked
    for asked in vendor.asked:
        assert (asked.method, asked.path) == ("POST", "/v1/chat/completions")
        assert asked.headers["host"] == f"127.0.0.1:{vendor.port}"
        assert asked.headers["authorization"] == f"Bearer {KEY}"


def test_a9_the_places_are_all_there_are():
    assert len(PLACES) > 30
    assert not {
        path[-1].name
        for path in PLACES
        if any(word in path[-1].name for word in ("url", "header", "credential", "api_key", "host"))
    }

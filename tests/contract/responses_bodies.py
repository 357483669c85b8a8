"""The bodies that calls become in the Responses API, and what the SDK's types say of them."""

import functools
import json

from calls import call
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import TypeAdapter

from llm_service.providers.responses import request
from llm_service.providers.responses.dialect import Dialect

OPENAI = Dialect("openai")
LOCAL = Dialect("openai-compatible", allowed_tools=False, breakpoints=False, vocabulary=False)


@functools.cache
def _params() -> TypeAdapter:
    return TypeAdapter(ResponseCreateParamsNonStreaming)


def body(asked, dialect=OPENAI, *, stream=False) -> dict:
    """The body of a call; of one that is not streamed, the SDK's types take it."""
    shaped = json.loads(request.body(asked, dialect, stream=stream).encoded())
    if not stream:
        _params().validate_python(shaped)
    return shaped


def items(*messages, **more) -> list:
    """The input that messages become."""
    return body(call(*messages, model="gpt-6-sol", **more))["input"]


def warned(asked, dialect=OPENAI) -> list[tuple[str, str]]:
    """What was left out, as reason and field."""
    warnings = request.body(asked, dialect, stream=False).warnings
    return [(warning.reason, warning.field) for warning in warnings]

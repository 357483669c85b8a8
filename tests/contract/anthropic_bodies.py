"""The bodies that calls become in the Messages API, and what such calls hold."""

import json

import msgspec
from calls import call
from fakes.messages_checks import check_body

from llm_service.domain.content import FunctionTool, Media, Modality, Part, ProviderState
from llm_service.providers.messages import request
from llm_service.providers.messages.profile import Profile

PROFILE = Profile("anthropic")
PNG = Media(Modality.IMAGE, data=b"\x89PNG", mime_type="image/png")
TIME = FunctionTool("time")


def prepared(asked, profile=PROFILE) -> request.Prepared:
    """The call as it is sent; the vendor would take it."""
    shaped = request.prepare(asked, profile)
    check_body(body_of(shaped), shaped.version, counting=False)
    return shaped


def body(asked, profile=PROFILE) -> dict:
    return body_of(prepared(asked, profile))


def body_of(shaped) -> dict:
    return json.loads(msgspec.json.encode(shaped.body))


def turns(*messages_of_a_call, **more) -> list:
    """What the messages become, as (role, blocks)."""
    said = body(call(*messages_of_a_call, **more))
    return [(turn["role"], turn["content"]) for turn in said["messages"]]


def warned(asked, profile=PROFILE) -> list[tuple[str, str]]:
    return [(w.reason, w.field) for w in request.prepare(asked, profile).warnings]


def ours(content, state: dict, kind: str = "anthropic", **more) -> Part:
    """A part with state of a kind's."""
    return Part(content, provider_state=ProviderState(kind, json.dumps(state).encode()), **more)


def block(said: str) -> dict:
    return {"type": "text", "text": said}

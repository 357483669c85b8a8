"""The bodies that calls become for Bedrock, held against what Bedrock takes."""

import json
from dataclasses import replace

from bedrock_vendor import CLAUDE
from calls import call
from fakes import converse
from vendor_server import Asked

from llm_service.domain.content import Media, Modality, Part, ProviderState, Text
from llm_service.providers.converse import request
from llm_service.providers.converse.paths import model_path
from llm_service.providers.converse.request import Shaped

PNG = Media(Modality.IMAGE, data=b"\x89PNG", mime_type="image/png")
NOVA = "us.amazon.nova-2-lite-v1:0"


def asked(*messages, model: str = CLAUDE, **more):
    return call(*messages, model=model, **more)


def shaped(made) -> Shaped:
    return request.shape(made, "bedrock")


def body(made) -> dict:
    """The body; the vendor would take the request."""
    encoded = shaped(made).encoded()
    headers = {
        "content-type": "application/json",
        "accept": "application/json",
        "authorization": "Bearer key",
    }
    path = model_path(made.provider_model, "converse")
    converse.check(Asked("POST", path, headers, encoded))
    return json.loads(encoded)


def warnings(made) -> list[tuple[str, str]]:
    return [(warning.reason, warning.field) for warning in shaped(made).warnings]


def strict(made):
    return replace(made, request=replace(made.request, strict_params=True))


def kept(content, **said) -> Part:
    """A part with state of Bedrock's."""
    return Part(content, provider_state=ProviderState("bedrock", json.dumps(said).encode()))


def opaque(block: dict) -> Part:
    return kept(Text(""), block=block)

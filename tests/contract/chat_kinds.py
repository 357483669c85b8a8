"""The kinds that speak Chat Completions as data, and what each is sent."""

import json

from fakes.chat import VENDORS, check
from vendor_server import Asked

from llm_service.domain.content import FunctionTool, Media, Modality
from llm_service.providers import deepseek, fireworks, groq, mistral, openrouter, together, xai
from llm_service.providers.chat import request

KINDS = {
    module.KIND.kind: module.DIALECT
    for module in (deepseek, fireworks, groq, mistral, openrouter, together, xai)
}
TIME = FunctionTool("time")
PNG = Media(Modality.IMAGE, data=b"\x89PNG", mime_type="image/png")


def sent(kind, asked, *, stream=False):
    """The body, which the vendor would take, and the warnings."""
    body, warnings = request.body(asked, KINDS[kind], stream=stream)
    headers = {"authorization": "Bearer x"}
    check(Asked("POST", "/v1/chat/completions", headers, body), VENDORS[kind])
    return json.loads(body), [(w.reason, w.field) for w in warnings]

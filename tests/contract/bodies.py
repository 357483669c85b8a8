"""The bodies that calls become in the dialects of Chat Completions, and what such calls hold."""

import json

from llm_service.domain.content import FunctionTool, Media, Modality, Resolution
from llm_service.providers import openai, openai_compatible
from llm_service.providers.chat import request

OPENAI, COMPATIBLE = openai._DIALECT, openai_compatible._DIALECT
PNG = Media(Modality.IMAGE, data=b"\x89PNG", mime_type="image/png", resolution=Resolution.HIGH)
SCHEMA = '{"type": "object", "properties": {"z": {}, "a": {}}, "$defs": {"Z": {}, "A": {}}}'
TIME = FunctionTool("time")


def body(asked, dialect=OPENAI, *, stream=False):
    return json.loads(request.body(asked, dialect, stream=stream)[0])

"""Answers our decoder makes of events of Converse."""

import json

from bedrock_wire import decoder, event, read, stop, text

from llm_service.providers.fold import fold

HELLO = [event("messageStart", {"role": "assistant"}), text("Hello"), stop(0)]


def answer(*pieces, **how):
    return fold(read([b"".join(pieces)], **how))


def contents(folded):
    return [part.content for part in folded.parts]


def state(part) -> dict:
    return json.loads(part.provider_state.data)


def whole(*blocks, reason="end_turn", **more):
    body = {
        "output": {"message": {"role": "assistant", "content": list(blocks)}},
        "stopReason": reason,
        "usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5},
    } | more
    return fold(decoder().whole(json.dumps(body).encode()))

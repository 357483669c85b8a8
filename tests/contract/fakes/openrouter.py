"""Chat Completions as openrouter takes it and says it."""

import json

from vendor_server import Asked, Reply

from fakes.chat import functions

check, answer, stream, error = functions("openrouter")


def told(asked: Asked, made: int) -> Reply | None:
    """What is on record of the generation that the answers here are, `made` tokens long."""
    path, _, query = asked.path.partition("?")
    if path != "/v1/generation":
        return None
    assert asked.method == "GET"
    assert asked.headers["authorization"]
    assert query == "id=chatcmpl-fake"
    data = {
        "id": "chatcmpl-fake",
        "cancelled": True,
        "tokens_prompt": 9,
        "tokens_completion": 5,
        "native_tokens_prompt": 11,
        "native_tokens_completion": made,
        "native_tokens_reasoning": 0,
        "native_tokens_cached": 0,
        "total_cost": 0.0015,
        "is_byok": False,
    }
    return Reply(200, {}, [json.dumps({"data": data}).encode()])

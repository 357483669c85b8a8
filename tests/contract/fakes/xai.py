"""Chat Completions as xai takes it and says it."""

import json

from vendor_server import Asked, Reply

from fakes.chat import functions
from fakes.said import own_tokens

check, answer, stream, error = functions("xai")


def told(asked: Asked, made: int) -> Reply | None:
    """The tokens of a text, as `POST /tokenize-text` gives them."""
    if asked.path != "/v1/tokenize-text":
        return None
    assert asked.method == "POST"
    assert asked.headers["authorization"]
    assert asked.json.keys() == {"model", "text"}
    token = {"token_id": 1, "string_token": "a", "token_bytes": [97]}
    tokens = [token] * own_tokens(asked.json["text"])
    return Reply(200, {}, [json.dumps({"token_ids": tokens}).encode()])

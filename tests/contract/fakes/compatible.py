"""Chat Completions as a compatible server takes it and says it."""

import json

from vendor_server import Asked, Reply

from fakes.chat import functions
from fakes.said import own_tokens

check, answer, stream, error = functions("openai-compatible")


def told(asked: Asked, made: int) -> Reply | None:
    """The tokens of a text, at `/tokenize` beside the API, as the server does whose words it is."""
    if asked.path != "/tokenize":
        return None
    assert asked.method == "POST"
    match asked.json:
        case {"model": _, "prompt": text, "add_special_tokens": False}:
            count = own_tokens(text)
            said = {"count": count, "max_model_len": 8192, "tokens": [1] * count}
        case {"content": text, "add_special": False}:
            said = {"tokens": [1] * own_tokens(text)}
        case {"inputs": text}:
            mark = {"id": 0, "text": "<s>", "start": 0, "stop": 0}
            said = [mark] + [{**mark, "stop": 1}] * own_tokens(text)
        case _:
            return Reply(422, {}, [b'{"detail": "no text"}'])
    return Reply(200, {}, [json.dumps(said).encode()])

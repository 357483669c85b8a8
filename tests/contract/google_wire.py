"""Google's recordings, events of its streams, and our decoder reading them as the adapter does."""

import json

from recordings import WIRE, answer_params, other_params, sse, stream_params

from llm_service.providers.fold import fold
from llm_service.providers.gemini.decoder import GeminiDecoder
from llm_service.providers.vendor import Reply

FOLDER = WIRE / "google-generate-content"
_ANSWERS = {"candidates", "promptFeedback", "usageMetadata"}


def streams() -> list:
    """Every streamed recording as SSE bytes; one skipped test if there are none."""
    return stream_params(FOLDER, _framed, _is_answer)


def answers() -> list:
    """Every whole answer."""
    return answer_params(FOLDER, _is_answer)


def no_answers() -> list:
    """Errors, and what is no answer of generateContent."""
    return other_params(FOLDER, _framed, _is_answer, _is_answer)


def _is_answer(said: dict) -> bool:
    return not said.get("error") and bool(said.keys() & _ANSWERS)


def _framed(lines: list[bytes]) -> bytes:
    return sse(lines, done=False)


def decoder(answer_tool: str = "", request_id: str = "") -> GeminiDecoder:
    return GeminiDecoder("google", answer_tool, Reply(request_id, (), {}, "the-key"))


def read(pieces, answer_tool: str = "") -> list:
    """The events of a stream that came in these pieces; raises its failure."""
    reader = decoder(answer_tool)
    events = []
    for piece in pieces:
        events += reader.feed(piece)
        if reader.failure:
            break
    else:
        events += reader.end()
    if reader.failure is not None:
        raise reader.failure
    return events


def chunk(*parts, finish="", **more) -> bytes:
    """An event of these parts."""
    return json.dumps(spoken(*parts, finish=finish, **more), ensure_ascii=False).encode()


def spoken(*parts, finish="", **more) -> dict:
    candidate = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    beside = {name: more.pop(name) for name in _BESIDE & set(more)}
    return {
        "candidates": [candidate | more],
        "modelVersion": "gemini-x",
        "responseId": "r-1",
        **beside,
    }


_BESIDE = {"usageMetadata", "promptFeedback"}


def answered(*chunks: bytes, answer_tool: str = ""):
    """The answer of a stream of these events."""
    return fold(read([sse(chunks, done=False)], answer_tool))


def whole(*parts, finish="STOP", **more):
    """The same as one answer."""
    return fold(decoder().whole(chunk(*parts, finish=finish, **more)))

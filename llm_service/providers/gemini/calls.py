"""Tool calls and their results in Google's words, which pairs them by turns."""

from collections.abc import Sequence
from typing import Any

import msgspec

from llm_service.domain.content import Media, Part, Text, ToolCall, ToolResult
from llm_service.errors import InvalidField, Violation
from llm_service.providers import checks, states
from llm_service.providers.gemini.door import KIND, is_third
from llm_service.providers.gemini.media import Json, MediaShaper

# What Google documents for a call in the history that its model did not make
# (ai.google.dev/gemini-api/docs/thought-signatures).
FOREIGN_SIGNATURE = "skip_thought_signature_validator"


class Pairs:
    """The calls of the turn before, which the next turn answers, every one."""

    def __init__(self, model: str, media: MediaShaper) -> None:
        self._model = model
        self._media = media
        self._open: list[tuple[ToolCall, str, str]] = []  # with Google's id and the path

    def call(self, part: Part, call: ToolCall, path: str) -> Json:
        """A call of the model's."""
        text = call.arguments_json or "{}"
        try:
            msgspec.json.decode(text, type=dict[str, Any])
        except (ValueError, RecursionError):
            raise checks.not_supported(
                KIND, self._model, path, "takes the arguments of a call only as a JSON object"
            ) from None
        function: Json = {"name": call.name, "args": msgspec.Raw(text.encode())}
        state = states.read(part, KIND) or {}
        given_id = state.get("id")
        given_id = given_id if type(given_id) is str else ""
        if given_id:
            function["id"] = given_id
        self._open.append((call, given_id, path))
        signature = state.get("thoughtSignature")
        if type(signature) is str:
            return {"functionCall": function, "thoughtSignature": signature}
        return {"functionCall": function}

    def results(self, results: Sequence[tuple[ToolResult, str]]) -> list[Json]:
        """The results of a turn, in the order of the calls they answer.

        Raises:
            InvalidField: a result answers no call of the turn before, or a call has none.
        """
        shaped: list[tuple[int, list[Json]]] = []
        calls = dict(enumerate(self._open))
        for result, path in results:
            found = next((n for n, c in calls.items() if c[0].id == result.tool_call_id), None)
            if found is None:
                why = "answers no call of the turn before"
                raise InvalidField(Violation(f"{path}.tool_result.tool_call_id", why))
            call, given_id, _ = calls.pop(found)
            shaped.append((found, self._result(result, call.name, given_id, path)))
        for _, _, path in calls.values():
            raise InvalidField(Violation(f"{path}.tool_call", "has no result in the next turn"))
        self._open.clear()
        shaped.sort(key=lambda numbered: numbered[0])
        return [part for _, parts in shaped for part in parts]

    def _result(self, result: ToolResult, name: str, given_id: str, path: str) -> list[Json]:
        texts: list[str] = []
        media: list[Json] = []
        for number, part in enumerate(result.content):
            at = f"{path}.tool_result.content[{number}]"
            match part.content:
                case Text(text):
                    texts.append(text)
                case Media() as content:
                    media.append(self._media.source(content, at))
                case content:
                    what = checks.name_of(content)
                    raise checks.not_supported(
                        KIND, self._model, at, f"takes no {what} in a tool's result"
                    )
        said: str | list[str] = texts if len(texts) > 1 else "".join(texts)
        response: Json = {"name": name, "response": {"error" if result.failed else "output": said}}
        if given_id:
            response["id"] = given_id
        if media and is_third(self._model):
            response["parts"] = media
            media = []
        return [{"functionResponse": response}, *media]


def sign(parts: Sequence[Json]) -> None:
    """Give a turn's first call the signature that the third generation insists on."""
    for part in parts:
        if "functionCall" in part:
            part.setdefault("thoughtSignature", FOREIGN_SIGNATURE)
            break

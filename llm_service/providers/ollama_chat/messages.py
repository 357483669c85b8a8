"""A conversation in the words of `/api/chat`."""

import base64
from collections.abc import Sequence
from typing import Any

import msgspec

from llm_service.domain.content import (
    Media,
    Message,
    Modality,
    Part,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from llm_service.errors import CapabilityNotSupported, InvalidField, Violation
from llm_service.providers import checks, states
from llm_service.providers.dropped import Dropped

Json = dict[str, Any]


class Messages:
    """Shapes the messages of one call.

    Raises from `shape`:
        CapabilityNotSupported: a part Ollama has no place for; names its path and the model.
        InvalidField: a part that is not whole.
    """

    def __init__(self, kind: str, model: str, dropped: Dropped) -> None:
        self._kind = kind
        self._model = model
        self._dropped = dropped

    def shape(self, messages: Sequence[Message]) -> list[Json]:
        shaped: list[Json] = []
        for number, message in enumerate(messages):
            shaped += self._message(message, f"messages[{number}]")
        return shaped

    def _message(self, message: Message, path: str) -> list[Json]:
        if message.participant:
            self._dropped.content(f"{path}.participant", "the name", "this provider takes none")
        shaped: list[Json] = []
        said: Json = {"role": message.role.value, "content": ""}
        texts: list[str] = []
        for number, part in enumerate(message.parts):
            at = f"{path}.parts[{number}]"
            self._say_what_is_lost(part, path)
            if isinstance(part.content, ToolResult):
                shaped.append(self._tool_result(part.content, at))
            elif message.role is Role.TOOL:
                raise InvalidField(Violation(at, "a tool message holds tool results only"))
            else:
                self._part(part, at, message.role, said, texts)
        said["content"] = "\n".join(texts)
        only_results = bool(shaped) and not texts and said.keys() == {"role", "content"}
        if message.role is not Role.TOOL and not only_results:
            shaped.append(said)
        return shaped

    def _say_what_is_lost(self, part: Part, path: str) -> None:
        if part.cache_control:
            why = "this provider decides itself what it caches"
            self._dropped.content(f"{path}.parts", "cache_control", why)
        if part.citations:
            why = "this provider does not take citations back"
            self._dropped.content(f"{path}.parts", "citations", why)

    def _part(self, part: Part, path: str, role: Role, said: Json, texts: list[str]) -> None:
        match part.content:
            case Text(text):
                self._text(text, part, path, texts)
            case Media() as media if role is not Role.SYSTEM:
                said.setdefault("images", []).append(self._image(media, path))
            case Refusal(text) if role is Role.ASSISTANT:
                texts.append(text)
            case Thinking() as thinking if role is Role.ASSISTANT:
                self._thinking(thinking, part, path, said)
            case ToolCall(server_side=True) if role is Role.ASSISTANT:
                self._dropped.content(path, "a call the provider ran", "it cannot be repeated")
            case ToolCall() as call if role is Role.ASSISTANT:
                said.setdefault("tool_calls", []).append(_tool_call(call, path))
            case content:
                what = checks.name_of(content)
                raise self._refusal(path, f"takes no {what} in a message of role {role.value}")

    def _text(self, text: str, part: Part, path: str, texts: list[str]) -> None:
        if text or part.provider_state is None:
            texts.append(text)
        else:
            self._dropped.content(path, "what another provider did", "it is not ours")

    def _thinking(self, thinking: Thinking, part: Part, path: str, said: Json) -> None:
        if states.read(part, self._kind) is None:
            self._dropped.content(path, "thinking", "it is not of this provider")
        else:
            said["thinking"] = said.get("thinking", "") + thinking.text

    def _image(self, media: Media, path: str) -> str:
        if media.modality is not Modality.IMAGE:
            raise self._refusal(path, f"takes no {media.modality.value}")
        if media.data is None:
            raise self._refusal(path, "takes images as bytes")
        if media.resolution is not None:
            why = "this provider looks at every image alike"
            self._dropped.content(f"{path}.image.resolution", "the resolution", why)
        return base64.b64encode(media.data).decode()

    def _tool_result(self, result: ToolResult, path: str) -> Json:
        texts = []
        for part in result.content:
            if not isinstance(part.content, Text):
                raise self._refusal(path, "takes only text in tool results")
            texts.append(part.content.text)
        if result.failed:
            why = "this provider is told of failures in the text"
            self._dropped.content(path, "tool_result.failed", why)
        said = {"role": "tool", "content": "\n".join(texts), "tool_call_id": result.tool_call_id}
        return said | ({"tool_name": result.name} if result.name else {})

    def _refusal(self, path: str, what: str) -> CapabilityNotSupported:
        return checks.not_supported(self._kind, self._model, path, what)


def _tool_call(call: ToolCall, path: str) -> Json:
    """Arguments go over as the text they are, which must be an object here."""
    arguments = call.arguments_json or "{}"
    try:
        msgspec.json.decode(arguments, type=dict[str, Any])
    except (ValueError, RecursionError) as error:
        field = f"{path}.tool_call.arguments_json"
        raise InvalidField(Violation(field, "must be a JSON object for this provider")) from error
    function = {"name": call.name, "arguments": msgspec.Raw(arguments.encode())}
    return {"id": call.id, "function": function}

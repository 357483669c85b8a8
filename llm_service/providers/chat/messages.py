"""A conversation in the words of Chat Completions."""

import base64
from collections.abc import Sequence
from typing import Any

from llm_service.domain.content import (
    Content,
    Media,
    Message,
    Modality,
    Part,
    Refusal,
    Resolution,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from llm_service.errors import CapabilityNotSupported, InvalidField, Violation
from llm_service.providers import checks, states
from llm_service.providers.chat.dialect import Dialect
from llm_service.providers.dropped import Dropped

Json = dict[str, Any]

_AUDIO_FORMATS = {
    "audio/wav": "wav",
    "audio/wave": "wav",
    "audio/x-wav": "wav",
    "audio/vnd.wave": "wav",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
}


class Messages:
    """Shapes the messages of one call.

    Raises from `shape`:
        CapabilityNotSupported: a part the dialect has no place for; names its path and the model.
        InvalidField: a part that is not whole.
    """

    def __init__(self, dialect: Dialect, model: str, dropped: Dropped) -> None:
        self._dialect = dialect
        self._model = model
        self._dropped = dropped

    def shape(self, messages: Sequence[Message]) -> list[Json]:
        shaped: list[Json] = []
        for number, message in enumerate(messages):
            shaped += self._message(message, f"messages[{number}]")
        return shaped

    def _message(self, message: Message, path: str) -> list[Json]:
        parts = [(part, f"{path}.parts[{n}]") for n, part in enumerate(message.parts)]
        if any(part.cache_control for part, _ in parts):
            self._dropped.content(
                f"{path}.parts", "cache_control", "this provider decides itself what it caches"
            )
        if any(part.citations for part, _ in parts):
            self._dropped.content(
                f"{path}.parts", "citations", "this provider does not take citations back"
            )
        if message.role is Role.ASSISTANT:
            return [_named(self._assistant(parts), message)]
        results = [
            self._tool_result(part.content, at)
            for part, at in parts
            if isinstance(part.content, ToolResult)
        ]
        parts = [(part, at) for part, at in parts if not isinstance(part.content, ToolResult)]
        if not parts:
            return results
        role = self._dialect.system_role if message.role is Role.SYSTEM else "user"
        if message.role is Role.TOOL:
            raise InvalidField(Violation(parts[0][1], "a tool message holds tool results only"))
        content = [self._block(part.content, at, message.role) for part, at in parts]
        return [*results, _named({"role": role, "content": _joined(content)}, message)]

    def _assistant(self, parts: list[tuple[Part, str]]) -> Json:
        shaped: Json = {"role": "assistant"}
        blocks: list[Json] = []
        for part, path in parts:
            self._assistant_part(part, path, shaped, blocks)
        if blocks:
            shaped["content"] = _joined(blocks)
        elif len(shaped) == 1:
            shaped["content"] = ""
        return shaped

    def _assistant_part(self, part: Part, path: str, shaped: Json, blocks: list[Json]) -> None:
        match part.content:
            case ToolCall(server_side=False) as call:
                shaped.setdefault("tool_calls", []).append(_tool_call(call))
            case ToolCall():
                self._dropped.content(path, "a call the provider ran", "it cannot be repeated")
            case Thinking():
                self._dropped.content(path, "thinking", "this provider takes none back")
            case Refusal(text):
                shaped["refusal"] = shaped.get("refusal", "") + text
            case content:
                if (state := states.read(part, self._dialect.kind)) is not None:
                    _restore(state, shaped, blocks)
                else:
                    blocks.append(self._block(content, path, Role.ASSISTANT))

    def _tool_result(self, result: ToolResult, path: str) -> Json:
        texts = []
        for part in result.content:
            if not isinstance(part.content, Text):
                raise self._refusal(path, "takes only text in tool results")
            texts.append(part.content.text)
        if result.failed:
            self._dropped.content(
                path, "tool_result.failed", "this provider is told of failures in the text"
            )
        return {"role": "tool", "tool_call_id": result.tool_call_id, "content": "\n".join(texts)}

    def _block(self, content: Content, path: str, role: Role) -> Json:
        if isinstance(content, Text):
            return {"type": "text", "text": content.text}
        if role is not Role.USER or not isinstance(content, Media):
            what = checks.name_of(content)
            raise self._refusal(path, f"takes no {what} in a message of role {role.value}")
        match content.modality:
            case Modality.IMAGE:
                return self._image(content, path)
            case Modality.DOCUMENT:
                return self._document(content, path)
            case Modality.AUDIO:
                return self._audio(content, path)
            case modality:
                raise self._refusal(path, f"takes no {modality.value}")

    def _image(self, image: Media, path: str) -> Json:
        if image.data is not None:
            url = checks.data_url(image.data, image.mime_type, f"{path}.image")
        elif image.uri is not None and image.uri.startswith(("https://", "http://")):
            url = image.uri
        else:
            raise self._refusal(path, "takes images as bytes or by https URI")
        shaped: Json = {"url": url}
        if image.resolution is Resolution.MEDIUM:
            self._dropped.content(
                f"{path}.image.resolution", "a medium resolution", "there is only low and high"
            )
        elif image.resolution is not None:
            shaped["detail"] = image.resolution.value
        return {"type": "image_url", "image_url": shaped}

    def _document(self, document: Media, path: str) -> Json:
        if document.file_id is not None:
            return {"type": "file", "file": {"file_id": document.file_id}}
        if document.data is None:
            raise self._refusal(path, "takes documents as bytes or by file_id")
        data = checks.data_url(document.data, document.mime_type, f"{path}.document")
        name = document.display_name or "document"
        return {"type": "file", "file": {"filename": name, "file_data": data}}

    def _audio(self, audio: Media, path: str) -> Json:
        kind = _AUDIO_FORMATS.get(audio.mime_type.partition(";")[0].strip().lower())
        if audio.data is None or kind is None:
            raise self._refusal(path, "takes audio as bytes of audio/wav or audio/mpeg")
        data = base64.b64encode(audio.data).decode()
        return {"type": "input_audio", "input_audio": {"data": data, "format": kind}}

    def _refusal(self, path: str, what: str) -> CapabilityNotSupported:
        return checks.not_supported(self._dialect.kind, self._model, path, what)


def _joined(blocks: list[Json]) -> str | list[Json]:
    """One text as a plain string, which every server of the dialect takes; else the list."""
    if len(blocks) == 1 and blocks[0].get("type") == "text":
        text: str = blocks[0]["text"]
        return text
    return blocks


def _named(shaped: Json, message: Message) -> Json:
    if message.participant:
        shaped["name"] = message.participant
    return shaped


def _tool_call(call: ToolCall) -> Json:
    function = {"name": call.name, "arguments": call.arguments_json}
    return {"id": call.id, "type": "function", "function": function}


def _restore(state: Json, shaped: Json, blocks: list[Json]) -> None:
    if "audio" in state:
        shaped["audio"] = state["audio"]
    elif "block" in state:
        blocks.append(state["block"])

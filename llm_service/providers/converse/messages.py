"""A conversation in the words of Converse: instructions apart, and two speakers in turn."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from llm_service.domain.content import (
    CacheControl,
    Content,
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
from llm_service.providers.converse.families import Family
from llm_service.providers.converse.media import MediaBlocks
from llm_service.providers.converse.turns import Turns
from llm_service.providers.dropped import Dropped

Json = dict[str, Any]
Blocks = list[Json]

_IDS = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_MISTRAL_IDS = re.compile(r"[A-Za-z0-9]{9}")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")
_NAME_LENGTH = 64
_MOST_CACHE_POINTS = 4  # of one request
_SHORT_LIFE = 300  # seconds; what is to live longer is kept for an hour
_NOT_TAKEN_BACK = "only what this provider itself gave with it is taken back"


class Messages:
    """Shapes the messages of one call.

    Attributes:
        system: the instructions, lifted from wherever they stood.
        used: names of the tools that the turns call.

    Raises from `shape`:
        CapabilityNotSupported: a part Converse has no place for; names its path and the model.
        InvalidField: a part that is not whole.
    """

    def __init__(self, kind: str, model: str, family: Family, dropped: Dropped) -> None:
        self.system: Blocks = []
        self.used: list[str] = []
        self._kind = kind
        self._model = model
        self._family = family
        self._dropped = dropped
        self._media = MediaBlocks(kind, model)
        self._turns = Turns(self._refusal)
        self._cache_points = 0

    @property
    def turns(self) -> list[Json]:
        """What the user and the model said in turn."""
        return self._turns.said

    def shape(self, messages: Sequence[Message]) -> None:
        for number, message in enumerate(messages):
            path = f"messages[{number}]"
            if message.participant:
                self._dropped.content(
                    f"{path}.participant", "participant", "this provider knows no names of speakers"
                )
            if message.role is Role.SYSTEM:
                self._instruct(message, path)
            elif message.role is Role.ASSISTANT:
                self._turns.add("assistant", self._assistant(message, path), path)
            else:
                self._turns.add("user", self._user(message, path), path)
        self._turns.check()

    def _instruct(self, message: Message, path: str) -> None:
        for part, at in _parts(message, path):
            if not isinstance(part.content, Text):
                what = checks.name_of(part.content)
                raise self._refusal(at, f"takes no {what} in a message of role system")
            self.system += self._text(part.content.text, at)
            self._cache(part.cache_control, self.system, at)

    def _user(self, message: Message, path: str) -> Blocks:
        results: Blocks = []  # before all else, as some models demand
        blocks: Blocks = []
        for part, at in _parts(message, path):
            match part.content:
                case ToolResult() as result:
                    results.append(self._result(result, at))
                    self._cache(part.cache_control, results, at)
                    continue
                case _ if message.role is Role.TOOL:
                    raise InvalidField(Violation(at, "a tool message holds tool results only"))
                case Text(text):
                    blocks += self._text(text, at)
                case Media() as media:
                    blocks.append(self._media.shape(media, at))
                case content:
                    raise self._no_place(content, at, message.role)
            self._cache(part.cache_control, blocks, at)
        return results + blocks

    def _assistant(self, message: Message, path: str) -> Blocks:
        blocks: Blocks = []
        for part, at in _parts(message, path):
            before = len(blocks)
            blocks += self._said(part, at)
            if len(blocks) > before and "reasoningContent" not in blocks[-1]:
                self._cache(part.cache_control, blocks, at)
            elif part.cache_control is not None:
                self._dropped.content(at, "cache_control", "there is nothing here to cache")
        return blocks

    def _said(self, part: Part, path: str) -> Blocks:
        match part.content:
            case Thinking() as thinking:
                return self._thinking(part, thinking, path)
            case ToolCall() as call:
                return self._call(part, call, path)
            case Refusal(text):
                return self._text(text, path)
            case Text(text):
                return self._text_said(part, text, path)
            case Media(modality=Modality.IMAGE) as media:
                return [self._media.shape(media, path)]
            case content:
                raise self._no_place(content, path, Role.ASSISTANT)

    def _text_said(self, part: Part, text: str, path: str) -> Blocks:
        state = states.read(part, self._kind) or {}
        if type(block := state.get("block")) is dict:
            return [block]
        shaped = self._text(text, path)
        cited = state.get("citations")
        if shaped and type(cited) is list and cited:
            return [{"citationsContent": {"content": shaped, "citations": cited}}]
        if part.citations:
            self._dropped.content(f"{path}.citations", "citations", _NOT_TAKEN_BACK)
        return shaped

    def _text(self, text: str, path: str) -> Blocks:
        """Blank text is refused, and says nothing."""
        if text.strip():
            return [{"text": text}]
        if text:
            self._dropped.content(path, "blank text", "this provider does not take it")
        return []

    def _thinking(self, part: Part, thinking: Thinking, path: str) -> Blocks:
        state = (states.read(part, self._kind) or {}).get("thinking")
        if type(state) is not dict or state.get("family") != self._family.name:
            self._dropped.content(path, "thinking", _NOT_TAKEN_BACK)
            return []
        if "redacted" in state:
            return [{"reasoningContent": {"redactedContent": state["redacted"]}}]
        said = {"text": thinking.text, "signature": state.get("signature")}
        return [{"reasoningContent": {"reasoningText": said}}]

    def _call(self, part: Part, call: ToolCall, path: str) -> Blocks:
        state = (states.read(part, self._kind) or {}).get("tool_use")
        if call.server_side and type(state) is not dict:
            self._dropped.content(path, "a call the provider ran", "it cannot be repeated")
            return []
        name = _NOT_IN_NAMES.sub("_", call.name)[:_NAME_LENGTH] or "_"
        shaped: Json = {
            "toolUseId": self._id(call.id),
            "name": name,
            "input": self._arguments(call.arguments_json, path),
        }
        if call.server_side and type(state) is dict:
            shaped["type"] = state.get("type")
        else:
            self.used.append(name)
        return [{"toolUse": shaped}]

    def _arguments(self, text: str, path: str) -> Json | msgspec.Raw:
        if not text.strip():
            return {}
        try:
            msgspec.json.decode(text, type=dict[str, Any])
        except (ValueError, RecursionError):
            self._dropped.content(
                f"{path}.tool_call.arguments_json",
                "the form of arguments that are no JSON object",
                "this provider takes objects only, and got the text as one string in an object",
            )
            return {"arguments": text}
        return msgspec.Raw(text.encode())

    def _result(self, result: ToolResult, path: str) -> Json:
        content: Blocks = []
        for number, part in enumerate(result.content):
            at = f"{path}.tool_result.content[{number}]"
            match part.content:
                case Text(text):
                    content += self._text(text, at)
                case Media(modality=modality) as media if modality is not Modality.AUDIO:
                    content.append(self._media.shape(media, at))
                case other:
                    raise self._no_place(other, at, Role.TOOL)
            if part.cache_control is not None:
                self._dropped.content(at, "cache_control", "only whole tool results are cached")
        # A result without content is refused with some models; an empty object says as little.
        shaped: Json = {
            "toolUseId": self._id(result.tool_call_id),
            "content": content or [{"json": {}}],
        }
        if result.failed and self._family.tool_status:
            shaped["status"] = "error"
        elif result.failed:
            self._dropped.content(
                path, "tool_result.failed", "this model is told of failures in the text"
            )
        return {"toolResult": shaped}

    def _id(self, said: str) -> str:
        """An id the vendor takes; one of another vendor's always becomes the same."""
        mistral = self._family.name == "mistral"
        if (_MISTRAL_IDS if mistral else _IDS).fullmatch(said):
            return said
        digest = hashlib.sha256(said.encode()).hexdigest()
        return digest[:9] if mistral else f"tooluse_{digest[:32]}"

    def _cache(self, wanted: CacheControl | None, blocks: Blocks, path: str) -> None:
        if wanted is None:
            return
        if why := self._why_not_cached(blocks):
            self._dropped.content(path, "cache_control", why)
            return
        point: Json = {"type": "default"}
        if (seconds := wanted.ttl_seconds) is not None:
            if self._family.an_hour:
                point["ttl"] = "5m" if seconds <= _SHORT_LIFE else "1h"
            elif seconds > _SHORT_LIFE:
                self._dropped.content(path, "cache_control.ttl", "this model caches for 5 minutes")
        blocks.append({"cachePoint": point})
        self._cache_points += 1

    def _why_not_cached(self, blocks: Blocks) -> str:
        if not self._family.caches:
            return "this model caches nothing"
        if not blocks or "cachePoint" in blocks[-1]:
            return "there is nothing here to cache"
        if self._cache_points == _MOST_CACHE_POINTS:
            return f"the provider takes {_MOST_CACHE_POINTS} in a request"
        return ""

    def _no_place(self, content: Content, path: str, role: Role) -> CapabilityNotSupported:
        what = checks.name_of(content)
        return self._refusal(path, f"takes no {what} in a message of role {role.value}")

    def _refusal(self, path: str, what: str) -> CapabilityNotSupported:
        return checks.not_supported(self._kind, self._model, path, what)


def _parts(message: Message, path: str) -> Iterator[tuple[Part, str]]:
    return ((part, f"{path}.parts[{number}]") for number, part in enumerate(message.parts))

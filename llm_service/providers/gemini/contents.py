"""A conversation in Google's words: turns of the user and of the model, instructions apart."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from llm_service.domain.content import (
    Media,
    Message,
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
from llm_service.providers.gemini.calls import Pairs, sign
from llm_service.providers.gemini.door import KIND, Door, is_third
from llm_service.providers.gemini.media import Json, MediaShaper

_FIELDS = ("thought", "thoughtSignature")  # beside what a part holds
# Parts that Vertex AI neither makes nor takes.
_NOT_ON_VERTEX = ("toolCall", "toolResponse")


@dataclass(slots=True)
class Conversation:
    """What a request says of a conversation. `continuation` is the token of an answer to resume."""

    contents: list[Json]
    system: list[Json]
    continuation: str = ""


@dataclass(slots=True)
class _Turn:
    """What one side said until the other spoke, each part with its path."""

    is_model: bool
    parts: list[tuple[Part, str]] = field(default_factory=list)
    results: list[tuple[ToolResult, str]] = field(default_factory=list)


class Contents:
    """Shapes the messages of one call.

    Raises from `shape`:
        CapabilityNotSupported: a part the door or the model has no place for.
        InvalidField: a part that is not whole, or that does not fit the turns before.
    """

    def __init__(self, door: Door, model: str, dropped: Dropped) -> None:
        self._door = door
        self._model = model
        self._dropped = dropped
        self._media = MediaShaper(door, model, dropped)
        self._pairs = Pairs(model, self._media)
        self._system: list[Json] = []
        self._turns: list[_Turn] = []

    def shape(self, messages: Sequence[Message]) -> Conversation:
        continuation = _continuation(messages)
        for number, message in enumerate(messages[:-1] if continuation else messages):
            self._take(message, f"messages[{number}]")
        contents: list[Json] = []
        for turn in self._turns:
            for content in self._model_turn(turn) if turn.is_model else self._user_turn(turn):
                _append(contents, content)
        if contents and contents[0]["role"] == "model" and _calls(contents[0]):
            raise self._refusal("messages", "takes a tool call only after a turn of the user")
        if not contents and not self._system:
            raise InvalidField(Violation("messages", "hold nothing to say to the model"))
        if not contents:  # instructions alone are what the user says
            contents = [{"role": "user", "parts": self._system}]
            return Conversation(contents, [], continuation)
        return Conversation(contents, self._system, continuation)

    def _take(self, message: Message, path: str) -> None:
        self._warn(message, path)
        for number, part in enumerate(message.parts):
            at = f"{path}.parts[{number}]"
            if message.role is Role.SYSTEM:
                self._system += self._instruction(part, at)
                continue
            is_model = message.role is Role.ASSISTANT
            if not self._turns or self._turns[-1].is_model is not is_model:
                self._turns.append(_Turn(is_model))
            if isinstance(part.content, ToolResult) and not is_model:
                self._turns[-1].results.append((part.content, at))
            else:
                self._turns[-1].parts.append((part, at))

    def _warn(self, message: Message, path: str) -> None:
        if any(part.cache_control for part in message.parts):
            self._dropped.content(
                f"{path}.parts", "cache_control", "this provider decides itself what it caches"
            )
        if any(part.citations for part in message.parts):
            self._dropped.content(
                f"{path}.parts", "citations", "this provider does not take citations back"
            )
        if message.participant:
            self._dropped.content(
                f"{path}.participant", "the participant", "this provider has no place for the name"
            )

    def _model_turn(self, turn: _Turn) -> list[Json]:
        parts = [shaped for part, path in turn.parts for shaped in self._assistant(part, path)]
        if is_third(self._model):
            sign(parts)
        return [{"role": "model", "parts": parts}]

    def _user_turn(self, turn: _Turn) -> list[Json]:
        """What tools answered is a content of its own, before the user's words."""
        results = self._pairs.results(turn.results)
        parts = [shaped for part, path in turn.parts for shaped in self._user(part, path)]
        return [{"role": "user", "parts": results}, {"role": "user", "parts": parts}]

    def _instruction(self, part: Part, path: str) -> list[Json]:
        if not isinstance(part.content, Text):
            what = checks.name_of(part.content)
            raise self._refusal(path, f"takes no {what} in instructions")
        return [{"text": part.content.text}] if part.content.text else []

    def _user(self, part: Part, path: str) -> list[Json]:
        match part.content:
            case Text(text):
                return [{"text": text}] if text else []
            case Media() as media:
                return [self._media.part(media, path)]
            case content:
                what = checks.name_of(content)
                raise self._refusal(path, f"takes no {what} in a message of the user")

    def _assistant(self, part: Part, path: str) -> list[Json]:
        state = states.read(part, KIND) or {}
        if type(raw := state.get("part")) is dict:
            return self._restored(raw, path)
        fields: Json = {name: state[name] for name in _FIELDS if name in state}
        match part.content:
            case Thinking(text):
                return self._thinking(text, fields, path)
            case Text(text) | Refusal(text):
                return [{"text": text, **fields}] if text or fields else []
            case Media() as media:
                return [{**self._media.source(media, path), **fields}]
            case ToolCall(server_side=False) as call:
                return [self._pairs.call(part, call, path)]
            case ToolCall():
                self._dropped.content(path, "a call the provider ran", "it cannot be repeated")
                return []
            case content:
                what = checks.name_of(content)
                raise self._refusal(path, f"takes no {what} in a message of the assistant")

    def _thinking(self, text: str, fields: Json, path: str) -> list[Json]:
        if fields:
            return [{"text": text, **fields}]
        self._dropped.content(path, "thinking", "it is another provider's")
        return []

    def _restored(self, raw: Json, path: str) -> list[Json]:
        """A part of Google's own, unchanged."""
        if self._door.is_vertex and any(name in raw for name in _NOT_ON_VERTEX):
            self._dropped.content(path, "a call the provider ran", "Vertex AI takes none back")
            return []
        return [raw]

    def _refusal(self, path: str, what: str) -> CapabilityNotSupported:
        return checks.not_supported(KIND, self._model, path, what)


def _append(contents: list[Json], content: Json) -> None:
    """Add a content that is not empty, joined with the one before if the same side speaks on."""
    if not content["parts"]:
        return
    last = contents[-1] if contents else {"role": ""}
    if last["role"] == content["role"] and not _answers(last):
        last["parts"] += content["parts"]
    else:
        contents.append(content)


def _answers(content: Json) -> bool:
    return any("functionResponse" in part for part in content["parts"])


def _calls(content: Json) -> bool:
    return any("functionCall" in part for part in content["parts"])


def _continuation(messages: Sequence[Message]) -> str:
    """The token of an answer that was paused and is to go on from where it stopped."""
    if not messages or messages[-1].role is not Role.ASSISTANT:
        return ""
    for part in messages[-1].parts:
        token = (states.read(part, KIND) or {}).get("continuationToken")
        if type(token) is str:
            return token
    return ""

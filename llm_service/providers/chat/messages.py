"""A conversation in the words of Chat Completions."""

from collections.abc import Sequence
from typing import Any

from llm_service.domain.content import (
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
from llm_service.errors import InvalidField, Violation
from llm_service.providers import checks, states
from llm_service.providers.chat import thoughts
from llm_service.providers.chat.call_ids import shaped as shaped_id
from llm_service.providers.chat.dialect import Dialect, Thoughts
from llm_service.providers.chat.media import MediaBlocks
from llm_service.providers.dropped import Dropped

Json = dict[str, Any]

_AN_HOUR = 3600
_INSTEAD_OF_CONTENT = frozenset({"tool_calls", "refusal", "audio", "images"})


class Messages:
    """Shapes the messages of one call.

    Raises from `shape`:
        CapabilityNotSupported: a part the dialect has no place for; names its path and the model.
        InvalidField: a part that is not whole.
    """

    def __init__(self, dialect: Dialect, model: str, dropped: Dropped) -> None:
        self._dialect = dialect
        self._dropped = dropped
        self._media = MediaBlocks(dialect, model, dropped)

    def shape(self, messages: Sequence[Message]) -> list[Json]:
        shaped: list[Json] = []
        for number, message in enumerate(messages):
            for one in self._message(message, f"messages[{number}]"):
                if _is_empty(one) and not self._dialect.empty_messages:
                    self._dropped.content(f"messages[{number}]", "a message", "it says nothing")
                    continue
                self._check_order(shaped, one, f"messages[{number}]")
                shaped.append(one)
        if not shaped:
            raise self._media.refusal("messages", "takes no conversation that says nothing")
        if self._dialect.prefixes and shaped and shaped[-1]["role"] == "assistant":
            shaped[-1]["prefix"] = True
        return shaped

    def _check_order(self, before: list[Json], one: Json, path: str) -> None:
        after_tool = before and before[-1]["role"] == "tool" and one["role"] == "user"
        if after_tool and not self._dialect.user_after_tool:
            raise self._media.refusal(path, "takes no message of a user right after a tool's")

    def _message(self, message: Message, path: str) -> list[Json]:
        parts = [(part, f"{path}.parts[{n}]") for n, part in enumerate(message.parts)]
        self._say_what_is_lost(message, path)
        if message.role is Role.ASSISTANT:
            return [self._named(self._assistant(parts), message, path)]
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
        content = [self._marked(part, at, message.role) for part, at in parts]
        said = {"role": role, "content": _joined(content)}
        return [*results, self._named(said, message, path)]

    def _say_what_is_lost(self, message: Message, path: str) -> None:
        for part in message.parts:
            if part.cache_control and not self._takes_mark(part.content):
                self._dropped.content(
                    f"{path}.parts", "cache_control", "this provider decides itself what it caches"
                )
            if part.citations:
                self._dropped.content(
                    f"{path}.parts", "citations", "this provider does not take citations back"
                )

    def _takes_mark(self, content: Content) -> bool:
        return self._dialect.cache_marks and isinstance(content, Text | Media)

    def _marked(self, part: Part, path: str, role: Role) -> Json:
        """The part's block, with its mark for the cache."""
        block = self._block(part.content, path, role)
        if part.cache_control is not None and self._takes_mark(part.content):
            ttl = part.cache_control.ttl_seconds or 0
            block["cache_control"] = {"type": "ephemeral"}
            if ttl >= _AN_HOUR:
                block["cache_control"]["ttl"] = "1h"
        return block

    def _assistant(self, parts: list[tuple[Part, str]]) -> Json:
        shaped: Json = {"role": "assistant"}
        blocks: list[Json] = []
        for part, path in parts:
            self._assistant_part(part, path, shaped, blocks)
        if blocks:
            shaped["content"] = _joined(blocks)
        elif not shaped.keys() & _INSTEAD_OF_CONTENT:
            shaped["content"] = ""
        if "tool_calls" in shaped:
            if self._dialect.thoughts_with_calls:
                shaped.setdefault(self._dialect.thoughts.value, "")
            if self._dialect.content_with_calls:
                shaped.setdefault("content", "")
        return shaped

    def _assistant_part(self, part: Part, path: str, shaped: Json, blocks: list[Json]) -> None:
        state = states.read(part, self._dialect.kind)
        match part.content:
            case ToolCall(server_side=False) as call:
                shaped.setdefault("tool_calls", []).append(self._tool_call(call))
            case ToolCall():
                self._dropped.content(path, "a call the provider ran", "it cannot be repeated")
            case Thinking() as thinking:
                self._thinking(thinking, state, path, shaped, blocks)
            case Refusal(text) if self._dialect.refusals:
                shaped["refusal"] = shaped.get("refusal", "") + text
            case Refusal(text):
                blocks.append({"type": "text", "text": text})
            case content if state is None:
                if content == Text("") and part.provider_state is not None:
                    self._dropped.content(path, "what another provider did", "it is not ours")
                else:
                    blocks.append(self._marked(part, path, Role.ASSISTANT))
            case content:
                self._restore(state, content, path, shaped, blocks)

    def _thinking(
        self, thinking: Thinking, state: Json | None, path: str, shaped: Json, blocks: list[Json]
    ) -> None:
        if self._dialect.thoughts is Thoughts.DROPPED:
            self._dropped.content(path, "thinking", "this provider takes none back")
        elif state is None:
            self._dropped.content(path, "thinking", "it is not of this provider")
        else:
            thoughts.put(self._dialect.thoughts, thinking, state, shaped, blocks)

    def _restore(
        self, state: Json, content: Content, path: str, shaped: Json, blocks: list[Json]
    ) -> None:
        """What the kind could not say in the contract's terms, put where it was."""
        if "audio" in state:
            shaped["audio"] = state["audio"]
        elif "block" in state:
            blocks.append(state["block"])
        elif isinstance(content, Media) and content.modality is Modality.IMAGE:
            shaped.setdefault("images", []).append(self._media.block(content, path))
        elif isinstance(content, Text) and content.text:  # said by another API of the kind
            blocks.append({"type": "text", "text": content.text})
        else:
            self._dropped.content(path, "what the provider did", "it takes no record of it back")

    def _tool_call(self, call: ToolCall) -> Json:
        function = {"name": call.name, "arguments": call.arguments_json}
        return {
            "id": shaped_id(call.id, self._dialect.call_ids),
            "type": "function",
            "function": function,
        }

    def _tool_result(self, result: ToolResult, path: str) -> Json:
        if result.failed:
            self._dropped.content(
                path, "tool_result.failed", "this provider is told of failures in the text"
            )
        return {
            "role": "tool",
            "tool_call_id": shaped_id(result.tool_call_id, self._dialect.call_ids),
            "content": self._result_content(result, path),
        }

    def _result_content(self, result: ToolResult, path: str) -> str | list[Json]:
        contents = [part.content for part in result.content]
        texts = [content.text for content in contents if isinstance(content, Text)]
        if len(texts) == len(contents):
            return "\n".join(texts)
        if not self._dialect.tool_images:
            raise self._media.refusal(path, "takes only text in tool results")
        blocks = []
        for number, content in enumerate(contents):
            at = f"{path}.tool_result.content[{number}]"
            if isinstance(content, Media) and content.modality is not Modality.IMAGE:
                raise self._media.refusal(at, "takes only text and images in tool results")
            blocks.append(self._block(content, at, Role.USER))
        return blocks

    def _block(self, content: Content, path: str, role: Role) -> Json:
        if isinstance(content, Text):
            return {"type": "text", "text": content.text}
        if role is not Role.USER or not isinstance(content, Media):
            what = checks.name_of(content)
            raise self._media.refusal(path, f"takes no {what} in a message of role {role.value}")
        return self._media.block(content, path)

    def _named(self, shaped: Json, message: Message, path: str) -> Json:
        if message.participant and self._dialect.names:
            shaped["name"] = message.participant
        elif message.participant:
            self._dropped.content(f"{path}.participant", "the name", "this provider takes none")
        return shaped


def _is_empty(shaped: Json) -> bool:
    said = shaped.keys() - {"role", "name"}
    return shaped["role"] != "tool" and said == {"content"} and shaped["content"] == ""


def _joined(blocks: list[Json]) -> str | list[Json]:
    """One text as a plain string, which every server of the dialect takes; else the list."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        text: str = blocks[0]["text"]
        return text
    return blocks

"""A conversation in the words of the Messages API: a system prompt, and turns that alternate."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from llm_service.domain.content import (
    Content,
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
from llm_service.providers.lenient import items, mapping, text
from llm_service.providers.messages.caching import Marks
from llm_service.providers.messages.media import Json, MediaBlocks
from llm_service.providers.messages.tool_ids import ToolIds, shaped_name

_THINKING = frozenset({"thinking", "redacted_thinking"})
_WRITTEN = frozenset({"", "text", "tool_use", "tool_result", *_THINKING})


@dataclass(slots=True)
class _Turn:
    """`results` stand before everything else a user says."""

    role: str
    results: list[Json] = field(default_factory=list)
    blocks: list[Json] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Shaped:
    """A conversation as it is sent.

    `container` "": none to go on with. `bare_tool_turn`: results of tools are sent whose calls had
    no thinking before them, as another vendor's have none; a thinking budget forbids that.
    """

    system: list[Json]
    turns: list[Json]
    container: str
    bare_tool_turn: bool


class Conversation:
    """Shapes the messages of one call.

    Raises from `shape`:
        CapabilityNotSupported: a part the API has no place for; names its path and the model.
        InvalidField: a part that is not whole, or a call and a result that are no pair.
    """

    def __init__(self, kind: str, model: str, dropped: Dropped, marks: Marks) -> None:
        self._kind = kind
        self._model = model
        self._dropped = dropped
        self._marks = marks
        self._media = MediaBlocks(kind, model, dropped)
        self._ids = ToolIds()
        self._system: list[Json] = []
        self._turns: list[_Turn] = []
        self._container = ""

    def shape(self, messages: Sequence[Message]) -> Shaped:
        for number, message in enumerate(messages):
            self._message(message, f"messages[{number}]")
        self._trim_last()
        self._ids.end_of_turn()
        if not self._turns:
            raise InvalidField(Violation("messages", "hold nothing to answer"))
        turns = [{"role": turn.role, "content": turn.results + turn.blocks} for turn in self._turns]
        return Shaped(self._system, turns, self._container, self._is_bare())

    def _message(self, message: Message, path: str) -> None:
        if message.participant:
            self._dropped.content(
                f"{path}.participant", "participant", "this provider knows roles only"
            )
        for number, part in enumerate(message.parts):
            where = f"{path}.parts[{number}]"
            block = self._block(part, message.role, where)
            self._marks.put(part, block, where)

    def _block(self, part: Part, role: Role, path: str) -> Json | None:
        """The block a part becomes, put where it belongs; None: it becomes none."""
        if role is Role.SYSTEM:
            return self._instruction(part, path)
        if role is not Role.ASSISTANT:
            return self._told(part, role, path)
        block = self._said(part, path)
        if block is not None:
            self._turn("assistant").blocks.append(block)
        return block

    def _instruction(self, part: Part, path: str) -> Json | None:
        if not isinstance(part.content, Text):
            raise self._misplaced(part.content, path, Role.SYSTEM)
        block = self._text(part, path)
        if block is not None:
            self._system.append(block)
        return block

    def _turn(self, role: str) -> _Turn:
        if not self._turns or self._turns[-1].role != role:
            if role == "assistant":
                self._ids.end_of_turn()
            self._turns.append(_Turn(role))
        return self._turns[-1]

    # --- what users and tools say ---------------------------------------------------------------

    def _told(self, part: Part, role: Role, path: str) -> Json | None:
        if isinstance(part.content, ToolResult):
            block = self._result(part.content, path)
            self._turn("user").results.append(block)
            return block
        if role is Role.TOOL:
            raise InvalidField(Violation(path, "a tool message holds tool results only"))
        told = self._kept(part) or self._input(part, path, role)
        if told is not None:
            self._turn("user").blocks.append(told)
        return told

    def _input(self, part: Part, path: str, role: Role) -> Json | None:
        match part.content:
            case Text():
                return self._text(part, path)
            case Media() as media:
                return self._media.shape(media, path)
            case content:
                raise self._misplaced(content, path, role)

    def _result(self, result: ToolResult, path: str) -> Json:
        self._turn("user")
        block: Json = {
            "type": "tool_result",
            "tool_use_id": self._ids.result(result.tool_call_id, path),
        }
        content = []
        for number, part in enumerate(result.content):
            where = f"{path}.tool_result.content[{number}]"
            inner = self._kept(part) or self._input(part, where, Role.TOOL)
            self._marks.put(part, inner, where)
            if inner is not None:
                content.append(inner)
        if content:
            block["content"] = content
        if result.failed:
            block["is_error"] = True
        return block

    def _text(self, part: Part, path: str, *, answered: bool = False) -> Json | None:
        """A text block. The API refuses one of white space only, also as a part of several.

        `answered`: the model said it, and only then may it carry citations.
        """
        said = part.content.text if isinstance(part.content, Text | Refusal) else ""
        if not said.strip():
            if said:
                self._dropped.content(path, "text of white space only", "this provider refuses it")
            return None
        block: Json = {"type": "text", "text": said}
        known = items((states.read(part, self._kind) or {}).get("citations"))
        if known and answered:
            block["citations"] = known
        elif known or part.citations:
            self._dropped.content(
                f"{path}.citations",
                "citations",
                "this provider takes back only its own, in its answers",
            )
        return block

    def _kept(self, part: Part) -> Json | None:
        """A block of the vendor's own, to be sent back as it came."""
        if part.content != Text(""):
            return None
        block = mapping((states.read(part, self._kind) or {}).get("block"))
        # What we write ourselves is no block that was kept.
        return None if text(block.get("type")) in _WRITTEN else block

    # --- what the model said --------------------------------------------------------------------

    def _said(self, part: Part, path: str) -> Json | None:
        match part.content:
            case Text():
                if (kept := self._kept(part)) is not None:
                    return kept
                self._go_on_in(part, path)
                return self._text(part, path, answered=True)
            case ToolCall() as call:
                return self._call(call, part, path)
            case Thinking() as thought:
                return self._thought(thought, part, path)
            case Refusal():
                # Why it declined is the vendor's word to the caller, not the model's to itself.
                ours = states.read(part, self._kind) or {}
                return None if "stop_details" in ours else self._text(part, path)
            case content:
                raise self._misplaced(content, path, Role.ASSISTANT)

    def _call(self, call: ToolCall, part: Part, path: str) -> Json | None:
        fields = mapping((states.read(part, self._kind) or {}).get("call"))
        if call.server_side:
            if not text(fields.get("type")):
                self._dropped.content(path, "a call a provider ran", "it cannot be repeated")
                return None
            return {**fields, "input": _arguments(call.arguments_json)}
        self._turn("assistant")
        by = mapping(fields.get("caller")).get("type", "direct")
        return {
            **fields,
            "type": "tool_use",
            "id": self._ids.call(call.id, path, must=by == "direct"),
            "name": shaped_name(call.name),
            "input": _arguments(call.arguments_json),
        }

    def _thought(self, thought: Thinking, part: Part, path: str) -> Json | None:
        ours = states.read(part, self._kind) or {}
        if data := text(ours.get("data")):
            return {"type": "redacted_thinking", "data": data}
        if (signature := text(ours.get("signature"))) and not thought.redacted:
            return {"type": "thinking", "thinking": thought.text, "signature": signature}
        self._dropped.content(path, "thinking", "this provider takes only its own, signed, back")
        return None

    def _go_on_in(self, part: Part, path: str) -> None:
        """Remember the container the answer ran in, which the next answer wants to find."""
        said = mapping((states.read(part, self._kind) or {}).get("message"))
        container = mapping(said.get("container"))
        if not (name := text(container.get("id"))):
            return
        if _is_over(container.get("expires_at")):
            self._dropped.content(path, "the container", "it has expired")
            name = ""
        self._container = name

    # --- the whole ------------------------------------------------------------------------------

    def _trim_last(self) -> None:
        """An answer to be continued may not end in white space."""
        last = self._turns[-1] if self._turns else None
        if last and last.role == "assistant" and last.blocks[-1]["type"] == "text":
            last.blocks[-1]["text"] = last.blocks[-1]["text"].rstrip()

    def _is_bare(self) -> bool:
        if len(self._turns) < 2 or not self._turns[-1].results:  # noqa: PLR2004
            return False
        return self._turns[-2].blocks[0]["type"] not in _THINKING

    def _misplaced(self, content: Content, path: str, role: Role) -> CapabilityNotSupported:
        what = f"takes no {checks.name_of(content)} in a message of role {role.value}"
        return checks.not_supported(self._kind, self._model, path, what)


def _arguments(said: str) -> msgspec.Raw | Json:
    """A call's arguments, byte for byte; what is no object goes in one, as the vendor advises."""
    if not said.strip():
        return {}
    try:
        msgspec.json.decode(said, type=dict[str, Any])
    except (ValueError, RecursionError):
        return {"INVALID_JSON": said}
    return msgspec.Raw(said.encode())


def _is_over(moment: Any) -> bool:  # noqa: ANN401 - as it was once said
    try:
        at = datetime.fromisoformat(moment)
    except (ValueError, TypeError):
        return False
    return (at if at.tzinfo else at.replace(tzinfo=UTC)) <= datetime.now(UTC)

"""A conversation as the input items of the Responses API."""

from collections.abc import Sequence
from typing import Any

from llm_service.domain.content import Message, Part, Role, ToolResult
from llm_service.errors import InvalidField, Violation
from llm_service.providers.dropped import Dropped
from llm_service.providers.responses import results
from llm_service.providers.responses.content import Blocks
from llm_service.providers.responses.dialect import Dialect
from llm_service.providers.responses.history import History, shaped_id

Json = dict[str, Any]


class Messages:
    """Shapes the messages of one call.

    Raises from `shape`:
        CapabilityNotSupported: a part the vendor has no place for; names its path and the model.
        InvalidField: a part is not whole, or nothing is left to send.
    """

    def __init__(self, dialect: Dialect, model: str, dropped: Dropped, *, stored: bool) -> None:
        """`stored`: the vendor keeps answers, so that reasoning can come back by its id alone."""
        self._dropped = dropped
        self._blocks = Blocks(dialect, model, dropped)
        self._history = History(dialect, dropped, self._blocks, stored=stored)

    def shape(self, messages: Sequence[Message]) -> list[Json]:
        shaped: list[Json] = []
        for number, message in enumerate(messages):
            path = f"messages[{number}]"
            if message.participant:
                self._dropped.content(
                    f"{path}.participant", "participant", "this provider takes no speakers' names"
                )
            if message.role is Role.ASSISTANT:
                shaped += self._history.shape(message, path)
            else:
                shaped += self._given(message, path)
        if not shaped:
            raise InvalidField(Violation("messages", "hold nothing that this provider takes"))
        return shaped

    def _given(self, message: Message, path: str) -> list[Json]:
        """What was not said by the model, in its order."""
        shaped: list[Json] = []
        content: list[Json] = []
        for number, part in enumerate(message.parts):
            at = f"{path}.parts[{number}]"
            if isinstance(part.content, ToolResult):
                shaped += [*_message(message.role, content), *self._result(part, part.content, at)]
                content = []
            elif message.role is Role.TOOL:
                raise InvalidField(Violation(at, "a tool message holds tool results only"))
            else:
                content.append(self._block(part, at, message.role))
        return [*shaped, *_message(message.role, content)]

    def _block(self, part: Part, at: str, role: Role) -> Json:
        if part.citations:
            self._dropped.content(at, "citations", "this provider takes them of its answers only")
        where = f"a message of role {role.value}"
        return self._blocks.shape(part, at, where, only_text=role is Role.SYSTEM)

    def _result(self, part: Part, result: ToolResult, at: str) -> list[Json]:
        call = self._history.call(result.tool_call_id)
        if call is None:
            self._dropped.content(at, "a tool's result", "its call was left out")
            return []
        if result.failed and not results.tells_failure(call):
            self._dropped.content(
                at, "tool_result.failed", "this provider is told of failures in the text"
            )
        self._blocks.unmarked(part, at)
        blocks = [
            self._blocks.shape(inner, f"{at}.content[{number}]", "a tool result")
            for number, inner in enumerate(result.content)
        ]
        call_id = shaped_id(result.tool_call_id)
        return [results.answer(results.Given(call, call_id, result, _joined(blocks), at))]


def _message(role: Role, content: list[Json]) -> list[Json]:
    """The message, if it holds anything."""
    return [{"role": role.value, "content": _joined(content)}] if content else []


def _joined(blocks: list[Json]) -> str | list[Json]:
    """One text as a plain string, which every server of the dialect takes; else the list."""
    if not blocks:
        return ""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        text: str = blocks[0]["text"]
        return text
    return blocks

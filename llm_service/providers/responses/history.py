"""What the model said before, as it goes back to a vendor of the Responses API."""

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from llm_service.domain.content import Media, Message, Part, Refusal, Text, Thinking, ToolCall
from llm_service.providers import states
from llm_service.providers.dropped import Dropped
from llm_service.providers.lenient import items, mapping, text
from llm_service.providers.responses import calls
from llm_service.providers.responses.citations import annotation
from llm_service.providers.responses.content import Blocks
from llm_service.providers.responses.dialect import Dialect

Json = dict[str, Any]

_CALL_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class History:
    """Shapes the model's turns, and remembers the calls in them for the results to answer."""

    def __init__(self, dialect: Dialect, dropped: Dropped, blocks: Blocks, *, stored: bool) -> None:
        """`stored`: the vendor keeps answers, so that reasoning can come back by its id alone."""
        self._kind = dialect.kind
        self._dropped = dropped
        self._blocks = blocks
        self._stored = stored
        self._calls: dict[str, Json] = {}
        self._left_out: set[str] = set()

    def call(self, call_id: str) -> Mapping[str, Any] | None:
        """The item that called by this id of the caller's; {}: not known; None: it was left out."""
        if call_id in self._left_out:
            return None
        return self._calls.get(call_id, {})

    def shape(self, message: Message, path: str) -> list[Json]:
        """The items of one turn, in their order."""
        shaped: list[Json] = []
        for number, part in enumerate(message.parts):
            at = f"{path}.parts[{number}]"
            self._blocks.unmarked(part, at)
            state = states.read(part, self._kind) or {}
            match part.content:
                case Text(said):
                    self._said(part, {"type": "output_text", "text": said}, state, at, shaped)
                case Refusal(said):
                    self._said(part, {"type": "refusal", "refusal": said}, state, at, shaped)
                case Thinking():
                    shaped += self._thought(state, at)
                case ToolCall() as call:
                    shaped += self._called(call, state, at)
                case Media() as media if _item(state) and media.data is not None:
                    result = base64.b64encode(media.data).decode()
                    shaped.append({**_item(state), "result": result})
                case _:
                    shaped.append(
                        self._blocks.shape(part, at, "a message of role assistant", only_text=True)
                    )
        return [_named(item, f"{path}/{number}") for number, item in enumerate(shaped)]

    def _said(self, part: Part, block: Json, state: Json, at: str, shaped: list[Json]) -> None:
        """Text joins the message it was in; what the provider had kept goes back as it was."""
        if item := _item(state):
            shaped.append(item)
            return
        about, content = mapping(state.get("message")), mapping(state.get("content"))
        known = text(about.get("id")) != "" and bool(content)
        if known and text(content.get("type")) not in ("output_text", "refusal", "text"):
            block = content
        elif known:
            block = {**content, **block}
        elif not (part.content.text if isinstance(part.content, Text | Refusal) else ""):
            if part.provider_state is not None:
                self._dropped.content(at, "what was kept for a provider", "it is not this one's")
            return
        if block["type"] == "output_text":
            block.setdefault("annotations", self._annotations(part, at))
        _join({"type": "message", "role": "assistant", **(about if known else {})}, block, shaped)

    def _annotations(self, part: Part, at: str) -> list[Json]:
        pages = [annotation(citation) for citation in part.citations if citation.uri]
        if len(pages) < len(part.citations):
            self._dropped.content(at, "citations", "this provider takes citations of pages only")
        return pages

    def _thought(self, state: Json, at: str) -> list[Json]:
        item = _item(state)
        if not item and "rest_of" in state:
            return []  # the item came back with its first part
        if item.get("type") != "reasoning":
            self._dropped.content(at, "thinking", "it is not this provider's own")
            return []
        if item.get("encrypted_content") or items(item.get("content")) or self._stored:
            return [item]
        self._dropped.content(at, "thinking", "this provider did not give what it needs back")
        return []

    def _called(self, call: ToolCall, state: Json, at: str) -> list[Json]:
        item = _item(state)
        if call.server_side:
            if not calls.is_call(item):
                self._dropped.content(at, "a call another provider ran", "it cannot be repeated")
                self._left_out.add(call.id)
                return []
        elif not calls.runs_at_caller(item):
            item = {"type": "function_call"}
        if not call.server_side:
            arguments = call.arguments_json
            if item["type"] == "function_call":
                arguments = arguments or "{}"
            item = calls.restored(item, shaped_id(call.id), call.name, arguments)
        self._calls[call.id] = item
        return [item]


def _named(item: Json, place: str) -> Json:
    """The item; a message of no answer of the vendor's gets what one must have.

    Only a plain text may go without an id, and no two items may have the same.
    """
    if item.get("type") != "message" or "id" in item:
        return item
    content = item["content"]
    if len(content) == 1 and content[0]["type"] == "output_text" and not content[0]["annotations"]:
        return {"role": "assistant", "content": content[0]["text"]}
    digest = hashlib.sha256(f"{place}/{content}".encode()).hexdigest()
    return {**item, "id": f"msg_{digest[:32]}", "status": "completed"}


def shaped_id(call_id: str) -> str:
    """An id the vendor takes; of the same id always the same."""
    if _CALL_ID.fullmatch(call_id):
        return call_id
    return f"call_{hashlib.sha256(call_id.encode()).hexdigest()[:32]}"


def _item(state: Json) -> Json:
    """The whole item that was kept; {}: none, or none that could be one."""
    item = mapping(state.get("item"))
    return item if text(item.get("type")) else {}


def _join(message: Json, block: Json, shaped: list[Json]) -> None:
    """Add a block to the message before it, if it is of the same, or begin it."""
    last = shaped[-1] if shaped else {}
    if message == {key: value for key, value in last.items() if key != "content"}:
        last["content"].append(block)
    else:
        shaped.append({**message, "content": [block]})

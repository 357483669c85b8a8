"""Echo: a model that answers with what it was told. It needs no network, no key and no money."""

import asyncio
import math
import random
import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from llm_service import catalog
from llm_service.domain.completion import (
    DeltaKind,
    FinishReason,
    PartDelta,
    PartFinished,
    PartStarted,
    TokenUsage,
    Warning,
)
from llm_service.domain.content import (
    Content,
    FunctionTool,
    Message,
    Part,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from llm_service.domain.provider import Model, ProviderKind
from llm_service.errors import CapabilityNotSupported, InvalidField, Violation
from llm_service.providers.base import (
    Accepted,
    Account,
    Adapter,
    AdapterEvent,
    Answer,
    BrokenOff,
    Call,
    Embeddings,
    EmbeddingsCall,
    Ended,
    Inquiry,
    TokenCount,
)
from llm_service.providers.dropped import Dropped
from llm_service.providers.egress import Egress

KIND = ProviderKind(
    kind="echo",
    display_name="Echo",
    default_base_uri="",
    settings_schema_json=(
        '{"type":"object","properties":{'
        '"tokens_per_second":{"type":"string","description":'
        '"How fast a streamed answer comes, as a decimal number. 0, the default: at once."},'
        '"prefix":{"type":"string","description":"Words every answer starts with."}'
        '},"additionalProperties":false}'
    ),
    credential_source_types=(),
    discovers_models=True,
    telemetry_name="echo",
)

_NOT_TAKEN = (
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "reasoning",
    "top_logprobs",
)
_DIMENSIONS = 8
_MOST_DIMENSIONS = 4096
_WORD = re.compile(r"\S+\s*|\s+")
_CALL = re.compile(r"call\s+(\S+)\s*(.*)", re.S)


def connect(account: Account, egress: Egress) -> Adapter:  # noqa: ARG001 - it never dials
    """Open an echo.

    Raises:
        InvalidField: a setting is unknown or no number.
    """
    for name in account.settings:
        if name not in ("tokens_per_second", "prefix"):
            raise _wrong_setting(name, "is not a setting of echo")
    return Echo(account.settings.get("prefix", ""), _rate(account))


def _rate(account: Account) -> float:
    said = account.settings.get("tokens_per_second", "0")
    try:
        rate = float(said)
    except ValueError:
        rate = -1.0
    if not 0 <= rate < math.inf:
        raise _wrong_setting("tokens_per_second", "must be a number of at least 0")
    return rate


def _wrong_setting(name: str, why: str) -> InvalidField:
    return InvalidField(Violation(f"provider.settings.{name}", why))


@dataclass(frozen=True, slots=True)
class _Reply:
    """What echo answers: words with the white space after them, or a tool call."""

    content: tuple[str, ...] | ToolCall
    finish_reason: FinishReason
    usage: TokenUsage


class Echo:
    """Answers with the text of the last user message; a word is a token.

    "call <tool> <json>" calls that tool, if the request offers it; a tool's result is echoed.
    """

    def __init__(self, prefix: str, tokens_per_second: float) -> None:
        self._prefix = prefix
        self._pause = 1 / tokens_per_second if tokens_per_second else 0.0

    async def complete(self, call: Call) -> Answer:
        reply = self._reply(call)
        if isinstance(reply.content, ToolCall):
            parts: tuple[Part, ...] = (Part(reply.content),)
        else:
            parts = (Part(Text("".join(reply.content))),) if reply.content else ()
        return Answer(
            parts,
            reply.finish_reason,
            reply.finish_reason.value,
            reply.usage,
            call.provider_model,
            warnings=_left_out(call),
        )

    async def stream(self, call: Call) -> AsyncGenerator[Sequence[AdapterEvent]]:
        reply = self._reply(call)
        yield [Accepted(call.provider_model, warnings=_left_out(call))]
        if isinstance(reply.content, ToolCall):
            yield _call_events(reply.content)
        elif reply.content:
            yield [PartStarted(0, Part(Text("")))]
            for word in reply.content:
                await asyncio.sleep(self._pause)
                yield [PartDelta(0, DeltaKind.TEXT, word)]
            yield [PartFinished(0)]
        yield [
            Ended(reply.finish_reason, reply.finish_reason.value, reply.usage, call.provider_model)
        ]

    async def count_tokens(self, call: Call) -> TokenCount:
        return TokenCount(_input_tokens(call), estimated=False)

    def inquiry(self, call: Call, answer: BrokenOff) -> Inquiry | None:  # noqa: ARG002
        return None

    async def embed(self, call: EmbeddingsCall) -> Embeddings:
        """Directions drawn from the text: the same for the same text, and near no other."""
        dimensions = call.dimensions or _DIMENSIONS
        if dimensions > _MOST_DIMENSIONS:
            raise _cannot_embed(call, "dimensions", f"at most {_MOST_DIMENSIONS} numbers")
        vectors = []
        for number, one in enumerate(call.inputs):
            if not isinstance(one, Text):
                raise _cannot_embed(call, f"inputs[{number}].image", "text only")
            vectors.append(_direction(one.text, dimensions))
            await asyncio.sleep(0)
        words = sum(_words(one.text) for one in call.inputs if isinstance(one, Text))
        return Embeddings(tuple(vectors), TokenUsage(words), call.provider_model, _unused(call))

    async def models(self, deadline: float) -> tuple[Model, ...]:  # noqa: ARG002 - it is at hand
        return catalog.built_in(KIND.kind)

    async def aclose(self) -> None:
        """Nothing is open."""

    def _reply(self, call: Call) -> _Reply:
        text = _last_said(call.request.messages)
        content: tuple[str, ...] | ToolCall
        if (asked := _asked_call(text, call)) is not None:
            content, reason = asked, FinishReason.TOOL_CALLS
            output_tokens = _words(asked.arguments_json) + 1
        else:
            content, reason = _cut(self._prefix + text, call)
            output_tokens = sum(not word.isspace() for word in content)
        return _Reply(content, reason, TokenUsage(_input_tokens(call), output_tokens))


def _cannot_embed(call: EmbeddingsCall, field: str, what: str) -> CapabilityNotSupported:
    return CapabilityNotSupported(
        f"{field}: echo embeds {what} (model {call.provider_model})",
        metadata={"field": field, "model": call.provider_model},
    )


def _direction(text: str, dimensions: int) -> list[float]:
    """A vector of length 1."""
    drawn = random.Random(text)  # noqa: S311 - the same for everyone is what it is for
    numbers = [drawn.gauss(0.0, 1.0) for _ in range(dimensions)]
    length = math.hypot(*numbers)
    return [number / length for number in numbers]


def _unused(call: EmbeddingsCall) -> tuple[Warning, ...]:
    if not call.task:
        return ()
    return (Warning("PARAMETER_DROPPED", "task", "task was left out: echo does not take it"),)


def _left_out(call: Call) -> tuple[Warning, ...]:
    """A warning for each parameter that changes nothing here."""
    dropped = Dropped(call.request.strict_params, call.provider_model)
    for name in _NOT_TAKEN:
        if getattr(call.params, name) is not None:
            dropped.parameter(name, "echo does not take it")
    return dropped.warnings()


def _call_events(call: ToolCall) -> list[AdapterEvent]:
    events: list[AdapterEvent] = [PartStarted(0, Part(ToolCall(call.id, call.name)))]
    if call.arguments_json:
        events.append(PartDelta(0, DeltaKind.ARGUMENTS_JSON, call.arguments_json))
    return [*events, PartFinished(0)]


def _last_said(messages: Sequence[Message]) -> str:
    for message in reversed(messages):
        if message.role in (Role.USER, Role.TOOL):
            return "".join(_text(part.content) for part in message.parts)
    return ""


def _text(content: Content) -> str:
    match content:
        case Text(text) | Thinking(text) | Refusal(text):
            return text
        case ToolResult(content=parts):
            return "".join(_text(part.content) for part in parts)
        case ToolCall(arguments_json=arguments):
            return arguments
        case _:
            return ""


def _asked_call(text: str, call: Call) -> ToolCall | None:
    asked = _CALL.fullmatch(text)
    if asked is None or call.request.messages[-1].role is not Role.USER:
        return None
    name, arguments = asked.groups()
    tools = {tool.name for tool in call.request.tools if isinstance(tool, FunctionTool)}
    if name not in tools:
        return None
    return ToolCall(f"call_{len(call.request.messages)}", name, arguments)


def _cut(text: str, call: Call) -> tuple[tuple[str, ...], FinishReason]:
    """The answer's words up to the first stop sequence, and no more than were asked for."""
    reason = FinishReason.STOP
    ends = [text.find(stop) for stop in call.params.stop_sequences if stop and stop in text]
    if ends:
        text, reason = text[: min(ends)], FinishReason.STOP_SEQUENCE
    words = tuple(_WORD.findall(text))
    most = call.params.max_output_tokens
    # Leading white space is a piece of its own and no token.
    first = 1 if words and words[0].isspace() else 0
    if most is not None and len(words) - first > most:
        return words[: first + most], FinishReason.MAX_OUTPUT_TOKENS
    return words, reason


def _input_tokens(call: Call) -> int:
    return sum(
        _words(_text(part.content)) for message in call.request.messages for part in message.parts
    )


def _words(text: str) -> int:
    return len(text.split())

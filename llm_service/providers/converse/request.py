"""The body of a Converse call."""

from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from llm_service.domain.completion import Warning
from llm_service.domain.content import ToolMode
from llm_service.providers import checks
from llm_service.providers.base import Call
from llm_service.providers.converse.families import Family, Thinks, family
from llm_service.providers.converse.messages import Messages
from llm_service.providers.converse.params import inference
from llm_service.providers.converse.parts import Names
from llm_service.providers.converse.reasoning import Thinking
from llm_service.providers.converse.tools import ToolShaper
from llm_service.providers.dropped import Dropped
from llm_service.providers.tokenizers import LETTER

Json = dict[str, Any]

# What the options may not say: it is decided by the rest of the request.
_OURS = frozenset({"modelId", "messages", "system", "toolConfig", "stream"})
# What they add to rather than replace.
_MERGED = ("additionalModelRequestFields", "inferenceConfig", "outputConfig")
# What the counter of tokens takes.
_COUNTED = ("messages", "system", "toolConfig", "additionalModelRequestFields")


@dataclass(frozen=True, slots=True)
class Shaped:
    """A call in Converse's words. `names` are what the names of tools in its answer mean."""

    body: Json = field(repr=False)
    names: Names
    family: Family
    warnings: tuple[Warning, ...]

    def encoded(self) -> bytes:
        return msgspec.json.encode(self.body)

    def to_count(self) -> bytes:
        """The body that asks how many tokens the call has."""
        return _to_count({name: self.body[name] for name in _COUNTED if name in self.body})

    def caches(self) -> bool:
        """Some of the call is to be read from a cache, or kept in one."""
        return b'"cachePoint"' in self.to_count()


def text_to_count(text: str) -> bytes:
    """The body that asks how many tokens an assistant's text has, in a frame of its own."""
    turns = (("user", LETTER), ("assistant", text), ("user", LETTER))
    return _to_count(
        {"messages": [{"role": role, "content": [{"text": said}]} for role, said in turns]}
    )


def _to_count(converse: Json) -> bytes:
    return msgspec.json.encode({"input": {"converse": converse}})


def shape(call: Call, kind: str) -> Shaped:
    """The call in Converse's words, and what was left out of it.

    Raises:
        CapabilityNotSupported: the request holds what Converse or the model has no place for.
        InvalidField: a schema or the options are not JSON, or a name refers to nothing.
    """
    model = call.provider_model
    facts = _facts(call)
    dropped = Dropped(call.request.strict_params, model)
    messages = Messages(kind, model, facts, dropped)
    messages.shape(call.request.messages)
    params = call.params
    thinking = _thinking(call, facts, dropped)
    shaper = ToolShaper(kind, call, facts, dropped)
    tools = shaper.shape(messages.used, thinks=thinking.is_on)
    config, fields = inference(params, call.capabilities, facts, thinking, dropped)
    said: Json = {
        "messages": messages.turns,
        "system": messages.system,
        "inferenceConfig": config,
        "toolConfig": tools.config,
        "additionalModelRequestFields": thinking.fields | fields | tools.fields,
        "outputConfig": tools.output | ({"effort": thinking.effort} if thinking.effort else {}),
    }
    body = {name: value for name, value in said.items() if value}
    _add_options(body, call.options_json)
    return Shaped(body, tools.names, facts, dropped.warnings())


def _thinking(call: Call, facts: Family, dropped: Dropped) -> Thinking:
    asked, most = call.params.reasoning, call.params.max_output_tokens
    thinking = Thinking(asked, facts, most, dropped)
    choice = call.request.tool_choice
    forced = choice is not None and choice.mode is ToolMode.REQUIRED
    if not (forced and thinking.is_on and facts.is_claude):
        return thinking
    for name in ("effort", "budget_tokens", "include_thoughts"):
        if getattr(asked, name) is not None:
            dropped.parameter(f"reasoning.{name}", "this model cannot think and be made to call")
    return Thinking(None, facts, most, dropped)


def _facts(call: Call) -> Family:
    """What is known of the model by its id, and what the catalogue knows better."""
    facts = family(call.provider_model)
    can = call.capabilities
    if can.prompt_caching is not None:
        facts = replace(facts, caches=can.prompt_caching)
    if can.thinking is False:
        facts = replace(facts, thinks=Thinks.NOT)
    return facts


def _add_options(body: Json, text: str) -> None:
    for name, raw in checks.options(text, _OURS).items():
        ours = body.get(name)
        if name not in _MERGED or not ours:
            body[name] = raw
            continue
        try:
            theirs = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        except (ValueError, RecursionError) as error:
            raise checks.bad_options(f"{name} must be a JSON object") from error
        body[name] = ours | theirs

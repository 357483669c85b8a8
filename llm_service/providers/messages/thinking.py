"""How much a model may think, in the words of the Messages API."""

import re
from dataclasses import dataclass, field
from typing import Any

from llm_service import catalog
from llm_service.domain.completion import Effort, Reasoning
from llm_service.providers.base import Call
from llm_service.providers.dropped import Dropped
from llm_service.providers.messages.profile import Profile

Json = dict[str, Any]

LEAST_BUDGET = 1024  # tokens; the API's
# Tokens for an effort, of models that know budgets only.
_BUDGETS = {
    "minimal": LEAST_BUDGET,
    "low": 2048,
    "medium": 8192,
    "high": 16384,
    "xhigh": 24576,
    "max": 32768,
}
_NEVER_OFF = re.compile(r"claude-(fable|mythos)")
_OFF_UNLESS_ASKED = re.compile(r"claude-[a-z]+-4[-.]\d")  # and some refuse to be asked


@dataclass(frozen=True, slots=True)
class Thinking:
    """The body's `thinking` ({}: none) and `output_config.effort` ("": none)."""

    config: Json = field(default_factory=dict)
    effort: str = ""

    @property
    def on(self) -> bool:
        return self.config.get("type") in ("enabled", "adaptive")


def thinking(
    call: Call,
    profile: Profile,
    dropped: Dropped,
    most: int,
    *,
    forced: bool,
    bare_tool_turn: bool,
) -> Thinking:
    """What the call's `reasoning` comes to. `most`: tokens of the answer, thinking included."""
    asked = call.params.reasoning
    if asked is None or asked == Reasoning():
        return Thinking()
    by_budget = _mode(call, profile) == "budget"
    if why := _obstacle(call, asked, forced=forced, bare=bare_tool_turn and by_budget):
        for name in ("effort", "budget_tokens", "include_thoughts"):
            if getattr(asked, name) is not None:
                dropped.parameter(f"reasoning.{name}", why)
        return Thinking()
    if by_budget:
        return _budgeted(asked, dropped, most)
    return _adaptive(asked, dropped, call.provider_model)


def _mode(call: Call, profile: Profile) -> str:
    """Models nobody knows are newer than what we know: they decide for themselves."""
    facts = catalog.wire_facts(profile.kind, call.provider_model)
    known = "budget" if call.capabilities.sampling else "adaptive"
    return facts.get("reasoning", known)


def _obstacle(call: Call, asked: Reasoning, *, forced: bool, bare: bool) -> str:
    if _is_off(asked):
        return ""
    if call.capabilities.thinking is False:
        return "this model does not think"
    if forced:
        return "this provider's models do not think when they must call a tool"
    if bare:
        return "the calls whose results are sent were not thought about by this provider's model"
    return ""


def _adaptive(asked: Reasoning, dropped: Dropped, model: str) -> Thinking:
    if asked.budget_tokens:
        dropped.parameter("reasoning.budget_tokens", "this model takes an effort only")
    if _is_off(asked):
        if _NEVER_OFF.search(model):
            named = "budget_tokens" if asked.effort is None else "effort"
            dropped.parameter(f"reasoning.{named}", "this model always thinks")
            return Thinking()
        off: Json = {} if _OFF_UNLESS_ASKED.search(model) else {"type": "disabled"}
        return Thinking(off)
    config = {"type": "adaptive"} | _display(asked)
    if asked.effort is None:
        return Thinking(config)
    effort = asked.effort.value
    return Thinking(config, "low" if effort == "minimal" else effort)


def _is_off(asked: Reasoning) -> bool:
    """Not to think; a budget of nothing says so too."""
    return asked.effort is Effort.NONE or (asked.effort is None and asked.budget_tokens == 0)


def _display(asked: Reasoning) -> Json:
    if asked.include_thoughts is None:
        return {}
    return {"display": "summarized" if asked.include_thoughts else "omitted"}


def _budgeted(asked: Reasoning, dropped: Dropped, most: int) -> Thinking:
    budget = _budget(asked, most)
    if budget == 0:
        if asked.include_thoughts:
            dropped.parameter("reasoning.include_thoughts", "the model is not asked to think")
        return Thinking()
    if most <= LEAST_BUDGET:
        named = "effort" if asked.budget_tokens is None else "budget_tokens"
        dropped.parameter(f"reasoning.{named}", "max_output_tokens leaves no room to think")
        return Thinking()
    sent = min(max(budget, LEAST_BUDGET), most - 1)
    if asked.budget_tokens not in (None, sent):
        dropped.parameter("reasoning.budget_tokens", f"{sent} was sent, the nearest it can be")
    config: Json = {"type": "enabled", "budget_tokens": sent}
    # Those that think by budget show it unless told not to.
    return Thinking(config | (_display(asked) if asked.include_thoughts is False else {}))


def _budget(asked: Reasoning, most: int) -> int:
    """Tokens; 0: not to think. An effort leaves half of the answer to be said."""
    if asked.budget_tokens is not None:
        return asked.budget_tokens
    if asked.effort in (None, Effort.NONE):
        return 0
    return min(_BUDGETS[asked.effort.value], most // 2)

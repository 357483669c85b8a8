"""How hard to think, in each vendor's words.

Each function gives the body's fields for a call's `Reasoning`, and says what it had to leave out.
An effort a vendor has no word for becomes the nearest it has.
"""

from typing import Any

from llm_service.domain.completion import Effort, Reasoning
from llm_service.providers.base import Call
from llm_service.providers.dropped import Dropped

Json = dict[str, Any]

_NO_BUDGET = "this provider takes an effort only"
_NO_CHOICE = "this provider decides what it shows"
_THREE_STEPS = {
    Effort.MINIMAL: "low",
    Effort.LOW: "low",
    Effort.MEDIUM: "medium",
    Effort.HIGH: "high",
    Effort.MAX: "high",
}
_DEEPSEEK = {
    Effort.MINIMAL: "low",
    Effort.LOW: "low",
    Effort.MEDIUM: "high",
    Effort.HIGH: "high",
    Effort.MAX: "max",
}
# The models of xAI that list "xhigh" among their efforts.
_XAI_EXTRA_HIGH = ("grok-4.3", "grok-4.7")


def by_effort(call: Call, dropped: Dropped) -> Json:
    """`reasoning_effort` in the contract's own words, which are OpenAI's."""
    reasoning = _of(call)
    _drop_budget(reasoning, dropped)
    _drop_thoughts(reasoning, dropped)
    return {} if reasoning.effort is None else {"reasoning_effort": reasoning.effort.value}


def deepseek(call: Call, dropped: Dropped) -> Json:
    """`thinking` switches, `reasoning_effort` has three steps."""
    reasoning = _of(call)
    _drop_budget(reasoning, dropped)
    _drop_thoughts(reasoning, dropped)
    if reasoning.effort is None:
        return {}
    if reasoning.effort is Effort.NONE:
        return {"thinking": {"type": "disabled"}}
    return {"thinking": {"type": "enabled"}, "reasoning_effort": _DEEPSEEK[reasoning.effort]}


def xai(call: Call, dropped: Dropped) -> Json:
    reasoning = _of(call)
    _drop_budget(reasoning, dropped)
    _drop_thoughts(reasoning, dropped)
    if reasoning.effort is None:
        return {}
    return {"reasoning_effort": xai_effort(reasoning.effort, call.provider_model)}


def xai_effort(effort: Effort, model: str) -> str:
    """The word by which a model of xAI's knows the effort, whichever the API."""
    if effort is Effort.MAX and model.startswith(_XAI_EXTRA_HIGH):
        return "xhigh"
    return _THREE_STEPS.get(effort, "none")


def groq(call: Call, dropped: Dropped) -> Json:
    """Qwen's models are switched; the others have three steps and always think.

    Where the model thinks, its thoughts are asked for apart: left to itself it puts some models'
    into the text.
    """
    reasoning = _of(call)
    _drop_budget(reasoning, dropped)
    shaped: Json = {}
    if reasoning.effort is not None:
        if "qwen" in call.provider_model.lower():
            off = reasoning.effort is Effort.NONE
            shaped["reasoning_effort"] = "none" if off else "default"
        else:
            shaped["reasoning_effort"] = _THREE_STEPS.get(reasoning.effort, "low")
    thinks = shaped or call.capabilities.thinking
    if reasoning.include_thoughts is not None:
        shaped["include_reasoning"] = reasoning.include_thoughts
    elif thinks:
        shaped["include_reasoning"] = True
    return shaped


def mistral(call: Call, dropped: Dropped) -> Json:
    """Large models have three steps, the rest are switched, Magistral always thinks."""
    reasoning = _of(call)
    _drop_budget(reasoning, dropped)
    _drop_thoughts(reasoning, dropped)
    effort, model = reasoning.effort, call.provider_model.lower()
    if effort is None:
        return {}
    if "magistral" in model:
        dropped.parameter("reasoning.effort", "this model always thinks")
        return {}
    if effort is Effort.NONE:
        return {"reasoning_effort": "none"}
    if "large" in model:
        return {"reasoning_effort": _THREE_STEPS[effort]}
    return {"reasoning_effort": "high"}


def fireworks(call: Call, dropped: Dropped) -> Json:
    """A step, or in its place the most tokens to think with."""
    reasoning = _of(call)
    _drop_thoughts(reasoning, dropped)
    if reasoning.effort is None:
        budget = reasoning.budget_tokens
        return {} if budget is None else {"reasoning_effort": budget}
    if reasoning.budget_tokens is not None:
        dropped.parameter("reasoning.budget_tokens", "this provider takes it instead of an effort")
    return {"reasoning_effort": _THREE_STEPS.get(reasoning.effort, "none")}


def together(call: Call, dropped: Dropped) -> Json:
    """Models are switched or have steps (docs.together.ai/docs/inference/chat/reasoning)."""
    reasoning = _of(call)
    _drop_budget(reasoning, dropped)
    _drop_thoughts(reasoning, dropped)
    if reasoning.effort is None:
        return {}
    if reasoning.effort is Effort.NONE:
        return {"reasoning": {"enabled": False}}
    return {
        "reasoning": {"enabled": True},
        "reasoning_effort": _THREE_STEPS[reasoning.effort],
    }


def openrouter(call: Call, dropped: Dropped) -> Json:
    """A `reasoning` object, which takes an effort or a budget."""
    reasoning = _of(call)
    shaped: Json = {}
    if reasoning.budget_tokens is not None:
        shaped["max_tokens"] = reasoning.budget_tokens
        if reasoning.effort is not None:
            dropped.parameter("reasoning.effort", "this provider takes it instead of a budget")
    elif reasoning.effort is not None:
        shaped["effort"] = reasoning.effort.value
    if reasoning.include_thoughts is not None:
        shaped["exclude"] = not reasoning.include_thoughts
        if not shaped.keys() - {"exclude"} and reasoning.include_thoughts:
            shaped["enabled"] = True
    return {"reasoning": shaped} if shaped else {}


def drop_all(call: Call, dropped: Dropped) -> None:
    """For a model that does not think; not to think it need not be told."""
    reasoning = _of(call)
    why = "this model does not take it"
    if reasoning.effort not in (None, Effort.NONE):
        dropped.parameter("reasoning.effort", why)
    if reasoning.budget_tokens is not None:
        dropped.parameter("reasoning.budget_tokens", why)
    if reasoning.include_thoughts:
        dropped.parameter("reasoning.include_thoughts", why)


def stop(call: Call, dropped: Dropped) -> Json:
    """Keep a DeepSeek model from thinking, for while it does it cannot be forced to call a tool."""
    if _of(call).effort not in (None, Effort.NONE):
        dropped.parameter("reasoning.effort", "this provider does not think when a tool is forced")
    return {"thinking": {"type": "disabled"}}


def _of(call: Call) -> Reasoning:
    return call.params.reasoning or Reasoning()


def _drop_budget(reasoning: Reasoning, dropped: Dropped) -> None:
    if reasoning.budget_tokens is not None:
        dropped.parameter("reasoning.budget_tokens", _NO_BUDGET)


def _drop_thoughts(reasoning: Reasoning, dropped: Dropped) -> None:
    if reasoning.include_thoughts is not None:
        dropped.parameter("reasoning.include_thoughts", _NO_CHOICE)

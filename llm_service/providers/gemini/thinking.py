"""How hard a Gemini model is to think: a budget of tokens for some, a level for others."""

import re
from typing import Any

from llm_service.domain.completion import Effort, Reasoning
from llm_service.domain.provider import ModelCapabilities
from llm_service.providers.dropped import Dropped
from llm_service.providers.gemini.door import thinking_style

# Google's own mapping of an effort, in its guide to OpenAI's API.
_BUDGETS = {Effort.MINIMAL: 1024, Effort.LOW: 1024, Effort.MEDIUM: 8192, Effort.HIGH: 24576}
_LEVELS = {
    Effort.NONE: "MINIMAL",
    Effort.MINIMAL: "MINIMAL",
    Effort.LOW: "LOW",
    Effort.MEDIUM: "MEDIUM",
    Effort.HIGH: "HIGH",
    Effort.MAX: "HIGH",
}
_THOUGHTLESS = re.compile(r"gemini-(1|2\.0)(?!\d)|gemma-?[1-3](?!\d)|learnlm")
_PRO_MIN, _PRO_MAX, _FLASH_MAX, _LITE_MIN = 128, 32768, 24576, 512
# A level is between these two for every model; the others depend on its name.
_ONLY_LOW_AND_HIGH = re.compile(r"gemini-3-pro")
_TAKES_MINIMAL = re.compile(
    r"gemini-3(\.[0-6])?-flash|gemini-[3-9](\.\d)?-flash-lite|flash-lite-latest"
)


def thinking_config(
    reasoning: Reasoning | None, model: str, can: ModelCapabilities, dropped: Dropped
) -> dict[str, Any]:
    """`generationConfig.thinkingConfig`; {} to leave it to the model.

    Raises:
        CapabilityNotSupported: the caller is strict, and the model does not take what is asked.
    """
    if reasoning is None:
        return {}
    if can.thinking is False or _THOUGHTLESS.search(model):
        _drop_all(reasoning, dropped)
        return {}
    if thinking_style(model) == "budget":
        said = _budget(reasoning, model, dropped)
    else:
        said = _level(reasoning, model, dropped)
    if reasoning.include_thoughts is not None:
        said["includeThoughts"] = reasoning.include_thoughts
    return said


def _drop_all(reasoning: Reasoning, dropped: Dropped) -> None:
    asked = {
        "effort": reasoning.effort not in (None, Effort.NONE),
        "budget_tokens": bool(reasoning.budget_tokens),
        "include_thoughts": reasoning.include_thoughts is True,
    }
    for name, is_asked in asked.items():
        if is_asked:
            dropped.parameter(f"reasoning.{name}", "this model does not think")


def _budget(reasoning: Reasoning, model: str, dropped: Dropped) -> dict[str, Any]:
    effort = reasoning.effort
    if reasoning.budget_tokens is not None:
        if effort is not None:
            dropped.parameter("reasoning.effort", "the budget says it already")
        return {"thinkingBudget": _within(reasoning.budget_tokens, model, dropped)}
    if effort is None:
        return {}
    is_pro = "-pro" in model
    if effort is Effort.NONE:
        if is_pro:
            dropped.parameter(
                "reasoning.effort", "this model always thinks; now as little as it can"
            )
        return {"thinkingBudget": _PRO_MIN if is_pro else 0}
    if effort is Effort.MAX:
        return {"thinkingBudget": _PRO_MAX if is_pro else _FLASH_MAX}
    return {"thinkingBudget": _BUDGETS[effort]}


def _within(asked: int, model: str, dropped: Dropped) -> int:
    """The nearest budget that the model takes."""
    if asked == 0 and "-pro" not in model:
        return 0
    if "-pro" in model:
        least, most = _PRO_MIN, _PRO_MAX
    else:
        least, most = _LITE_MIN if "-lite" in model else 1, _FLASH_MAX
    sent = min(max(asked, least), most)
    if sent != asked:
        dropped.parameter("reasoning.budget_tokens", f"{sent} was sent, the nearest it can be")
    return sent


def _level(reasoning: Reasoning, model: str, dropped: Dropped) -> dict[str, Any]:
    effort = reasoning.effort
    if effort is None:
        budget = reasoning.budget_tokens  # taken still, but not together with a level
        return {} if budget is None else {"thinkingBudget": budget}
    if reasoning.budget_tokens is not None:
        dropped.parameter("reasoning.budget_tokens", "the effort says it already")
    if effort is Effort.NONE:
        dropped.parameter("reasoning.effort", "this model always thinks; now as little as it can")
    return {"thinkingLevel": _nearest(_LEVELS[effort], model)}


def _nearest(level: str, model: str) -> str:
    if level == "MINIMAL" and not _TAKES_MINIMAL.search(model):
        return "LOW"
    if level == "MEDIUM" and _ONLY_LOW_AND_HIGH.search(model):
        return "HIGH"
    return level

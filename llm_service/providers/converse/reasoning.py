"""How hard to think, in the words of each family of models."""

from collections.abc import Callable
from typing import Any

from llm_service.domain.completion import Effort, Reasoning
from llm_service.providers.converse.families import Family, Thinks
from llm_service.providers.dropped import Dropped

Json = dict[str, Any]

# Tokens to think with, where a family counts them and the caller names an effort. The least is
# Anthropic's; the most leaves room to answer below 32,000, which every such model can give.
BUDGETS = {
    Effort.MINIMAL: 1024,
    Effort.LOW: 2048,
    Effort.MEDIUM: 8192,
    Effort.HIGH: 16384,
    Effort.MAX: 27904,
}
LEAST_BUDGET = 1024
ROOM_TO_ANSWER = 4096

_THREE_STEPS = {Effort.MINIMAL: Effort.LOW, Effort.MAX: Effort.HIGH}
_NO_MINIMAL = {Effort.MINIMAL: Effort.LOW}
_NO_THINKING = "this model does not think"


class Thinking:
    """What a call's `reasoning` becomes.

    Attributes:
        fields: go among the additional fields of the request.
        effort: goes into `outputConfig`; "" none.
        max_tokens: what `maxTokens` must be for the budget to fit in; None: no need.
        is_on: thinking was asked for, which some other parameters do not go with.
        is_boundless: so much of it that the answer's length and sampling must be left open.
    """

    def __init__(
        self, asked: Reasoning | None, family: Family, max_tokens: int | None, dropped: Dropped
    ) -> None:
        """Decide; what the family has no words for is dropped."""
        self.fields: Json = {}
        self.effort = ""
        self.max_tokens: int | None = None
        self.is_on = False
        self.is_boundless = False
        self._family = family
        self._dropped = dropped
        self._limit = max_tokens
        if asked is not None:
            self._tell[family.thinks](self, asked)

    def _not(self, asked: Reasoning) -> None:
        why = _NO_THINKING
        if self._family.thinks is Thinks.UNKNOWN:
            why = "the model's id does not tell how; provider_options_json can"
        if asked.effort not in (None, Effort.NONE):
            self._dropped.parameter("reasoning.effort", why)
        if asked.budget_tokens is not None:
            self._dropped.parameter("reasoning.budget_tokens", why)
        if asked.include_thoughts:
            self._dropped.parameter("reasoning.include_thoughts", why)

    def _by_budget(self, asked: Reasoning) -> None:
        budget = asked.budget_tokens
        if not budget and asked.effort not in (None, Effort.NONE):
            budget = self._affordable(BUDGETS[asked.effort])
        if budget:
            self._think_within(budget)
        self._shown_as_ever(asked)

    def _either(self, asked: Reasoning) -> None:
        if asked.budget_tokens:
            self._by_budget(asked)
        else:
            self._adapt(asked)
            self._shown_as_ever(asked)

    def _by_effort(self, asked: Reasoning) -> None:
        if asked.budget_tokens:
            self._dropped.parameter("reasoning.budget_tokens", "this model takes an effort only")
        self._adapt(asked)
        if asked.include_thoughts is not None:
            shown = "summarized" if asked.include_thoughts else "omitted"
            if asked.include_thoughts or self.is_on:
                self.is_on = True
                self.fields["thinking"] = {"type": "adaptive", "display": shown}

    def _adapt(self, asked: Reasoning) -> None:
        if asked.effort is Effort.NONE:
            return
        if asked.effort is not None:
            self.effort = _NO_MINIMAL.get(asked.effort, asked.effort).value
        if asked.effort is not None or asked.budget_tokens:
            self.fields["thinking"] = {"type": "adaptive"}
            self.is_on = True

    def _nova(self, asked: Reasoning) -> None:
        self._effort_only(asked)
        if asked.effort is Effort.NONE:
            self.fields["reasoningConfig"] = {"type": "disabled"}
        elif asked.effort is not None:
            effort = _THREE_STEPS.get(asked.effort, asked.effort)
            self.fields["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": effort.value}
            self.is_on = True
            self.is_boundless = effort is Effort.HIGH

    def _openai(self, asked: Reasoning) -> None:
        self._effort_only(asked)
        if asked.effort is not None:
            effort = _NO_MINIMAL.get(asked.effort, asked.effort)
            self.fields["reasoning"] = {"effort": effort.value}

    def _flat(self, asked: Reasoning) -> None:
        self._one_of_three(asked, "reasoning_effort")

    def _config(self, asked: Reasoning) -> None:
        self._one_of_three(asked, "reasoning_config")

    def _one_of_three(self, asked: Reasoning, name: str) -> None:
        self._effort_only(asked)
        if asked.effort is Effort.NONE:
            self._dropped.parameter("reasoning.effort", "this model has no word for none")
        elif asked.effort is not None:
            self.fields[name] = _THREE_STEPS.get(asked.effort, asked.effort).value

    def _effort_only(self, asked: Reasoning) -> None:
        if asked.budget_tokens is not None:
            self._dropped.parameter("reasoning.budget_tokens", "this model takes an effort only")
        if asked.include_thoughts is not None:
            self._dropped.parameter(
                "reasoning.include_thoughts", "this model decides what it shows"
            )

    def _shown_as_ever(self, asked: Reasoning) -> None:
        if asked.include_thoughts is False and self.is_on:
            self._dropped.parameter("reasoning.include_thoughts", "this model shows its thoughts")
        elif asked.include_thoughts and not self.is_on:
            self._dropped.parameter(
                "reasoning.include_thoughts", "this model thinks only by an effort or a budget"
            )

    def _affordable(self, budget: int) -> int | None:
        """The budget, or what of it fits below the caller's limit of output."""
        if self._limit is None or budget < self._limit:
            return budget
        if self._limit > LEAST_BUDGET:
            return max(LEAST_BUDGET, self._limit // 2)
        self._dropped.parameter(
            "reasoning.effort", f"thinking needs max_output_tokens above {LEAST_BUDGET}"
        )
        return None

    def _think_within(self, budget: int) -> None:
        if self._limit is not None and self._limit <= LEAST_BUDGET:
            self._dropped.parameter(
                "reasoning.budget_tokens", f"thinking needs max_output_tokens above {LEAST_BUDGET}"
            )
            return
        wanted, budget = budget, max(budget, LEAST_BUDGET)
        if self._limit is not None:
            budget = min(budget, self._limit - 1)
        if budget != wanted:
            self._dropped.parameter(
                "reasoning.budget_tokens", f"{budget} was sent, the nearest it can be"
            )
        self.fields["thinking"] = {"type": "enabled", "budget_tokens": budget}
        self.is_on = True
        if self._limit is None:
            # The default limit of output may be below the budget, and that is refused.
            self.max_tokens = budget + ROOM_TO_ANSWER

    _tell: dict[Thinks, Callable[["Thinking", Reasoning], None]] = {  # noqa: RUF012 - a table
        Thinks.NOT: _not,
        Thinks.UNKNOWN: _not,
        Thinks.BUDGET: _by_budget,
        Thinks.EITHER: _either,
        Thinks.EFFORT: _by_effort,
        Thinks.NOVA: _nova,
        Thinks.OPEN_AI: _openai,
        Thinks.FLAT: _flat,
        Thinks.CONFIG: _config,
    }

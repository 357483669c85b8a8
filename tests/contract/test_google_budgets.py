"""Budgets of thinking that a Gemini model does not take as they are."""

import pytest
from calls import call

from llm_service.domain.completion import GenerationParams, Reasoning
from llm_service.providers.gemini import request
from llm_service.providers.gemini.door import Door


@pytest.mark.parametrize(
    ("model", "asked", "sent"),
    [
        ("gemini-2.5-pro", 0, 128),
        ("gemini-2.5-pro", 99_999, 32768),
        ("gemini-2.5-flash", 99_999, 24576),
        ("gemini-2.5-flash-lite", 1, 512),
    ],
)
def test_a_budget_out_of_bounds_is_the_nearest_that_is_taken_and_that_is_said(model, asked, sent):
    params = GenerationParams(reasoning=Reasoning(budget_tokens=asked))

    made = request.body(call(model=model, params=params), Door())

    assert made.fields["generationConfig"]["thinkingConfig"] == {"thinkingBudget": sent}
    [warning] = made.warnings
    assert (warning.reason, warning.field) == (
        "PARAMETER_DROPPED",
        "params.reasoning.budget_tokens",
    )
    assert str(sent) in warning.message

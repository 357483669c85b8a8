"""Parameters, thinking, versions and options as the anthropic kind sends them."""

import json

import pytest
from anthropic_bodies import PROFILE, TIME, body, ours, prepared, warned
from calls import call, message, user

from llm_service.domain.completion import Effort, GenerationParams, Reasoning
from llm_service.domain.content import (
    Part,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from llm_service.domain.provider import ModelCapabilities
from llm_service.errors import CapabilityNotSupported, InvalidField
from llm_service.providers.messages.profile import Profile

TODAY, BEFORE = "2026-10-21", "2023-06-01"
ADAPTIVE, BUDGET = "claude-opus-5", "claude-sonnet-4-5"


def asked(model: str = ADAPTIVE, able: ModelCapabilities | None = None, **params):
    return call(
        model=model,
        params=GenerationParams(**params),
        capabilities=able or ModelCapabilities(),
    )


def thinking(model: str = ADAPTIVE, effort=None, budget=None, show=None, **params):
    return asked(model, reasoning=Reasoning(effort, budget, show), **params)


# --- what every model takes -----------------------------------------------------------------------


def test_the_least_there_is_to_say():
    assert body(call(model="some-model")) == {
        "model": "some-model",
        "max_tokens": 8192,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
    }


@pytest.mark.parametrize(
    ("model", "most"),
    [("claude-opus-5", 128_000), ("claude-haiku-4-5", 64_000), ("claude-opus-9-9", 32_000)],
)
def test_an_answer_may_be_as_long_as_the_model_can_unless_told(model, most):
    assert body(asked(model))["max_tokens"] == most
    assert body(asked(model, max_output_tokens=77))["max_tokens"] == 77


def test_stop_sequences_go_over_but_for_white_space():
    stopping = asked(stop_sequences=("END", "\n\n"))

    assert body(stopping)["stop_sequences"] == ["END"]
    assert warned(stopping) == [("PARAMETER_DROPPED", "params.stop_sequences")]


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", 7), ("frequency_penalty", 0.1), ("presence_penalty", 0.1), ("top_logprobs", 0)],
)
def test_what_the_api_does_not_have_is_left_out_and_said(name, value):
    given = asked(**{name: value})

    assert name not in body(given)
    assert warned(given) == [("PARAMETER_DROPPED", f"params.{name}")]


def test_a_strict_caller_is_refused_instead():
    with pytest.raises(CapabilityNotSupported) as failure:
        body(call(model=ADAPTIVE, params=GenerationParams(seed=7), strict_params=True))

    assert failure.value.metadata == {"field": "params.seed", "model": ADAPTIVE}


# --- sampling and the version ---------------------------------------------------------------------


@pytest.mark.parametrize("model", ["claude-opus-4-7", "claude-sonnet-5-5", "claude-fable-6"])
def test_newer_models_take_no_sampling_parameters(model):
    given = asked(model, temperature=0.2, top_p=0.9, top_k=3)

    assert not {"temperature", "top_p", "top_k"} & body(given).keys()
    assert [field for _, field in warned(given)] == [
        "params.temperature",
        "params.top_p",
        "params.top_k",
    ]
    assert prepared(given).version == TODAY


@pytest.mark.parametrize("model", ["claude-sonnet-4-6", "claude-haiku-4-5-20251001", "some-model"])
def test_older_and_unknown_models_take_them_by_the_older_version(model):
    given = prepared(asked(model, temperature=0.2, top_k=3))

    assert (given.body["temperature"], given.body["top_k"]) == (0.2, 3)
    assert given.version == BEFORE


def test_a_model_nobody_knows_speaks_the_version_of_today():
    assert prepared(asked("some-model")).version == TODAY


def test_what_is_known_of_the_model_decides():
    able, unable = ModelCapabilities(sampling=True), ModelCapabilities(sampling=False)

    assert prepared(asked(ADAPTIVE, able, temperature=0.2)).version == BEFORE
    assert warned(asked(BUDGET, unable, temperature=0.2))


@pytest.mark.parametrize("version", [TODAY, BEFORE])
def test_an_account_may_fix_the_version(version):
    profile = Profile("anthropic", version=version)
    given = asked(BUDGET, temperature=0.2)

    assert prepared(given, profile).version == version
    assert ("temperature" in body(given, profile)) == (version == BEFORE)
    assert len(warned(given, profile)) == (version == TODAY)


@pytest.mark.parametrize(
    ("params", "left_out"),
    [
        ({"temperature": 1.5}, "temperature"),
        ({"temperature": 0.5, "top_p": 0.5}, "top_p"),
        ({"temperature": 0.5, "reasoning": Reasoning(Effort.LOW)}, "temperature"),
        ({"top_k": 5, "reasoning": Reasoning(Effort.LOW)}, "top_k"),
        ({"top_p": 0.5, "reasoning": Reasoning(Effort.LOW)}, "top_p"),
    ],
)
def test_sampling_parameters_that_do_not_go_together_are_said(params, left_out):
    given = asked("claude-sonnet-4-6", **params)

    assert left_out not in body(given)
    assert warned(given) == [("PARAMETER_DROPPED", f"params.{left_out}")]


# --- thinking -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effort", "sent"),
    [
        (Effort.MINIMAL, "low"),
        (Effort.LOW, "low"),
        (Effort.MEDIUM, "medium"),
        (Effort.HIGH, "high"),
        (Effort.MAX, "max"),
    ],
)
def test_an_effort_is_the_models_own(effort, sent):
    said = body(thinking(ADAPTIVE, effort))

    assert said["thinking"] == {"type": "adaptive"}
    assert said["output_config"] == {"effort": sent}


@pytest.mark.parametrize(("show", "display"), [(True, "summarized"), (False, "omitted")])
def test_thoughts_are_shown_when_asked(show, display):
    said = body(thinking(ADAPTIVE, show=show))

    assert said["thinking"] == {"type": "adaptive", "display": display}
    assert "output_config" not in said


@pytest.mark.parametrize(
    ("model", "sent"),
    [("claude-opus-5", {"type": "disabled"}), ("claude-opus-4-7", None), ("claude-fable-5", None)],
)
@pytest.mark.parametrize("off", [Reasoning(Effort.NONE), Reasoning(budget_tokens=0)])
def test_not_to_think_is_said_as_the_model_takes_it(model, sent, off):
    given = asked(model, reasoning=off)

    assert body(given).get("thinking") == sent
    assert bool(warned(given)) == (model == "claude-fable-5")


def test_a_budget_is_left_out_where_the_model_takes_an_effort():
    given = thinking(ADAPTIVE, Effort.LOW, 4096)

    assert body(given)["thinking"] == {"type": "adaptive"}
    assert warned(given) == [("PARAMETER_DROPPED", "params.reasoning.budget_tokens")]


@pytest.mark.parametrize(
    ("effort", "budget", "most", "sent"),
    [
        (None, 4096, None, 4096),
        (Effort.HIGH, 4096, None, 4096),
        (Effort.MINIMAL, None, None, 1024),
        (Effort.LOW, None, None, 2048),
        (Effort.HIGH, None, None, 16384),
        (Effort.MAX, None, None, 32000),
        (Effort.HIGH, None, 4000, 2000),
        (Effort.HIGH, None, 1100, 1024),
    ],
)
def test_models_that_know_budgets_get_one(effort, budget, most, sent):
    given = thinking("claude-opus-4-1", effort, budget, max_output_tokens=most or 64000)

    assert body(given)["thinking"] == {"type": "enabled", "budget_tokens": sent}
    assert warned(given) == []


@pytest.mark.parametrize(("budget", "most", "sent"), [(100, 4000, 1024), (9000, 4000, 3999)])
def test_a_budget_that_cannot_be_is_the_nearest_and_said(budget, most, sent):
    given = thinking(BUDGET, None, budget, max_output_tokens=most)

    assert body(given)["thinking"]["budget_tokens"] == sent
    assert warned(given) == [("PARAMETER_DROPPED", "params.reasoning.budget_tokens")]


@pytest.mark.parametrize(
    ("reasoning", "field"),
    [
        (Reasoning(Effort.LOW), "effort"),
        (Reasoning(budget_tokens=2000), "budget_tokens"),
    ],
)
def test_an_answer_too_short_to_think_in_is_said(reasoning, field):
    given = asked(BUDGET, reasoning=reasoning, max_output_tokens=500)

    assert "thinking" not in body(given)
    assert warned(given) == [("PARAMETER_DROPPED", f"params.reasoning.{field}")]


def test_thoughts_of_a_model_that_thinks_by_budget():
    assert body(thinking(BUDGET, Effort.LOW, show=False))["thinking"]["display"] == "omitted"
    assert "display" not in body(thinking(BUDGET, Effort.LOW, show=True))["thinking"]
    assert warned(thinking(BUDGET, show=True)) == [
        ("PARAMETER_DROPPED", "params.reasoning.include_thoughts")
    ]
    assert warned(thinking(BUDGET, show=False)) == []
    assert "thinking" not in body(thinking(BUDGET, Effort.NONE))


def test_a_reasoning_that_asks_for_nothing_sends_nothing():
    assert "thinking" not in body(asked(reasoning=Reasoning()))


def test_a_model_that_does_not_think_is_not_asked_to():
    able = ModelCapabilities(thinking=False)
    given = asked(BUDGET, able, reasoning=Reasoning(Effort.LOW, 2000, include_thoughts=True))

    assert "thinking" not in body(given)
    assert [field for _, field in warned(given)] == [
        "params.reasoning.effort",
        "params.reasoning.budget_tokens",
        "params.reasoning.include_thoughts",
    ]


def test_a_model_that_must_call_a_tool_is_not_asked_to_think():
    given = call(
        model=ADAPTIVE,
        params=GenerationParams(reasoning=Reasoning(Effort.LOW)),
        tools=(TIME,),
        tool_choice=ToolChoice(ToolMode.REQUIRED),
    )

    assert "thinking" not in body(given)
    assert warned(given) == [("PARAMETER_DROPPED", "params.reasoning.effort")]


@pytest.mark.parametrize(("model", "sent"), [(BUDGET, False), (ADAPTIVE, True)])
def test_a_budget_is_not_sent_after_calls_another_vendor_thought_about(model, sent):
    called = ToolCall("call_1", "time", "{}")
    turns = (
        user("a"),
        message(Role.ASSISTANT, called),
        message(Role.TOOL, ToolResult("call_1", "", (Part(Text("noon")),))),
    )
    params = GenerationParams(reasoning=Reasoning(Effort.LOW))
    given = call(*turns, model=model, params=params)

    assert ("thinking" in body(given)) == sent
    assert bool(warned(given)) != sent


def test_a_budget_is_sent_after_calls_the_model_thought_about():
    turns = (
        user("a"),
        message(
            Role.ASSISTANT,
            ours(Thinking("Hm."), {"signature": "c2ln"}),
            ToolCall("toolu_1", "time", "{}"),
        ),
        message(Role.TOOL, ToolResult("toolu_1", "", ())),
    )

    said = body(
        call(*turns, model=BUDGET, params=GenerationParams(reasoning=Reasoning(Effort.LOW)))
    )

    assert said["thinking"]["type"] == "enabled"


# --- options --------------------------------------------------------------------------------------


def test_options_are_merged_at_the_top():
    said = body(call(options_json='{"service_tier":"auto","metadata":{"user_id":"u"}}'))

    assert (said["service_tier"], said["metadata"]) == ("auto", {"user_id": "u"})


def test_an_output_config_is_merged_with_ours():
    given = call(
        model=ADAPTIVE,
        params=GenerationParams(reasoning=Reasoning(Effort.LOW)),
        options_json='{"output_config":{"effort":"xhigh"}}',
    )

    assert body(given)["output_config"] == {"effort": "xhigh"}


def test_skills_join_the_container_at_hand():
    state = {"message": {"container": {"id": "c_1"}}}
    history = (user("a"), message(Role.ASSISTANT, "b", ours(Text(""), state)), user("c"))

    said = body(call(*history, options_json='{"container":{"skills":[{"skill_id":"pptx"}]}}'))
    other = body(call(*history, options_json='{"container":"c_2"}'))

    assert said["container"] == {"id": "c_1", "skills": [{"skill_id": "pptx"}]}
    assert other["container"] == "c_2"


def test_betas_are_a_header_named_by_the_account_the_tools_and_the_options():
    profile = Profile("anthropic", betas=("context-1m-2025-08-07",))
    given = call(options_json='{"betas":["skills-2025-10-02"],"context_management":{"edits":[]}}')

    assert prepared(given, profile).betas == (
        "context-1m-2025-08-07",
        "skills-2025-10-02",
        "context-management-2025-06-27",
    )
    assert "betas" not in body(given, profile)


def test_a_beta_that_is_named_is_not_joined_by_another_release():
    options = {
        "betas": ["mcp-client-2026-09-15"],
        "mcp_servers": [],
        "context_management": {"edits": [{"type": "compact_20260112"}]},
    }

    assert prepared(call(options_json=json.dumps(options))).betas == (
        "mcp-client-2026-09-15",
        "context-management-2025-06-27",
        "compact-2026-01-12",
    )


@pytest.mark.parametrize(
    "options",
    [
        '{"model":"x"}',
        '{"messages":[]}',
        '{"system":"x"}',
        '{"stream":true}',
        "[]",
        "{",
        '{"betas":"x"}',
        '{"betas":["a,b"]}',
        '{"betas":["a\\r\\nx-api-key: b"]}',
    ],
)
def test_options_that_may_not_be_set_are_refused(options):
    with pytest.raises(InvalidField) as failure:
        body(call(options_json=options), PROFILE)

    assert failure.value.violations[0].field == "provider_options_json"


def test_an_output_config_that_is_none_is_refused():
    with pytest.raises(InvalidField):
        body(thinking_with_options('{"output_config":1}'))


def thinking_with_options(options: str):
    params = GenerationParams(reasoning=Reasoning(Effort.LOW))
    return call(model=ADAPTIVE, params=params, options_json=options)

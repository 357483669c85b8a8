"""Generation parameters, each sent to the models that take it and dropped loudly elsewhere."""

import pytest
from bedrock_bodies import NOVA, asked, body, shaped, strict, warnings

from llm_service.domain.completion import Effort, GenerationParams, Reasoning
from llm_service.domain.content import JsonSchemaFormat
from llm_service.domain.provider import ModelCapabilities
from llm_service.errors import CapabilityNotSupported, InvalidField

OLD = "anthropic.claude-3-haiku-20240307-v1:0"
SONNET_37 = "us.anthropic.claude-3-7-sonnet-20250219-v1:0"
SONNET_46 = "us.anthropic.claude-sonnet-4-6"
OPUS_47 = "us.anthropic.claude-opus-4-7"
COHERE = "cohere.command-r-plus-v1:0"
NOVA_1 = "amazon.nova-pro-v1:0"
GPT_OSS, GPT = "openai.gpt-oss-120b-1:0", "us.openai.gpt-5.6-luna"
QWEN = "qwen.qwen3-32b-v1:0"
PROFILE = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/ab12"


def with_params(model, can=None, options="", **params):
    return asked(
        model=model,
        params=GenerationParams(**params),
        capabilities=can or ModelCapabilities(),
        options_json=options,
    )


def reasoning(model, effort=None, budget=None, shown=None, limit=None):
    asked_for = Reasoning(effort, budget, shown)
    return with_params(model, reasoning=asked_for, max_output_tokens=limit)


def fields(made) -> dict:
    return body(made).get("additionalModelRequestFields", {})


def dropped(made) -> list[str]:
    said = warnings(made)
    assert all(reason == "PARAMETER_DROPPED" for reason, _ in said)
    return [field.removeprefix("params.") for _, field in said]


def test_what_every_model_takes_goes_into_the_inference_config():
    made = with_params(OLD, temperature=0.5, max_output_tokens=99, stop_sequences=("END",))

    assert body(made)["inferenceConfig"] == {
        "temperature": 0.5,
        "maxTokens": 99,
        "stopSequences": ["END"],
    }
    assert dropped(made) == []
    assert "inferenceConfig" not in body(asked())


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        (OLD, {"top_k": 5}),
        (NOVA_1, {"inferenceConfig": {"topK": 5}}),
        (COHERE, {"k": 5}),
        ("mistral.mixtral-8x7b-instruct-v0:1", {"top_k": 5}),
        ("mistral.mistral-large-2402-v1:0", None),
        (OPUS_47, None),
        (GPT, None),
        (PROFILE, None),
    ],
)
def test_top_k_goes_where_the_family_has_it(model, sent):
    made = with_params(model, top_k=5)

    assert fields(made) == (sent or {})
    assert dropped(made) == ([] if sent else ["top_k"])


@pytest.mark.parametrize(
    ("model", "can", "left_out"),
    [
        (OLD, None, []),
        (OLD, False, ["temperature"]),
        (OPUS_47, None, ["temperature"]),
        (OPUS_47, True, []),
        (GPT, None, ["temperature"]),
        (GPT_OSS, None, []),
        (PROFILE, None, []),
    ],
)
def test_sampling_goes_to_the_models_that_take_it(model, can, left_out):
    made = with_params(model, ModelCapabilities(sampling=can), temperature=0.5)

    assert dropped(made) == left_out
    assert ("inferenceConfig" in body(made)) is not bool(left_out)


def test_a_temperature_no_model_of_the_provider_takes_is_dropped():
    assert dropped(with_params(OLD, temperature=1.5)) == ["temperature"]


def test_some_take_temperature_or_top_p_but_not_both():
    made = with_params(SONNET_46, temperature=0.5, top_p=0.9)

    assert body(made)["inferenceConfig"] == {"temperature": 0.5}
    assert dropped(made) == ["top_p"]
    assert body(with_params(OLD, temperature=0.5, top_p=0.9))["inferenceConfig"]["topP"] == 0.9


def test_seeds_and_penalties_go_to_cohere_and_probabilities_to_nobody():
    params = {"seed": 7, "frequency_penalty": 0.1, "presence_penalty": 0.2, "top_logprobs": 3}

    assert fields(with_params(COHERE, **params)) == {
        "seed": 7,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
    }
    assert dropped(with_params(COHERE, **params)) == ["top_logprobs"]
    assert dropped(with_params(OLD, **params)) == list(params)


def test_stop_sequences_are_dropped_where_they_are_refused():
    assert dropped(with_params(GPT, stop_sequences=("END",))) == ["stop_sequences"]


@pytest.mark.parametrize(
    "params", [{"seed": 1}, {"top_logprobs": 1}, {"temperature": 2.0}, {"top_k": 1}]
)
def test_a_strict_caller_is_refused_instead(params):
    with pytest.raises(CapabilityNotSupported) as failure:
        shaped(strict(with_params("meta.llama3-8b-instruct-v1:0", **params)))

    assert failure.value.metadata["field"] == f"params.{next(iter(params))}"


@pytest.mark.parametrize(
    ("model", "effort", "sent"),
    [
        (SONNET_37, Effort.LOW, {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        (SONNET_37, Effort.MAX, {"thinking": {"type": "enabled", "budget_tokens": 27904}}),
        (SONNET_37, Effort.NONE, {}),
        (SONNET_46, Effort.MEDIUM, {"thinking": {"type": "adaptive"}}),
        (OPUS_47, Effort.HIGH, {"thinking": {"type": "adaptive"}}),
        (OPUS_47, Effort.NONE, {}),
        (
            NOVA,
            Effort.MEDIUM,
            {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}},
        ),
        (
            NOVA,
            Effort.MINIMAL,
            {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}},
        ),
        (NOVA, Effort.NONE, {"reasoningConfig": {"type": "disabled"}}),
        (GPT_OSS, Effort.MAX, {"reasoning_effort": "high"}),
        (GPT, Effort.MAX, {"reasoning": {"effort": "max"}}),
        (GPT, Effort.MINIMAL, {"reasoning": {"effort": "low"}}),
        (GPT, Effort.NONE, {"reasoning": {"effort": "none"}}),
        (QWEN, Effort.HIGH, {"reasoning_config": "high"}),
        ("anthropic.claude-3-5-haiku-20241022-v1:0", Effort.NONE, {}),
    ],
)
def test_an_effort_is_said_in_the_words_of_the_family(model, effort, sent):
    made = reasoning(model, effort)

    assert fields(made) == sent
    assert dropped(made) == []


@pytest.mark.parametrize(
    ("model", "effort", "sent"),
    [(SONNET_46, Effort.MEDIUM, "medium"), (OPUS_47, Effort.MINIMAL, "low")],
)
def test_an_effort_of_claude_goes_beside_the_format_of_the_output(model, effort, sent):
    assert body(reasoning(model, effort))["outputConfig"] == {"effort": sent}


def test_an_effort_and_a_schema_share_the_output_config():
    made = asked(
        model=SONNET_46,
        params=GenerationParams(reasoning=Reasoning(Effort.LOW)),
        response_format=JsonSchemaFormat("x", "{}"),
    )

    assert body(made)["outputConfig"].keys() == {"textFormat", "effort"}


@pytest.mark.parametrize("model", [SONNET_37, SONNET_46])
def test_a_budget_gets_room_to_answer_unless_the_caller_set_a_limit(model):
    thinking = {"type": "enabled", "budget_tokens": 5000}

    free, limited = reasoning(model, budget=5000), reasoning(model, budget=5000, limit=6000)

    assert fields(free)["thinking"] == fields(limited)["thinking"] == thinking
    assert body(free)["inferenceConfig"] == {"maxTokens": 9096}
    assert body(limited)["inferenceConfig"] == {"maxTokens": 6000}


def test_a_budget_of_nothing_leaves_it_to_the_effort():
    made = reasoning(SONNET_37, Effort.LOW, budget=0)

    assert fields(made)["thinking"]["budget_tokens"] == 2048
    assert fields(reasoning(SONNET_37, budget=0)) == {}


def test_the_budget_of_an_effort_keeps_below_the_limit_of_output():
    assert (
        fields(reasoning(SONNET_37, Effort.HIGH, limit=4000))["thinking"]["budget_tokens"] == 2000
    )
    assert (
        fields(reasoning(SONNET_37, Effort.HIGH, limit=1100))["thinking"]["budget_tokens"] == 1024
    )
    assert dropped(reasoning(SONNET_37, Effort.HIGH, limit=500)) == ["reasoning.effort"]


@pytest.mark.parametrize(
    ("made", "left_out"),
    [
        (
            reasoning(OLD, Effort.LOW, 2000, shown=True),
            ["effort", "budget_tokens", "include_thoughts"],
        ),
        (reasoning(PROFILE, Effort.LOW), ["effort"]),
        (reasoning("deepseek.r1-v1:0", Effort.LOW), ["effort"]),
        (reasoning(NOVA_1, Effort.LOW), ["effort"]),
        (reasoning(OPUS_47, Effort.LOW, 2000), ["budget_tokens"]),
        (reasoning(NOVA, Effort.LOW, 2000, shown=True), ["budget_tokens", "include_thoughts"]),
        (reasoning(QWEN, Effort.NONE), ["effort"]),
        (reasoning(SONNET_37, Effort.LOW, shown=False), ["include_thoughts"]),
        (reasoning(SONNET_37, shown=True), ["include_thoughts"]),
        (reasoning(SONNET_37, Effort.LOW, shown=True), []),
        (reasoning(OLD), []),
    ],
)
def test_what_a_family_has_no_words_for_is_dropped(made, left_out):
    assert dropped(made) == [f"reasoning.{name}" for name in left_out]


def test_a_model_known_not_to_think_is_not_told_to():
    can = ModelCapabilities(thinking=False)
    made = with_params(SONNET_37, can, reasoning=Reasoning(Effort.LOW))

    assert dropped(made) == ["reasoning.effort"]


@pytest.mark.parametrize(
    ("shown", "effort", "sent"),
    [
        (True, None, {"type": "adaptive", "display": "summarized"}),
        (True, Effort.LOW, {"type": "adaptive", "display": "summarized"}),
        (False, Effort.LOW, {"type": "adaptive", "display": "omitted"}),
        (False, None, None),
    ],
)
def test_newer_claudes_are_told_whether_to_show_their_thoughts(shown, effort, sent):
    made = reasoning(OPUS_47, effort, shown=shown)

    assert fields(made).get("thinking") == sent
    assert dropped(made) == []


def test_claude_takes_no_sampling_while_it_thinks():
    params = {"temperature": 0.5, "top_p": 0.9, "top_k": 5}
    made = with_params(SONNET_37, reasoning=Reasoning(budget_tokens=2000), **params)

    assert dropped(made) == ["temperature", "top_p", "top_k"]


def test_nova_thinking_hard_takes_neither_limits_nor_sampling():
    params = {"temperature": 0.5, "top_p": 0.9, "top_k": 5, "max_output_tokens": 100}
    made = with_params(NOVA, reasoning=Reasoning(Effort.HIGH), **params)

    assert "inferenceConfig" not in body(made)
    assert sorted(dropped(made)) == sorted(params)


def test_options_add_what_the_contract_has_no_words_for():
    options = (
        '{"guardrailConfig":{"guardrailIdentifier":"gr1","guardrailVersion":"1"},'
        '"performanceConfig":{"latency":"optimized"},"requestMetadata":{"team":"a"},'
        '"serviceTier":{"type":"flex"},"inferenceConfig":{"maxTokens":7},'
        '"additionalModelRequestFields":{"anthropic_beta":["x"]}}'
    )
    made = with_params(OLD, options=options, top_k=5, temperature=0.5)

    sent = body(made)

    assert sent["guardrailConfig"] == {"guardrailIdentifier": "gr1", "guardrailVersion": "1"}
    assert sent["performanceConfig"] == {"latency": "optimized"}
    assert sent["serviceTier"] == {"type": "flex"}
    assert sent["requestMetadata"] == {"team": "a"}
    assert sent["inferenceConfig"] == {"temperature": 0.5, "maxTokens": 7}
    assert sent["additionalModelRequestFields"] == {"top_k": 5, "anthropic_beta": ["x"]}


@pytest.mark.parametrize(
    "options", ['{"messages":[]}', '{"modelId":"x"}', "[]", '{"additionalModelRequestFields":1}']
)
def test_options_may_not_say_what_the_request_decides(options):
    with pytest.raises(InvalidField):
        shaped(with_params(OLD, options=options, top_k=5))

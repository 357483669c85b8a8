"""What the vendors of Chat Completions say in ways of their own."""

import json

import pytest
from calls import call, message, user
from chat_kinds import KINDS, TIME, sent
from chunks import delta, finish, usage
from recordings import sse

from llm_service import errors
from llm_service.domain.completion import ContentFilter, FilterStage, FinishReason, TokenUsage
from llm_service.domain.content import (
    JsonSchemaFormat,
    Media,
    Modality,
    Part,
    ProviderState,
    Role,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
)
from llm_service.domain.provider import ModelCapabilities
from llm_service.providers.chat.api import ChatApi
from llm_service.providers.fold import fold
from llm_service.providers.vendor import Reply

PLACE = JsonSchemaFormat("place", '{"type": "object"}')


def decoder(kind, asked=None):
    exchange = ChatApi(KINDS[kind]).exchange(asked or call(), stream=True)
    return exchange.decoder(Reply("", (), {}, ""))


def streamed(kind, *chunks, asked=None):
    reader = decoder(kind, asked)
    events = reader.feed(sse(chunks))
    if reader.failure is not None:
        raise reader.failure
    return fold(events)


def whole(kind, asked=None, finish_reason="stop", **said):
    choice = {"index": 0, "message": said, "finish_reason": finish_reason}
    body = {"id": "chatcmpl-1", "model": "m", "choices": [choice]}
    return fold(decoder(kind, asked).whole(json.dumps(body).encode()))


def piece(text, **more):
    return {"type": "reasoning.text", "text": text, "index": 0, **more}


def test_pieces_of_signed_thinking_grow_into_what_came_whole():
    in_pieces = streamed(
        "openrouter",
        delta(reasoning="Let ", reasoning_details=[piece("Let ", format="anthropic-claude-v1")]),
        delta(reasoning="me.", reasoning_details=[piece("me.")]),
        delta(reasoning_details=[piece("", signature="c2ln")]),
        delta(content="Yes."),
        finish(),
    )
    signed = piece("Let me.", format="anthropic-claude-v1", signature="c2ln")
    at_once = whole("openrouter", reasoning="Let me.", reasoning_details=[signed], content="Yes.")

    assert in_pieces.parts == at_once.parts
    thought, answer = in_pieces.parts
    assert thought.content == Thinking("Let me.")
    assert json.loads(thought.provider_state.data) == {"thinking": {"details": [signed]}}
    again, _ = sent("openrouter", call(user("a"), message(Role.ASSISTANT, thought, answer)))
    assert again["messages"][1]["reasoning_details"] == [signed]


def test_thinking_nobody_can_read_is_redacted_and_goes_back():
    secret = {"type": "reasoning.encrypted", "data": "b3BhcXVl", "index": 0}
    answer = streamed(
        "openrouter",
        delta(content="Well"),
        delta(reasoning_details=[secret]),
        delta(content="!"),
        finish(),
    )

    assert [part.content for part in answer.parts] == [
        Text("Well"),
        Thinking("", redacted=True),
        Text("!"),
    ]
    again, _ = sent("openrouter", call(user("a"), message(Role.ASSISTANT, *answer.parts)))
    assert again["messages"][1]["reasoning_details"] == [secret]


def test_a_block_of_thinking_keeps_what_its_text_does_not_say():
    inside = [{"type": "text", "text": "Hm"}, {"type": "reference", "reference_ids": [1]}]
    block = {"type": "thinking", "thinking": inside, "signature": "c2ln"}

    answer = whole("mistral", content=[block, {"type": "text", "text": "Yes"}])

    thinking = [part for part in answer.parts if isinstance(part.content, Thinking)]
    assert thinking[0].content == Thinking("Hm")
    body, _ = sent("mistral", call(user("a"), message(Role.ASSISTANT, *answer.parts), user("b")))
    assert "c2ln" in json.dumps(body)
    assert "reference_ids" in json.dumps(body)


@pytest.mark.parametrize("form", ["whole", "streamed"])
def test_the_arguments_of_the_emulating_tool_are_the_answer(form):
    asked = call(response_format=PLACE)
    function = {"name": "place", "arguments": '{"city": "Vík"}'}
    said = [{"index": 0, "id": "a", "type": "function", "function": function}]
    if form == "whole":
        answer = whole("deepseek", asked, "tool_calls", content=None, tool_calls=said)
    else:
        head = {**function, "arguments": '{"city": '}
        first = delta(tool_calls=[{**said[0], "function": head}])
        rest = delta(tool_calls=[{"index": 0, "function": {"arguments": '"Vík"}'}}])
        answer = streamed("deepseek", first, rest, finish("tool_calls"), asked=asked)

    assert [part.content for part in answer.parts] == [Text('{"city": "Vík"}')]
    assert answer.finish_reason is FinishReason.STOP
    assert answer.provider_finish_reason == "tool_calls"


def test_a_call_of_the_callers_own_tool_beside_it_is_a_call():
    asked = call(
        tools=(TIME,), response_format=PLACE, capabilities=ModelCapabilities(json_schema=False)
    )
    own = {"index": 0, "id": "a", "function": {"name": "time", "arguments": "{}"}}

    answer = streamed("groq", delta(tool_calls=[own]), finish("tool_calls"), asked=asked)

    assert [part.content for part in answer.parts] == [ToolCall("a", "time", "{}")]
    assert answer.finish_reason is FinishReason.TOOL_CALLS


def test_an_image_of_the_answer_is_a_part_and_goes_back():
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}}
    answer = streamed("openrouter", delta(content="Look", images=[image]), finish())

    picture = answer.parts[1]
    assert picture.content == Media(Modality.IMAGE, data=b"\x89PNG", mime_type="image/png")
    again, _ = sent("openrouter", call(user("a"), message(Role.ASSISTANT, *answer.parts)))
    assert again["messages"][1] == {"role": "assistant", "content": "Look", "images": [image]}


def test_an_image_that_cannot_be_read_is_kept_as_it_came():
    answer = streamed("openrouter", delta(content="Look", images=["?"]), finish())

    assert answer.parts[1] == Part(
        Text(""), provider_state=ProviderState("openrouter", b'{"image":"?"}')
    )


def test_tools_the_vendor_ran_are_kept_and_not_sent_back():
    ran = {"index": 0, "type": "search", "arguments": "{}", "output": "Title: x"}

    answer = whole("groq", content="Found.", executed_tools=[ran])

    kept = answer.parts[1]
    assert json.loads(kept.provider_state.data) == {"executed_tool": ran}
    body, warnings = sent("groq", call(user("a"), message(Role.ASSISTANT, *answer.parts)))
    assert body["messages"][1] == {"role": "assistant", "content": "Found."}
    assert warnings == [("CONTENT_DROPPED", "messages[1].parts[1]")]


def test_probabilities_in_columns_are_read():
    choice = {
        "index": 0,
        "message": {"content": "Hi"},
        "logprobs": {"tokens": ["H", "i"], "token_logprobs": [-0.5, None]},
        "finish_reason": "eos",
    }

    answer = fold(decoder("together").whole(json.dumps({"choices": [choice]}).encode()))

    assert answer.parts[0].logprobs == (TokenLogprob("H", -0.5),)
    assert answer.finish_reason is FinishReason.STOP


@pytest.mark.parametrize(
    ("reason", "more", "expected"),
    [
        ("stop", {"stop_reason": "END"}, FinishReason.STOP_SEQUENCE),
        ("stop", {"stop_reason": 128009}, FinishReason.STOP),
        ("eos_token", {}, FinishReason.STOP),
        ("model_length", {}, FinishReason.CONTEXT_WINDOW),
        ("MALFORMED_FUNCTION_CALL", {}, FinishReason.MALFORMED_TOOL_CALL),
        ("SAFETY", {}, FinishReason.CONTENT_FILTER),
        ("brand_new", {}, FinishReason.OTHER),
    ],
)
def test_why_it_finished_in_other_words(reason, more, expected):
    answer = streamed("together", delta(content="Hi"), finish(reason, **more))

    assert (answer.finish_reason, answer.provider_finish_reason) == (expected, reason)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            {"prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3}},
            TokenUsage(10, 5, 4, 3),
        ),
        ({"cache_creation_input_tokens": 3}, TokenUsage(10, 5, 0, 3)),
        ({"cached_tokens": 4}, TokenUsage(10, 5, 4)),
        ({"num_cached_tokens": 4}, TokenUsage(10, 5, 4)),
        ({"prompt_cache_hit_tokens": 4}, TokenUsage(10, 5, 4)),
    ],
)
def test_reads_and_writes_of_the_cache_by_every_name(said, expected):
    told = usage(prompt_tokens=10, completion_tokens=5, **said)

    assert streamed("openrouter", delta(content="Hi"), finish(), told).usage == expected


def test_an_error_in_a_choice_is_an_error():
    failed = {"index": 0, "delta": {}, "error": {"code": 502, "message": "down"}}

    with pytest.raises(errors.ProviderUnavailable):
        streamed("openrouter", delta(content="Hi"), json.dumps({"choices": [failed]}).encode())


REFUSALS = [
    ("mistral", 400, {"object": "error", "type": "invalid_request_message_order", "code": "3230"},
     errors.ProviderRejectedRequest),
    ("mistral", 429, {"type": "service_tier_capacity_exceeded", "code": "3505", "message": "x"},
     errors.ProviderRateLimited),
    ("mistral", 400, {"message": "Prompt contains 9 tokens, too large for model with 8 maximum"
     " context length"}, errors.ContextLengthExceeded),
    ("mistral", 422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "x"], "msg": "no"}]},
     errors.ProviderRejectedRequest),
    ("mistral", 401, {"detail": "Unauthorized"}, errors.ProviderCredentialRejected),
    ("deepseek", 402, {"error": {"message": "Insufficient Balance", "type": "unknown_error"}},
     errors.ProviderQuotaExhausted),
    ("deepseek", 422, {"error": {"message": "bad", "type": "invalid_request_error"}},
     errors.ProviderRejectedRequest),
    ("xai", 400, {"code": "invalid-argument", "error": "Incorrect API key provided: xa***"},
     errors.ProviderCredentialRejected),
    ("xai", 429, {"code": "Some resource has been exhausted", "error": "Your team has either used"
     " all available credits or reached its monthly spending limit"},
     errors.ProviderQuotaExhausted),
    ("xai", 404, {"code": "not-found", "error": "The model grok-0 does not exist"},
     errors.ModelNotFound),
    ("groq", 400, {"error": {"type": "invalid_request_error", "code": "tool_use_failed",
     "message": "Failed to call a function", "failed_generation": "<x>"}},
     errors.ProviderProtocolError),
    ("groq", 498, {"error": {"message": "capacity", "type": "capacity"}},
     errors.ProviderUnavailable),
    ("fireworks", 412, {"error": {"message": "Account x is suspended, possibly due to reaching the"
     " monthly spending limit"}}, errors.ProviderQuotaExhausted),
    ("together", 403, {"error": {"message": "Input token count + max_tokens must be less than the"
     " model context length", "type": "invalid_request_error"}}, errors.ContextLengthExceeded),
    ("together", 402, {"error": {"message": "limit", "type": "credit_limit"}},
     errors.ProviderQuotaExhausted),
    ("openrouter", 400, {"error": {"code": 400, "message": "Provider returned error", "metadata": {
     "raw": '{"error":{"message":"prompt is too long: 9 tokens"}}', "provider_name": "x"}}},
     errors.ContextLengthExceeded),
    ("openrouter", 402, {"error": {"code": 402, "message": "Insufficient credits"}},
     errors.ProviderQuotaExhausted),
    ("openrouter", 408, {"error": {"code": 408, "message": "timed out"}}, errors.ProviderTimeout),
    ("openrouter", 502, {"error": {"code": 502, "message": "down"}}, errors.ProviderUnavailable),
    ("together", 422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must"
     " be <= 4096. Given: 5000", "error_type": "validation"}, errors.ContextLengthExceeded),
    ("together", 429, {"error": "Model is overloaded", "error_type": "overloaded"},
     errors.ProviderUnavailable),
    ("together", 400, {"error": "Trying to keep the first 5000 tokens when context the overflows"},
     errors.ContextLengthExceeded),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "status", "said", "expected"), REFUSALS)
def test_an_error_of_the_vendor_has_its_class(kind, status, said, expected):
    failure = ChatApi(KINDS[kind]).refusal(status, {}, json.dumps(said).encode(), "")

    assert type(failure) is expected
    assert failure.http_status == status


@pytest.mark.parametrize(
    ("kind", "status", "said", "expected"),
    [
        ("deepseek", 400, {"error": {"message": "Content Exists Risk"}}, ()),
        ("xai", 403, {"code": "x", "error": "Content violates usage guidelines."}, ()),
        (
            "openrouter",
            403,
            {
                "error": {
                    "code": 403,
                    "message": "flagged",
                    "metadata": {"reasons": ["violence"], "flagged_input": "..."},
                }
            },
            ("violence",),
        ),
    ],
)
def test_a_filter_that_struck_is_a_result(kind, status, said, expected):
    struck = ChatApi(KINDS[kind]).refusal(status, {}, json.dumps(said).encode(), "")

    assert struck == ContentFilter(FilterStage.INPUT, expected)


def test_an_image_by_address_is_a_part():
    image = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}

    answer = streamed("groq", delta(images=[image]), finish())

    assert answer.parts[0].content == Media(Modality.IMAGE, uri="https://x/y.png")


def test_pieces_of_thinking_that_are_not_wanted_back_are_text_only():
    answer = streamed("xai", delta(reasoning_details=[piece("Hm"), "?"]), finish())

    assert answer.parts == (Part(Thinking("Hm")),)

"""Tokens are estimated from the bytes of every text of a request, and never as none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.domain.content import (
    FunctionTool,
    JsonObjectFormat,
    JsonSchemaFormat,
    Media,
    Message,
    Modality,
    Part,
    ProviderTool,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from llm_service.domain.estimates import input_tokens, part_bytes, tokens_of
from tests.fakes import a_request

EIGHT = "12345678"  # two tokens


def saying(*contents):
    return (Message(Role.USER, tuple(Part(content) for content in contents)),)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_a_token_is_estimated_for_every_four_bytes_begun(text):
    size = len(text.encode())

    estimate = input_tokens(a_request(text=text))

    assert estimate == max(1, -(-size // 4))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=10), min_size=1))
def test_how_a_text_is_cut_into_parts_makes_no_difference(texts):
    cut = a_request(messages=saying(*map(Text, texts)))

    assert input_tokens(cut) == input_tokens(a_request(text="".join(texts)))


@pytest.mark.parametrize(
    ("content", "size"),
    [
        pytest.param(Text("é"), 2, id="text"),
        pytest.param(Refusal("no"), 2, id="refusal"),
        pytest.param(Thinking("hm"), 2, id="thinking"),
        pytest.param(ToolCall("t-1", "weather", "{}"), 9, id="tool call"),
        pytest.param(
            ToolResult("t-1", "weather", (Part(Text("sun")), Part(Refusal("x")))), 4, id="result"
        ),
        pytest.param(Media(Modality.IMAGE, b"x" * 1000), 0, id="media"),
    ],
)
def test_the_bytes_of_each_kind_of_part_are_those_of_its_text(content, size):
    assert part_bytes(Part(content)) == size


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"tools": (FunctionTool(EIGHT[:2], EIGHT[:2], EIGHT[:4]),)}, id="function"),
        pytest.param({"tools": (ProviderTool(EIGHT[:4], EIGHT[:4]),)}, id="provider tool"),
        pytest.param({"response_format": JsonSchemaFormat("not counted", EIGHT)}, id="schema"),
        pytest.param({"messages": saying(Text(EIGHT), Text(EIGHT))}, id="another part"),
    ],
)
def test_tools_and_schemas_count_too(changes):
    assert input_tokens(a_request(text=EIGHT)) == 2
    assert input_tokens(a_request(**{"text": EIGHT, **changes})) == 4


def test_a_format_without_a_schema_counts_nothing():
    assert input_tokens(a_request(text=EIGHT, response_format=JsonObjectFormat())) == 2


def test_a_request_of_media_alone_counts_one():
    assert input_tokens(a_request(messages=saying(Media(Modality.IMAGE, b"x")))) == 1


@pytest.mark.parametrize(("size", "tokens"), [(0, 0), (1, 1), (4, 1), (5, 2)])
def test_four_bytes_are_a_token_and_what_is_begun_is_one(size, tokens):
    assert tokens_of(size) == tokens

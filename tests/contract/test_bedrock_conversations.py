"""Any conversation of the contract: valid at Bedrock's, or refused before it is dialled."""

from bedrock_bodies import NOVA, PNG, asked, body, kept
from bedrock_vendor import CLAUDE
from calls import message
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_service.domain.content import (
    CacheControl,
    FunctionTool,
    JsonObjectFormat,
    Media,
    Modality,
    Part,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from llm_service.errors import CapabilityNotSupported, InvalidField

MODELS = st.sampled_from(
    [
        CLAUDE,
        NOVA,
        "us.anthropic.claude-opus-4-7",
        "mistral.mistral-large-2402-v1:0",
        "openai.gpt-oss-20b-1:0",
        "us.meta.llama3-3-70b-instruct-v1:0",
        "some-model",
    ]
)
WORDS = st.sampled_from(["", " ", "Hello", "Größe\n"])
TEXTS = WORDS.map(Text)
MEDIA = st.sampled_from(
    [
        PNG,
        Media(Modality.DOCUMENT, data=b"%PDF", mime_type="application/pdf", display_name="a/b.pdf"),
        Media(Modality.IMAGE, uri="https://a.example/x.png"),
        Media(Modality.VIDEO, uri="s3://bucket/film.mp4"),
    ]
)
SIGNED = kept(Thinking("Hm"), thinking={"signature": "c2ln", "family": "anthropic"})
CACHED = st.one_of(TEXTS, MEDIA).map(lambda content: Part(content, CacheControl(3600)))
IDS = st.sampled_from(["toolu_1", "call|1", "functions.weather:0", "ä" * 70])
ARGUMENTS = st.sampled_from(["", "{}", '{"a": 1}', '{"a": ', "[1]"])
SERVED = st.just(ToolCall("srv", "search", "{}", server_side=True))
SPOKEN = st.one_of(
    TEXTS, WORDS.map(Refusal), st.just(Thinking("Hm")), st.just(SIGNED), CACHED, SERVED
)


@st.composite
def exchanges(draw):
    """A turn of the user, one of the model, and mostly the results of its calls."""
    asking = draw(st.lists(st.one_of(TEXTS, MEDIA, CACHED), min_size=1, max_size=3))
    ids = draw(st.lists(IDS, max_size=2, unique=True))
    calls = [ToolCall(i, "weather tool", draw(ARGUMENTS)) for i in ids]
    turns = [
        message(Role.USER, *asking),
        message(Role.ASSISTANT, *draw(st.lists(SPOKEN, max_size=3)), *calls),
    ]
    given_back = [
        ToolResult(
            i,
            "weather tool",
            tuple(Part(c) for c in draw(st.lists(TEXTS, max_size=2))),
            draw(st.booleans()),
        )
        for i in (ids if draw(st.integers(0, 5)) else ids[1:])
    ]
    if given_back:
        turns.append(message(Role.TOOL, *given_back))
    return turns


@st.composite
def conversations(draw):
    turns = [turn for some in draw(st.lists(exchanges(), max_size=3)) for turn in some]
    if draw(st.booleans()):
        turns.insert(draw(st.integers(0, len(turns))), message(Role.SYSTEM, "Be brief."))
    turns.append(message(Role.USER, draw(TEXTS)))
    tools = draw(st.sampled_from([(), (FunctionTool("weather"), FunctionTool("json"))]))
    modes = [None, ToolMode.NONE, ToolMode.AUTO, ToolMode.REQUIRED]
    mode = draw(st.sampled_from(modes if tools else modes[:3]))
    choice = ToolChoice(mode, parallel=draw(st.sampled_from([None, False])))
    wanted = draw(st.sampled_from([None, JsonObjectFormat()]))
    return asked(
        *turns, model=draw(MODELS), tools=tools, tool_choice=choice, response_format=wanted
    )


@settings(max_examples=30, deadline=None)
@given(conversations())
def test_a_conversation_is_valid_or_refused(made):
    try:
        sent = body(made)
    except (CapabilityNotSupported, InvalidField):
        return

    assert sent["messages"][0]["role"] == "user"

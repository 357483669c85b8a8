"""What a vendor ran itself is counted by the meter it is charged under, by every dialect."""

import json

import pytest
from anthropic_wire import END as ANTHROPIC_END
from anthropic_wire import decoder as anthropic
from anthropic_wire import read_events as read_anthropic
from anthropic_wire import sse as anthropic_sse
from anthropic_wire import start as anthropic_start
from anthropic_wire import stop as anthropic_stop
from bedrock_answers import HELLO, answer, whole
from bedrock_wire import delta, ended, start, stop
from calls import call
from chunks import TEXT, finish, usage
from chunks import delta as chat_delta
from google_wire import chunk
from hypothesis import given
from hypothesis import strategies as st
from reading import read_chunks
from recordings import sse
from responses_reading import completed, created, done, read_events, read_whole

from llm_service.domain.content import ProviderTool, ProviderToolUse
from llm_service.providers import tool_uses
from llm_service.providers.fold import fold
from llm_service.providers.gemini.decoder import GeminiDecoder
from llm_service.providers.messages.api import MessagesApi
from llm_service.providers.messages.profile import Profile
from llm_service.providers.vendor import Reply


def used(answer) -> dict[str, int]:
    return {use.meter: use.count for use in answer.usage.provider_tool_uses}


@given(st.text(max_size=80))
def test_whatever_a_tool_is_called_its_meter_can_have_a_price(said):
    from llm_service.gateway.admin.rules import _METER

    assert _METER.fullmatch(tool_uses.meter(said))


@pytest.mark.parametrize(
    ("said", "meter"),
    [
        ("web_search_requests", "web-search"),
        ("x_search_calls", "x-search"),
        ("webSearchRequests", "web-search"),
        ("bash_code_execution", "code-execution"),
        ("nova_grounding", "nova-grounding"),
        ("7", "provider-tool"),
        ("", "provider-tool"),
    ],
)
def test_one_tool_has_one_meter_whatever_its_vendor_calls_it(said, meter):
    assert tool_uses.meter(said) == meter


def test_a_number_no_answer_reaches_is_not_believed_and_not_free():
    assert tool_uses.uses({"web-search": 2**31 - 1, "map-search": -1, "x-search": "3"}) == (
        ProviderToolUse("web-search", tool_uses.MOST_USES),
    )


# --- Anthropic ------------------------------------------------------------------------------------

SEARCHED = {"server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1}}
COUNTED = {"input_tokens": 10, "output_tokens": 7}


def ran(name, n=1):
    block = {"type": "server_tool_use", "id": f"srv_{n}", "name": name, "input": {}}
    return [
        {"type": "content_block_start", "index": n, "content_block": block},
        {"type": "content_block_stop", "index": n},
    ]


def test_anthropics_own_counts_are_kept_whole_and_streamed():
    message = {"content": [], "stop_reason": "end_turn", "usage": COUNTED | SEARCHED}
    whole_answer = fold(anthropic().whole(json.dumps(message).encode()))
    streamed = read_anthropic(
        anthropic_start(), anthropic_stop(usage=COUNTED | SEARCHED), ANTHROPIC_END
    )

    assert used(whole_answer) == used(streamed) == {"web-search": 2, "web-fetch": 1}


@pytest.mark.parametrize(
    ("tool", "free"),
    [
        ("web_search_20260209", True),
        ("web_fetch_20260318", True),
        ("web_search_20250305", False),
        ("code_execution_20260521", False),
    ],
)
async def test_code_that_ran_is_counted_unless_a_web_tool_makes_it_free(tool, free):
    asked = call(tools=(ProviderTool(tool), ProviderTool("code_execution_20250825")))
    exchange = MessagesApi(Profile("anthropic")).exchange(asked, stream=True)
    reader = exchange.decoder(Reply("", (), {}, ""))

    events = reader.feed(
        anthropic_sse(
            anthropic_start(),
            *ran("bash_code_execution", 0),
            *ran("code_execution", 1),
            anthropic_stop(usage=COUNTED),
            ANTHROPIC_END,
        )
    )

    assert used(fold(events)) == ({} if free else {"code-execution": 2})


def test_code_that_the_vendor_counts_is_believed():
    usage = COUNTED | {"server_tool_use": {"code_execution_requests": 3}}

    answer = read_anthropic(
        anthropic_start(), *ran("code_execution", 0), anthropic_stop(usage=usage), ANTHROPIC_END
    )

    assert used(answer) == {"code-execution": 3}


# --- OpenAI, xAI ----------------------------------------------------------------------------------

TOKENS = {"input_tokens": 5, "output_tokens": 5, "total_tokens": 10}
ITEMS = [
    {"type": "web_search_call", "id": "ws_1", "action": {"type": "search", "query": "q"}},
    {"type": "web_search_call", "id": "ws_2", "action": {"type": "open_page", "url": "u"}},
    {"type": "file_search_call", "id": "fs_1", "queries": ["q"]},
    {"type": "code_interpreter_call", "id": "ci_1", "code": "1"},
    {"type": "mcp_call", "id": "mcp_1", "name": "f", "arguments": "{}"},
    {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"},
]
CHARGED = {"web-search": 1, "file-search": 1, "code-execution": 1}


def test_items_of_a_response_count_by_their_kind():
    said = {"object": "response", "status": "completed", "output": ITEMS, "usage": TOKENS}
    streamed = read_events(
        created(), *(done(n, **item) for n, item in enumerate(ITEMS)), completed(usage=TOKENS)
    )

    assert used(read_whole(**said)) == used(streamed) == CHARGED


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        ({"tool_usage": {"web_search": {"num_requests": 3}}}, CHARGED | {"web-search": 3}),
        (
            {
                "usage": TOKENS
                | {
                    "server_side_tool_usage_details": {
                        "x_search_calls": 2,
                        "mcp_calls": 1,
                        "code_interpreter_calls": 0,
                    }
                }
            },
            {"x-search": 2},
        ),
    ],
)
def test_what_the_vendor_counts_itself_is_believed_first(beside, expected):
    said = {"object": "response", "status": "completed", "output": ITEMS, "usage": TOKENS}

    assert used(read_whole(**said | beside)) == expected


def test_xais_own_searches_count_where_it_only_shows_them():
    items = [
        {"type": "custom_tool_call", "id": f"x{n}", "call_id": f"c{n}", "name": name, "input": "{}"}
        for n, name in enumerate(["x_keyword_search", "browse_page", "mine"])
    ]
    tools = [{"type": "custom", "name": "mine"}]
    said = {"object": "response", "status": "completed", "output": items, "usage": TOKENS}

    assert used(read_whole(**said, tools=tools)) == {"x-search": 1, "web-search": 1}


# --- Chat Completions -----------------------------------------------------------------------------

CHAT = {"prompt_tokens": 5, "completion_tokens": 5}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"server_tool_use": {"web_search_requests": 4}}, {"web-search": 4}),
        ({"server_side_tool_usage_details": {"web_search_calls": 1, "mcp_calls": 3}},
         {"web-search": 1}),
        ({"num_sources_used": 7}, {"search-source": 7}),
        ({"num_sources_used": 0}, {}),
        ({"num_search_queries": 2}, {"web-search": 2}),
        ({"server_tool_use": []}, {}),
    ],
)  # fmt: skip
def test_chat_vendors_counts_are_kept(said, expected):
    assert used(read_chunks(TEXT, finish(), usage(**CHAT, **said))) == expected


def test_tools_that_groq_ran_count_once_however_often_it_tells_of_them():
    tools = [
        {"index": 0, "type": "search", "arguments": "{}"},
        {"index": 0, "type": "search", "arguments": "{}", "output": "found"},
        {"index": 1, "type": "function", "name": "python", "arguments": "{}"},
    ]

    answer = read_chunks(
        *(chat_delta(executed_tools=[tool]) for tool in tools), finish(), usage(**CHAT)
    )

    assert used(answer) == {"web-search": 1, "code-execution": 1}


def test_a_model_that_always_searches_is_charged_a_search():
    said = json.loads(TEXT) | {"model": "gpt-4o-search-preview-2025-03-11"}

    answer = read_chunks(json.dumps(said).encode(), finish(), usage(**CHAT))

    assert used(answer) == {"web-search": 1}


# --- Google ---------------------------------------------------------------------------------------

GOOGLE = {"promptTokenCount": 5, "candidatesTokenCount": 5}


def grounded(model="gemini-3.8-flash", **metadata):
    reader = GeminiDecoder("google", "", Reply("", (), {}, ""), model=model)
    events = reader.feed(
        sse(
            [
                chunk(
                    {"text": "Hi"},
                    finish="STOP",
                    groundingMetadata=metadata,
                    usageMetadata=GOOGLE,
                )
            ],
            done=False,
        )
    )
    return fold([*events, *reader.end()])


@pytest.mark.parametrize(
    ("model", "searches"),
    [("gemini-3.8-flash", 3), ("gemini-2.5-pro", 1), ("publishers/google/models/gemini-2.0-x", 1)],
)
def test_google_charges_each_search_or_each_prompt_by_generation(model, searches):
    queries = {"webSearchQueries": ["a", "b", ""], "imageSearchQueries": ["c"]}

    assert used(grounded(model, **queries)) == {"web-search": searches}


def test_google_tells_of_places_and_of_sources_without_queries():
    chunks = [{"maps": {"uri": "u"}}, {"maps": {"uri": "v"}}, {"web": {"uri": "w"}}]

    assert used(grounded(groundingChunks=chunks)) == {"map-search": 1, "web-search": 1}
    assert used(grounded()) == {}


# --- Bedrock --------------------------------------------------------------------------------------


def test_bedrocks_own_tools_count_where_it_does_not():
    use = {"toolUseId": "t", "name": "nova_grounding", "type": "server_tool_use"}
    streamed = answer(start(0, toolUse=use), delta(0, toolUse={"input": "{}"}), stop(0), *ended())
    said = whole({"toolUse": use | {"input": {}}})

    assert used(streamed) == used(said) == {"nova-grounding": 1}


def test_bedrocks_counts_are_kept():
    tokens = {"inputTokens": 3, "outputTokens": 2, "serverToolUsage": {"webSearchRequests": 2}}

    assert used(answer(*HELLO, *ended(usage=tokens))) == {"web-search": 2}

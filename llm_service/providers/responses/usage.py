"""Token counts as the Responses API reports them."""

from collections.abc import Iterable
from typing import Any

from llm_service.domain.completion import TokenUsage
from llm_service.domain.content import ProviderToolUse
from llm_service.providers import reported_cost, tool_uses
from llm_service.providers.lenient import MOST_TOKENS, count, mapping, subset, text

# What is charged beside tokens, of the items of an answer. MCP servers, tool searches and what runs
# at the caller cost the tokens alone (developers.openai.com/api/docs/pricing).
_CHARGED = {
    "web_search_call": "web-search",
    "file_search_call": "file-search",
    "code_interpreter_call": "code-execution",
    "image_generation_call": "image-generation",
    "x_search_call": "x-search",
    "document_search_call": "document-search",
}
_FREE = ("mcp",)
# xAI's own names for what two of its tools do (docs.x.ai: tools/overview).
_XAI = {
    "web_search_with_snippets": "web-search",
    "browse_page": "web-search",
    "x_user_search": "x-search",
    "x_keyword_search": "x-search",
    "x_semantic_search": "x-search",
    "x_thread_fetch": "x-search",
    "view_x_video": "x-search",
}


def token_usage(response: dict[str, Any], ran: Iterable[Any]) -> TokenUsage | None:
    """Of an answer, inclusive totals and their subsets; None when nothing believable was said.

    `ran`: the items of the answer that are calls the vendor answered.
    """
    said = response.get("usage")
    if type(said) is not dict:
        return None
    asked, answered = count(said.get("input_tokens")), count(said.get("output_tokens"))
    if asked is None or answered is None:
        return None
    of_input = mapping(said.get("input_tokens_details"))
    of_output = mapping(said.get("output_tokens_details"))
    reasoning = count(of_output.get("reasoning_tokens")) or 0
    if _is_left_out(reasoning, asked, answered, said.get("total_tokens")):
        answered += reasoning
    return TokenUsage(
        input_tokens=asked,
        output_tokens=answered,
        cache_read_input_tokens=subset(asked, of_input.get("cached_tokens")),
        cache_write_input_tokens=subset(asked, of_input.get("cache_write_tokens")),
        reasoning_output_tokens=subset(answered, reasoning),
        provider_tool_uses=_tool_uses(response, said, ran),
        reported_nano_usd=reported_cost.nano_usd(said, b""),
    )


def _tool_uses(
    response: dict[str, Any], usage: dict[str, Any], ran: Iterable[Any]
) -> tuple[ProviderToolUse, ...]:
    """As the vendor counts them (xAI all, OpenAI its searches), else as they are seen here."""
    if type(told := usage.get("server_side_tool_usage_details")) is dict:
        counts = tool_uses.reported(told)
        return tool_uses.uses({name: n for name, n in counts.items() if name not in _FREE})
    counts = tool_uses.seen(filter(None, map(_meter, ran)))
    searches = mapping(mapping(response.get("tool_usage")).get("web_search")).get("num_requests")
    if (told_searches := count(searches)) is not None:
        counts["web-search"] = told_searches
    return tool_uses.uses(counts)


def _meter(item: Any) -> str:  # noqa: ANN401 - as it lies on the wire
    """What the item is charged under; "": nothing, as opening a page that a search found is not."""
    said = mapping(item)
    kind, name = text(said.get("type")), text(said.get("name"))
    if kind == "custom_tool_call":
        return _XAI.get(name) or tool_uses.meter(name)
    opens = text(mapping(said.get("action")).get("type")) not in ("", "search")
    return "" if kind == "web_search_call" and opens else _CHARGED.get(kind, "")


def _is_left_out(reasoning: int, asked: int, answered: int, total: Any) -> bool:  # noqa: ANN401
    """Whether the output lacks the reasoning, as only the total tells."""
    if not reasoning or answered + reasoning > MOST_TOKENS:
        return False
    return reasoning > answered or count(total) == asked + answered + reasoning

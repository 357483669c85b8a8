"""What the Messages API takes: every rule by which it answers 400."""

import re

FIELDS = {
    "cache_control",
    "container",
    "context_management",
    "inference_geo",
    "max_tokens",
    "mcp_servers",
    "messages",
    "metadata",
    "model",
    "output_config",
    "service_tier",
    "speed",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
}
NOT_COUNTED = {"max_tokens", "stop_sequences", "stream", "temperature", "top_p", "top_k"}
ID = re.compile(r"[a-zA-Z0-9_-]+")
NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
SERVER_RESULTS = re.compile(r"\w+_tool_result|server_tool_use|mcp_tool_use|compaction|fallback")
TOOL_FIELDS = {"type", "name", "description", "input_schema", "strict", "cache_control"}


def check_body(body: dict, version: str, *, counting: bool) -> None:
    assert body.keys() <= FIELDS - (NOT_COUNTED if counting else set()), body.keys()
    assert isinstance(body["model"], str)
    assert counting or (isinstance(body["max_tokens"], int) and body["max_tokens"] >= 1)
    for block in body.get("system", ()):
        _check_text(block)
    _check_turns(body["messages"])
    _check_tools(body)
    _check_sampling(body, version)
    _check_thinking(body)
    _check_output(body.get("output_config"))
    assert all(stop.strip() for stop in body.get("stop_sequences", ()))
    assert len(list(_marks(body))) <= 4


def _marks(said):
    """Every `cache_control` anywhere."""
    if isinstance(said, dict):
        if (mark := said.get("cache_control")) is not None:
            assert mark["type"] == "ephemeral"
            assert mark.get("ttl", "5m") in ("5m", "1h")
            assert said.get("type") not in ("thinking", "redacted_thinking")
            yield mark
        for inner in said.values():
            yield from _marks(inner)
    elif isinstance(said, list):
        for inner in said:
            yield from _marks(inner)


def _check_turns(turns: list) -> None:
    assert turns
    used: set[str] = set()
    open_calls: list[str] = []
    for before, turn in zip([None, *turns], turns, strict=False):
        assert turn.keys() == {"role", "content"}
        assert turn["role"] in ("user", "assistant")
        assert before is None or before["role"] != turn["role"]
        assert turn["content"]
        if turn["role"] == "user":
            _check_user(turn["content"], open_calls)
            open_calls = []
        else:
            open_calls = _check_assistant(turn["content"])
            assert not used & set(open_calls), "tool_use ids must be unique"
            used |= set(open_calls)
    assert not open_calls, "tool_use without tool_result"
    last = turns[-1]["content"][-1]
    if turns[-1]["role"] == "assistant" and last["type"] == "text":
        assert last["text"] == last["text"].rstrip()


def _check_user(blocks: list, open_calls: list) -> None:
    kinds = [block["type"] for block in blocks]
    results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
    assert sorted(results) == sorted(open_calls), "results that answer no call"
    assert kinds[: len(results)] == ["tool_result"] * len(results), "results come first"
    for block in blocks:
        if block["type"] == "tool_result":
            assert block.keys() <= {"type", "tool_use_id", "content", "is_error", "cache_control"}
            for inner in block.get("content", ()):
                _check_input(inner)
        else:
            _check_input(block)


def _check_input(block: dict) -> None:
    match block["type"]:
        case "text":
            _check_text(block)
            assert not block.get("citations"), "users cite nothing"
        case "image":
            assert block.keys() <= {"type", "source", "cache_control"}
            _check_source(block["source"], {"base64", "url", "file"})
            if block["source"]["type"] == "base64":
                assert block["source"]["media_type"].startswith("image/")
        case "document":
            assert block.keys() <= {"type", "source", "title", "cache_control"}
            _check_source(block["source"], {"base64", "url", "file", "text"})
        case kind:
            raise AssertionError(f"{kind} is no input")


def _check_source(source: dict, kinds: set) -> None:
    assert source["type"] in kinds
    fields = {
        "base64": {"type", "media_type", "data"},
        "text": {"type", "media_type", "data"},
        "url": {"type", "url"},
        "file": {"type", "file_id"},
    }
    assert source.keys() == fields[source["type"]]


def _check_text(block: dict) -> None:
    assert block.keys() <= {"type", "text", "cache_control", "citations"}
    assert block["type"] == "text"
    assert block["text"].strip(), "text must contain non-whitespace"


def _check_assistant(blocks: list) -> list[str]:
    calls = []
    for block in blocks:
        match block["type"]:
            case "text":
                _check_text(block)
            case "thinking":
                assert block.keys() == {"type", "thinking", "signature"}
                assert block["signature"]
            case "redacted_thinking":
                assert block.keys() == {"type", "data"}
            case "tool_use":
                assert ID.fullmatch(block["id"])
                assert NAME.fullmatch(block["name"])
                assert isinstance(block["input"], dict)
                calls.append(block["id"])
            case kind:
                assert SERVER_RESULTS.fullmatch(kind), kind
    assert len(calls) == len(set(calls))
    return calls


def _check_tools(body: dict) -> None:
    tools = body.get("tools", [])
    names = [tool.get("name") for tool in tools]
    assert len(names) == len(set(names)), "tool names must be unique"
    for tool in tools:
        if "type" not in tool:
            assert tool.keys() <= TOOL_FIELDS
            assert NAME.fullmatch(tool["name"])
            assert tool["input_schema"]["type"] == "object"
    if (choice := body.get("tool_choice")) is not None:
        assert tools
        assert choice["type"] in ("auto", "any", "tool", "none")
        assert choice["type"] != "tool" or choice["name"] in names
        assert choice["type"] != "none" or "disable_parallel_tool_use" not in choice


def _check_sampling(body: dict, version: str) -> None:
    said = {name for name in ("temperature", "top_p", "top_k") if name in body}
    assert not said or version == "2023-06-01", "the API of today takes no sampling parameters"
    assert not {"temperature", "top_p"} <= said
    assert 0 <= body.get("temperature", 1) <= 1


def _check_thinking(body: dict) -> None:
    config = body.get("thinking", {"type": "disabled"})
    kind = config["type"]
    assert kind in ("enabled", "adaptive", "disabled")
    assert config.get("display", "omitted") in ("summarized", "omitted")
    if kind == "disabled":
        return
    if kind == "enabled":
        assert 1024 <= config["budget_tokens"] < body["max_tokens"]
    assert body.get("tool_choice", {}).get("type") not in ("any", "tool")
    assert body.get("temperature", 1) == 1
    assert "top_k" not in body
    assert body.get("top_p", 1) >= 0.95


def _check_output(config: dict | None) -> None:
    if config is None:
        return
    assert config.keys() <= {"effort", "format"}
    assert config.get("effort", "low") in ("low", "medium", "high", "xhigh", "max")
    if "format" in config:
        assert config["format"]["type"] == "json_schema"
        _check_closed(config["format"]["schema"])


def _check_closed(schema) -> None:
    """The API takes objects only when they say that they hold nothing else."""
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            assert schema["additionalProperties"] is False
        for inner in schema.values():
            _check_closed(inner)

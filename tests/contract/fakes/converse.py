"""Bedrock's Converse on the wire: takes what Bedrock takes, says what it is told."""

import hashlib
import hmac
import json
import re
from urllib.parse import quote, unquote

import msgspec
from bedrock_oracle import complaints
from bedrock_wire import EVENT_STREAM, delta, ended, event, start, stop
from vendor_server import Asked, Reply

from fakes.said import Finish, Said, cut, own_tokens

SECRETS = {"AKIDEXAMPLE": "secret/key"}

_PATH = re.compile(r"(?:/[^/]+)?/model/(?P<model>[^/]+)/converse(?P<stream>-stream)?")
_COUNTER = re.compile(r"/model/(?P<model>[^/]+)/count-tokens")
_TURN = 4  # tokens around each turn
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>\w+)/(?P<scope>(?P<day>\d{8})/(?P<region>[a-z0-9-]+)"
    r"/bedrock/aws4_request), SignedHeaders=(?P<names>[a-z0-9;-]+), Signature=(?P<signature>\w{64})"
)
_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_DOCUMENT = re.compile(r"[A-Za-z0-9()\[\]-]+(\s[A-Za-z0-9()\[\]-]+)*")
_FINISH = {
    Finish.STOP: "end_turn",
    Finish.LENGTH: "max_tokens",
    Finish.TOOL_CALLS: "tool_use",
    Finish.CONTENT_FILTER: "content_filtered",
    Finish.REFUSAL: "refusal",
}
_ERRORS = {
    "rate_limit": (429, "ThrottlingException", "Too many requests, please wait."),
    "bad_key": (403, "UnrecognizedClientException", "The security token included is invalid."),
    "no_permission": (403, "AccessDeniedException", "You don't have access to the model."),
    "quota": (400, "ServiceQuotaExceededException", "You have exceeded your quota."),
    "context_length": (400, "ValidationException", "Input is too long for requested model."),
    "overloaded": (503, "ServiceUnavailableException", "Bedrock is unable to process it."),
    "server_error": (500, "InternalServerException", "The system encountered an error."),
    "not_found": (404, "ResourceNotFoundException", "Could not resolve the foundation model."),
    "bad_request": (400, "ValidationException", "The value at temperature is not allowed."),
    "timeout": (408, "ModelTimeoutException", "The model timed out."),
}


def check(asked: Asked) -> None:
    """The request is one Bedrock takes."""
    assert asked.method == "POST"
    path = _PATH.fullmatch(asked.path)
    assert path, asked.path
    assert quote(unquote(path["model"]), safe="-_.~") == path["model"]
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["accept"] == (EVENT_STREAM if path["stream"] else "application/json")
    check_authorization(asked)
    body = asked.json
    operation = "ConverseStream" if path["stream"] else "Converse"
    assert complaints(operation, {"modelId": unquote(path["model"]), **body}) == ""
    tools = [t["toolSpec"]["name"] for t in _tools(body) if "toolSpec" in t]
    assert all(_NAME.fullmatch(name) for name in tools)
    assert len(set(tools)) == len(tools)
    chosen = body.get("toolConfig", {}).get("toolChoice", {}).get("tool")
    assert chosen is None or chosen["name"] in tools
    check_turns(body)


def check_authorization(asked: Asked) -> None:
    """A key as it is, or a signature that the vendor makes of the request just so."""
    said = asked.headers["authorization"]
    if said.startswith("Bearer "):
        return
    found = _AUTHORIZATION.fullmatch(said)
    assert found, said
    names = found["names"].split(";")
    assert {"content-type", "host", "x-amz-date"} <= set(names)
    assert asked.headers["x-amz-date"].startswith(found["day"])
    path, _, query = asked.path.partition("?")
    canonical = [asked.method, quote(path, safe="/~"), "&".join(sorted(query.split("&")))]
    canonical += [f"{name}:{' '.join(asked.headers[name].split())}" for name in names]
    canonical += ["", found["names"], hashlib.sha256(asked.body).hexdigest()]
    digest = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
    signed = "\n".join(["AWS4-HMAC-SHA256", asked.headers["x-amz-date"], found["scope"], digest])
    key = b"AWS4" + SECRETS[found["key"]].encode()
    for word in found["scope"].split("/"):
        key = hmac.digest(key, word.encode(), "sha256")
    assert hmac.digest(key, signed.encode(), "sha256").hex() == found["signature"]


def check_turns(body: dict) -> None:
    """Two speakers in turn, who say something; every call is answered at once."""
    turns = body["messages"]
    assert [turn["role"] for turn in turns] == [
        ("user", "assistant")[number % 2] for number in range(len(turns))
    ]
    open_calls: set[str] = set()
    documents: list[str] = []
    for turn in turns:
        blocks = turn["content"]
        assert blocks
        assert all(block["text"].strip() for block in blocks if "text" in block)
        results = [block["toolResult"]["toolUseId"] for block in blocks if "toolResult" in block]
        if turn["role"] == "user":
            assert set(results) == open_calls
            assert len(set(results)) == len(results)
            _check_user(blocks, documents)
        open_calls = _check_calls(blocks) if turn["role"] == "assistant" else set()
        assert "cachePoint" not in blocks[0]
    assert not open_calls
    has_tools = any("toolUse" in b or "toolResult" in b for turn in turns for b in turn["content"])
    assert not has_tools or body["toolConfig"]["tools"]
    assert len(set(documents)) == len(documents)


def _check_user(blocks: list, documents: list[str]) -> None:
    assert not any("reasoningContent" in block or "toolUse" in block for block in blocks)
    named = [block["document"]["name"] for block in blocks if "document" in block]
    assert not named or any("text" in block for block in blocks)
    assert all(_DOCUMENT.fullmatch(name) for name in named)
    documents += named
    for result in (block["toolResult"] for block in blocks if "toolResult" in block):
        assert result["content"] or "status" not in result


def _check_calls(blocks: list) -> set[str]:
    calls = [block["toolUse"] for block in blocks if "toolUse" in block]
    assert all(_ID.fullmatch(use["toolUseId"]) and _NAME.fullmatch(use["name"]) for use in calls)
    assert all(type(use["input"]) is dict for use in calls)
    ids = [use["toolUseId"] for use in calls if use.get("type") != "server_tool_use"]
    assert len(set(ids)) == len(ids)
    return set(ids)


def answer(said: Said, asked: Asked) -> Reply:
    """The answer of Converse."""
    tool = _json_tool(said, asked)
    blocks: list = []
    if said.thinking:
        signed = {"signature": said.signature} if said.signature else {}
        blocks.append({"reasoningContent": {"reasoningText": {"text": said.thinking} | signed}})
    text = said.text or said.refusal
    if text:
        blocks.append({"text": text} if not tool else _use("tooluse_json", tool, text))
    blocks += [_use(call.id, call.name, call.arguments) for call in said.calls]
    body = {
        "metrics": {"latencyMs": 12},
        "output": {"message": {"content": blocks, "role": "assistant"}},
        "stopReason": _reason(said, tool),
        "usage": _usage(said),
    }
    return Reply(200, {"x-amzn-requestid": "req-1"}, [msgspec.json.encode(body)])


def stream(said: Said, asked: Asked) -> Reply:
    """The messages of ConverseStream, one a piece."""
    tool = _json_tool(said, asked)
    text = said.text or said.refusal
    pieces = [event("messageStart", {"role": "assistant"})]
    index = 0
    if said.thinking:
        thoughts = cut(said.thinking, 3)
        pieces += [delta(index, reasoningContent={"text": piece}) for piece in thoughts]
        if said.signature:
            pieces.append(delta(index, reasoningContent={"signature": said.signature}))
        pieces.append(stop(index))
        index += 1
    if text and tool:
        pieces += _called(index, "tooluse_json", tool, text)
        index += 1
    elif text:
        pieces += [delta(index, text=piece) for piece in cut(text, said.pieces)] + [stop(index)]
        index += 1
    for number, call in enumerate(said.calls, index):
        pieces += _called(number, call.id, call.name, call.arguments)
    pieces += ended(_reason(said, tool), _usage(said), metrics={"latencyMs": 12})
    return Reply(200, {"content-type": EVENT_STREAM, "x-amzn-requestid": "req-1"}, pieces)


def told(asked: Asked, made: int) -> Reply | None:
    """The count of what it is asked to count, of nothing it has made."""
    if not (path := _COUNTER.fullmatch(asked.path)):
        return None
    check_authorization(asked)
    body = asked.json
    assert complaints("CountTokens", {"modelId": unquote(path["model"]), **body}) == ""
    turns = body["input"]["converse"]["messages"]
    check_turns(body["input"]["converse"])
    texts = [block["text"] for turn in turns for block in turn["content"]]
    tokens = sum(_TURN + own_tokens(text) for text in texts)
    return Reply(200, {}, [json.dumps({"inputTokens": tokens}).encode()])


def error(name: str) -> Reply:
    status, kind, message = _ERRORS[name]
    headers = {"x-amzn-errortype": f"{kind}:http://internal.amazon.com/coral/com.amazon.bedrock/"}
    return Reply(status, headers, [json.dumps({"message": message}).encode()])


def _tools(body: dict) -> list:
    return body.get("toolConfig", {}).get("tools", [])


def _json_tool(said: Said, asked: Asked) -> str:
    """The tool by which a text has to be said; "" if any text will do."""
    choice = asked.json.get("toolConfig", {}).get("toolChoice", {})
    specs = [tool["toolSpec"] for tool in _tools(asked.json) if "toolSpec" in tool]
    made = [s["name"] for s in specs if s.get("description") == "Respond with a JSON object."]
    return made[0] if made and choice.keys() & {"tool", "any"} and not said.calls else ""


def _use(call_id: str, name: str, arguments: str) -> dict:
    raw = msgspec.Raw(arguments.encode())
    return {"toolUse": {"toolUseId": call_id, "name": name, "input": raw}}


def _called(index: int, call_id: str, name: str, arguments: str) -> list[bytes]:
    grown = [delta(index, toolUse={"input": piece}) for piece in cut(arguments, 3)]
    return [start(index, toolUse={"toolUseId": call_id, "name": name}), *grown, stop(index)]


def _reason(said: Said, tool: str) -> str:
    return "tool_use" if tool and said.text else _FINISH[said.finish]


def _usage(said: Said) -> dict:
    tokens = said.tokens
    fresh = tokens.input - tokens.cache_read - tokens.cache_write
    return {
        "inputTokens": fresh,
        "outputTokens": tokens.output,
        "totalTokens": tokens.input + tokens.output,
        "cacheReadInputTokens": tokens.cache_read,
        "cacheWriteInputTokens": tokens.cache_write,
        "serverToolUsage": {},
    }

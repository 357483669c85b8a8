"""Google's generateContent as it is on the wire, behind either door."""

import base64
import json
import re

from vendor_server import Asked, Reply

from fakes.said import Call, Finish, Said, cut

_PATHS = (
    re.compile(r"/v1(?:beta)?/(?:tuned)?[mM]odels/[^/:]+:(\w+)(\?alt=sse)?"),
    re.compile(
        r"/v1/projects/[^/]+/locations/[^/]+/publishers/[^/]+/models/[^/:]+:(\w+)(\?alt=sse)?"
    ),
)
_METHODS = {"generateContent": None, "streamGenerateContent": "?alt=sse"}
_FIELDS = {
    "cachedContent",
    "contents",
    "continuationToken",
    "generationConfig",
    "labels",
    "safetySettings",
    "serviceTier",
    "store",
    "systemInstruction",
    "toolConfig",
    "tools",
}
_CONFIG = {
    "audioTimestamp": bool,
    "candidateCount": int,
    "frequencyPenalty": (int, float),
    "imageConfig": dict,
    "logprobs": int,
    "maxOutputTokens": int,
    "mediaResolution": str,
    "presencePenalty": (int, float),
    "responseJsonSchema": dict,
    "responseLogprobs": bool,
    "responseMimeType": str,
    "responseModalities": list,
    "responseSchema": dict,
    "seed": int,
    "speechConfig": dict,
    "stopSequences": list,
    "temperature": (int, float),
    "thinkingConfig": dict,
    "topK": (int, float),
    "topP": (int, float),
}
_PART_KINDS = {
    "codeExecutionResult",
    "executableCode",
    "fileData",
    "functionCall",
    "functionResponse",
    "inlineData",
    "text",
    "toolCall",
    "toolResponse",
}
_BESIDE = {"mediaResolution", "partMetadata", "thought", "thoughtSignature", "videoMetadata"}
_TOOLS = {
    "codeExecution",
    "computerUse",
    "enterpriseWebSearch",
    "exaAiSearch",
    "fileSearch",
    "functionDeclarations",
    "googleMaps",
    "googleSearch",
    "googleSearchRetrieval",
    "mcpServers",
    "parallelAiSearch",
    "retrieval",
    "urlContext",
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
_LEVELS = {"MINIMAL", "LOW", "MEDIUM", "HIGH"}
_FINISH = {
    Finish.STOP: "STOP",
    Finish.TOOL_CALLS: "STOP",
    Finish.LENGTH: "MAX_TOKENS",
    Finish.CONTENT_FILTER: "SAFETY",
    Finish.REFUSAL: "STOP",
}
_JSON = {"content-type": "application/json; charset=UTF-8"}
_SSE = {"content-type": "text/event-stream"}


def check(asked: Asked) -> None:
    """The request is one that Google takes."""
    assert asked.method == "POST"
    match = next((found for path in _PATHS if (found := path.fullmatch(asked.path))), None)
    assert match is not None, asked.path
    assert match[1] in _METHODS, asked.path
    assert match[2] == _METHODS[match[1]], asked.path
    headers = asked.headers
    assert headers["content-type"] == "application/json"
    assert headers.get("x-goog-api-key") or headers["authorization"].startswith("Bearer ")
    body = asked.json
    assert type(body) is dict
    assert set(body) <= _FIELDS, set(body) - _FIELDS
    _check_contents(body["contents"])
    if "systemInstruction" in body:
        _check_instruction(body["systemInstruction"])
    _check_config(body.get("generationConfig", {}))
    _check_tools(body.get("tools", []), body.get("toolConfig", {}))


def _check_instruction(said) -> None:
    assert set(said) <= {"parts", "role"}
    assert said["parts"]
    for part in said["parts"]:
        assert set(part) == {"text"}
        assert part["text"]


def _check_contents(contents) -> None:
    assert type(contents) is list
    assert contents
    open_calls: list[dict] = []
    for number, content in enumerate(contents):
        assert set(content) == {"role", "parts"}
        assert content["role"] in ("user", "model")
        assert content["parts"]
        for part in content["parts"]:
            _check_part(part, content["role"])
        calls = [part["functionCall"] for part in content["parts"] if "functionCall" in part]
        answers = [
            part["functionResponse"] for part in content["parts"] if "functionResponse" in part
        ]
        _check_pairs(open_calls, answers)
        if calls:
            assert number > 0, "a call comes after a turn of the user"
            assert contents[number - 1]["role"] == "user"
        open_calls = calls


def _check_pairs(calls, answers) -> None:
    assert [call["name"] for call in calls] == [answer["name"] for answer in answers]
    for call, answer in zip(calls, answers, strict=True):
        assert call.get("id") == answer.get("id")


def _check_part(part, role: str) -> None:
    (kind,) = set(part) & _PART_KINDS
    assert set(part) - {kind} <= _BESIDE, part
    if "thoughtSignature" in part:
        assert role == "model"
        assert re.fullmatch(r"[A-Za-z0-9+/_=-]+", part["thoughtSignature"])
    if part.get("thought"):
        assert role == "model"
    said = part[kind]
    match kind:
        case "text":
            assert type(said) is str
            assert said or "thoughtSignature" in part, "an empty text"
        case "inlineData":
            _check_blob(said)
        case "fileData":
            assert set(said) <= {"fileUri", "mimeType", "displayName"}
            assert said["fileUri"].startswith(("https://", "http://", "gs://"))
        case "functionCall":
            assert role == "model"
            assert set(said) <= {"name", "args", "id"}
            assert type(said["name"]) is str
            assert type(said["args"]) is dict
        case "functionResponse":
            _check_response(said, role)


def _check_blob(said) -> None:
    assert set(said) <= {"mimeType", "data", "displayName"}
    assert re.fullmatch(r"[\w.+-]+/[\w.+-]+(;.*)?", said["mimeType"]), said["mimeType"]
    base64.b64decode(said["data"], validate=True)


def _check_response(said, role: str) -> None:
    assert role == "user"
    assert set(said) <= {"name", "response", "id", "parts"}
    assert type(said["name"]) is str
    assert type(said["response"]) is dict
    for part in said.get("parts", ()):
        (kind,) = part
        assert kind in ("inlineData", "fileData")
        if kind == "inlineData":
            _check_blob(part[kind])


def _check_config(config) -> None:
    for name, value in config.items():
        assert isinstance(value, _CONFIG[name]), name
    assert config.get("candidateCount", 1) == 1
    assert ("logprobs" not in config) or config["responseLogprobs"]
    if "responseJsonSchema" in config:
        assert config["responseMimeType"] == "application/json"
    thinking = config.get("thinkingConfig", {})
    assert set(thinking) <= {"includeThoughts", "thinkingBudget", "thinkingLevel"}
    assert not {"thinkingBudget", "thinkingLevel"} <= set(thinking), "one or the other"
    assert thinking.get("thinkingLevel", "LOW") in _LEVELS
    assert type(thinking.get("thinkingBudget", 0)) is int


def _check_tools(tools, config) -> None:
    declared = []
    for tool in tools:
        (kind,) = tool
        assert kind in _TOOLS
        if kind == "functionDeclarations":
            declared += [_declared(function) for function in tool[kind]]
        else:
            assert type(tool[kind]) is (list if kind == "mcpServers" else dict)
    assert len(declared) == len(set(declared))
    assert set(config) <= {
        "functionCallingConfig",
        "includeServerSideToolInvocations",
        "retrievalConfig",
    }
    calling = config.get("functionCallingConfig")
    if calling is not None:
        assert declared
        assert calling["mode"] in ("AUTO", "ANY", "NONE", "VALIDATED")
        names = calling.get("allowedFunctionNames", [])
        assert not names or calling["mode"] in ("ANY", "VALIDATED")
        assert set(names) <= set(declared)


def _declared(function) -> str:
    assert set(function) <= {"name", "description", "parametersJsonSchema", "parameters"}
    assert _NAME.fullmatch(function["name"])
    assert type(function.get("parametersJsonSchema", {})) is dict
    return function["name"]


def answer(said: Said, asked: Asked) -> Reply:
    """The answer whole, printed as Google prints it."""
    parts = [part for piece in _pieces(said, streamed=False) for part in piece]
    body = _chunk(said, parts, last=True)
    return Reply(200, _JSON, [json.dumps(body, indent=2, ensure_ascii=False).encode()])


def stream(said: Said, asked: Asked) -> Reply:
    """The answer in events."""
    chunks = [
        _chunk(said, parts, last=False, so_far=number)
        for number, parts in enumerate(_pieces(said, streamed=True), 1)
    ]
    chunks.append(_chunk(said, [], last=True))
    return Reply(200, _SSE, [_event(chunk) for chunk in chunks])


def _event(chunk) -> bytes:
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\r\n\r\n"


def _pieces(said: Said, *, streamed: bool) -> list[list[dict]]:
    """The parts of each event."""
    count = said.pieces if streamed else 1
    thoughts = cut(said.thinking, count) if said.thinking else []
    text = said.text or said.refusal
    events = [[{"text": piece, "thought": True}] for piece in thoughts]
    events += [[{"text": piece}] for piece in (cut(text, count) if text else [])]
    calls = [{"functionCall": _call(call)} for call in said.calls]
    if calls:
        events.append(calls)
    if said.signature:
        if calls:
            calls[0] |= {"thoughtSignature": said.signature}
        elif events:
            events.append([{"text": "", "thoughtSignature": said.signature}])
    return events


def _call(call: Call) -> dict:
    args = {"args": json.loads(call.arguments)} if call.arguments else {}
    return {"name": call.name, **args, "id": call.id}


def _chunk(said: Said, parts: list[dict], *, last: bool, so_far: int = 1) -> dict:
    candidate: dict = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if last:
        candidate["finishReason"] = _FINISH[said.finish]
        if said.finish is Finish.CONTENT_FILTER:
            candidate["safetyRatings"] = [
                {"category": "HARM_CATEGORY_HARASSMENT", "probability": "HIGH", "blocked": True}
            ]
    return {
        "candidates": [candidate],
        "usageMetadata": _usage(said, last=last, so_far=so_far),
        "modelVersion": said.model,
        "responseId": "response-1",
    }


def _usage(said: Said, *, last: bool, so_far: int) -> dict:
    """`so_far`: pieces, which are tokens if there is one a token, else as good as any count."""
    tokens = said.tokens
    counts = {
        "promptTokenCount": tokens.input,
        "candidatesTokenCount": tokens.output - tokens.reasoning if last else so_far,
        "totalTokenCount": tokens.input + (tokens.output if last else so_far + tokens.reasoning),
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens.input}],
    }
    if tokens.cache_read:
        counts["cachedContentTokenCount"] = tokens.cache_read
    if tokens.reasoning:
        counts["thoughtsTokenCount"] = tokens.reasoning
    return counts


_ERRORS: dict[str, tuple[int, str, str, list]] = {
    "rate_limit": (
        429,
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota. Please retry in 12.5s.",
        [
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [
                    {"quotaId": "GenerateRequestsPerMinutePerProjectPerModel", "quotaValue": "10"}
                ],
            },
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "12.5s"},
        ],
    ),
    "quota": (
        429,
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota, please check your plan and billing details.",
        [
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}],
            }
        ],
    ),
    "bad_key": (
        400,
        "INVALID_ARGUMENT",
        "API key not valid. Please pass a valid API key.",
        [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "API_KEY_INVALID",
                "domain": "googleapis.com",
            }
        ],
    ),
    "no_permission": (403, "PERMISSION_DENIED", "The caller does not have permission", []),
    "context_length": (
        400,
        "INVALID_ARGUMENT",
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        [],
    ),
    "overloaded": (503, "UNAVAILABLE", "The model is overloaded. Please try again later.", []),
    "server_error": (500, "INTERNAL", "An internal error has occurred.", []),
    "not_found": (404, "NOT_FOUND", "models/x is not found for API version v1beta.", []),
    "bad_request": (400, "INVALID_ARGUMENT", "Invalid JSON payload received.", []),
    "timeout": (504, "DEADLINE_EXCEEDED", "Deadline expired before operation completed.", []),
}


def error(name: str) -> Reply | None:
    """Google's error for what went wrong."""
    if name not in _ERRORS:
        return None
    return Reply(_ERRORS[name][0], _JSON, [json.dumps(status(name), indent=2).encode()])


def status(name: str) -> dict:
    """The body of an error, as it also comes inside a stream."""
    code, word, message, details = _ERRORS[name]
    return {"error": {"code": code, "message": message, "status": word, "details": details}}

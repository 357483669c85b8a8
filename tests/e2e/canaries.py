"""Made-up secrets, every form they could leak in, and calls that put them at risk."""

import base64
import json
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

import grpc

from llm_service.rpc.stubs import completion_service_pb2 as pb
from llm_service.rpc.stubs import provider_admin_service_pb2 as admin_pb
from llm_service.rpc.stubs import provider_pb2
from llm_service.rpc.stubs import usage_service_pb2 as usage_pb
from tests.contract.recordings import sse
from tests.contract.vendor_server import Reply
from tests.e2e.service import asking

KEY = "sk-canary+vw7Qx2Lk9Zr4Tb6Nc8Md1Fg3"
PROMPT = "prompt canary/8Hj5Kp2Ws9Vy4Bq7"
ANSWER = "answer canary/3Rt6Xn1Lz8Gd5Cf2"
WORDS = "vendor canary/7Ub4Em9Qo2Ik6Sa1"
SECRETS = {"key": KEY, "prompt": PROMPT, "answer": ANSWER, "vendor's words": WORDS}
MARKER = "marker-of-no-secret"
"""The id of a provider: what a scan must be able to find."""

MODEL = f"providers/{MARKER}/models/m"
SSE = {"content-type": "text/event-stream"}


def forms(secret: str) -> set[bytes]:
    """The secret as it is, in hexadecimal, URL-quoted, and in base64 wherever it starts."""
    raw = secret.encode()
    found = {
        raw,
        raw.hex().encode(),
        raw.hex().upper().encode(),
        quote(secret, safe="").encode(),
        quote_plus(secret, safe="").encode(),
        json.dumps(secret)[1:-1].encode(),
    }
    for before in range(3):  # only the middle of a base64 text is free of its neighbours
        whole = base64.b64encode(b"\0" * before + raw)
        middle = whole[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
        found |= {middle, middle.replace(b"+", b"-").replace(b"/", b"_")}
    return found


def leaks(text: str | bytes) -> list[str]:
    """Which secrets are in a text, whole or all but their beginning and end."""
    haystack = text.encode(errors="surrogateescape") if isinstance(text, str) else text
    return [
        name
        for name, secret in SECRETS.items()
        if any(form in haystack for part in (secret, secret[8:-4]) for form in forms(part))
    ]


def piece(text: str) -> bytes:
    return json.dumps({"id": "c", "choices": [{"index": 0, "delta": {"content": text}}]}).encode()


def spoken(status: int, **error: str) -> Reply:
    """A vendor's refusal that quotes the key and the prompt."""
    words = f"{WORDS}: key {KEY} asked {PROMPT}"
    body = {"error": {"message": words, "type": "t", "code": "c", "param": words, **error}}
    return Reply(status, {"x-request-id": "r-1"}, [json.dumps(body).encode()])


WHOLE = json.dumps(
    {
        "id": "c",
        "model": "m",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": ANSWER},
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
).encode()
END = json.dumps({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
BAD_JSON = b'data: {"choices": "' + f"{WORDS} {KEY} {PROMPT}".encode() + b"\n\n"
IN_STREAM = sse([json.dumps({"error": {"message": f"{WORDS} {KEY}", "code": KEY}}).encode()])

COMPLETE = {
    "success": Reply(200, {}, [WHOLE]),
    "key refused": spoken(401, code="invalid_api_key"),
    "key as a code": spoken(403, code=KEY, type=PROMPT),
    "bad request": spoken(400, type="invalid_request_error"),
    "filtered": spoken(400, code="content_filter"),
    "rate": spoken(429),
    "broken": spoken(500),
    "no JSON": Reply(200, {}, [f"{WORDS} {KEY} {PROMPT}".encode()]),
    "other JSON": Reply(200, {}, [json.dumps({"choices": [{"message": KEY}]}).encode()]),
    "moved": Reply(302, {"location": f"http://127.0.0.1/{KEY}"}, [WORDS.encode()]),
}
STREAM = {
    **{name: reply for name, reply in COMPLETE.items() if name not in ("success", "other JSON")},
    "success": Reply(200, SSE, [sse([piece(ANSWER), END.encode()])]),
    "malformed": Reply(200, SSE, [sse([piece(ANSWER)], done=False), BAD_JSON]),
    "malformed at once": Reply(200, SSE, [BAD_JSON]),
    "error within": Reply(200, SSE, [sse([piece(ANSWER)], done=False), IN_STREAM]),
    "cut": Reply(200, SSE, [sse([piece(ANSWER)], done=False)], cut=True),
    "cut at once": Reply(200, SSE, [], cut=True),
}


class Exercise:
    """Calls that carry the secrets, and everything but the answers that came back."""

    def __init__(self, service, vendor) -> None:
        self.service = service
        self.vendor = vendor
        self.told: list[str] = []
        self.codes: set[str] = set()

    async def everything(self) -> None:
        await self.completions()
        await self.cancelled()
        await self.administration()
        await self.reports()

    async def provider(self) -> None:
        created = await self.service.add_provider(MARKER, self.vendor.base_uri, key=KEY)
        self.hear(created)

    async def completions(self) -> None:
        request = asking(MODEL, PROMPT, routing={"disable_fallback": True})
        for reply in COMPLETE.values():
            self.vendor.replies.append(reply)
            await self.call(self.service.completions.Complete(request, timeout=30))
        for reply in STREAM.values():
            self.vendor.replies.append(reply)
            await self.drain(self.service.completions.StreamComplete(request, timeout=30))
        bad = asking(MODEL, PROMPT, params={"temperature": 9})
        bad.provider_options_json["openai"] = PROMPT
        await self.call(self.service.completions.Complete(bad))

    async def cancelled(self) -> None:
        """Leave a stream after its first content."""
        call = await self.held()
        call.cancel()
        await self.vendor.hung_up.wait()

    async def held(self):
        """A stream that stands still in the middle of an answer."""
        self.vendor.replies.append(Reply(200, SSE, [sse([piece(ANSWER)], done=False)], held=True))
        self.vendor.hung_up.clear()
        call = self.service.completions.StreamComplete(asking(MODEL, PROMPT), timeout=30)
        async for event in call:
            if event.HasField("part_delta"):
                break
        return call

    async def administration(self) -> None:
        admin, name = self.service.admin, f"providers/{MARKER}"
        for reply in (spoken(401), spoken(500), COMPLETE["no JSON"]):
            self.vendor.replies.append(reply)
            await self.call(admin.CheckProvider(admin_pb.CheckProviderRequest(name=name)))
            self.vendor.replies.append(reply)
            await self.call(admin.SyncModels(admin_pb.SyncModelsRequest(name=name)))
        await self.call(admin.GetProvider(admin_pb.GetProviderRequest(name=name)))
        await self.call(admin.ListProviders(admin_pb.ListProvidersRequest()))
        await self.call(admin.ListCredentials(admin_pb.ListCredentialsRequest(parent=name)))
        for kind, key in (("openai-compatible", KEY), ("none", KEY), ("openai", KEY + "\n")):
            wrong = admin_pb.CreateProviderRequest(
                provider_id=MARKER,
                provider=provider_pb2.Provider(kind=kind, base_uri=self.vendor.base_uri),
                credential=provider_pb2.Credential(api_key=key),
            )
            await self.call(admin.CreateProvider(wrong))

    async def reports(self) -> None:
        everything = usage_pb.ListUsageRecordsRequest(parent="tenants/default", page_size=1000)
        await self.call(self.service.usage.ListUsageRecords(everything))

    async def call(self, call) -> None:
        """A call whose answer, unless it is a completion, must hold no secret."""
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            self.hear_failure(error)
        else:
            self.hear_metadata(await call.initial_metadata(), await call.trailing_metadata())
            if isinstance(answer, pb.CompleteResponse):
                answer.completion.ClearField("message")
            self.hear(answer)

    async def drain(self, call) -> None:
        try:
            async for event in call:
                if not event.HasField("part_delta"):
                    self.hear(event)
        except grpc.aio.AioRpcError as error:
            self.hear_failure(error)
        else:
            self.hear_metadata(await call.initial_metadata(), await call.trailing_metadata())

    def hear(self, message) -> None:
        self.told += [str(message), message.SerializeToString().decode("latin-1")]

    def hear_failure(self, error: grpc.aio.AioRpcError) -> None:
        self.codes.add(error.code().name)
        self.told += [repr(error), str(error.details()), str(error.debug_error_string())]
        self.hear_metadata(error.initial_metadata(), error.trailing_metadata())

    def hear_metadata(self, *metadata) -> None:
        self.told += [text for each in metadata for text in readable(each)]


def readable(metadata) -> Iterator[str]:
    for key, value in metadata:
        yield f"{key}: {value.decode('latin-1') if isinstance(value, bytes) else value}"

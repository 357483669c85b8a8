"""An account with a vendor over HTTP: how a call goes out and how its answer comes back."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from typing import Protocol

from llm_service import errors
from llm_service.domain.completion import ContentFilter, FinishReason, Warning
from llm_service.domain.provider import Model
from llm_service.domain.value import value
from llm_service.providers.base import (
    Accepted,
    AdapterEvent,
    Answer,
    BrokenOff,
    Call,
    Deadlines,
    Embeddings,
    EmbeddingsCall,
    Ended,
    Inquiry,
    TokenCount,
)
from llm_service.providers.egress import Egress, Endpoint, Response
from llm_service.providers.fold import fold

Headers = Sequence[tuple[str, str]]

JSON: Headers = (("accept", "application/json"), ("content-type", "application/json"))
EVENT_STREAM: Headers = (("accept", "text/event-stream"), ("content-type", "application/json"))

_ERROR_BODY_BYTES = 64 * 1024
_DRAIN_SECONDS = 0.05
_ID_LENGTH = 128
_REQUEST_IDS = (
    "x-generation-id",  # OpenRouter's, which it can be asked about
    "x-request-id",
    "request-id",
    "apim-request-id",
    "x-ms-request-id",
    "x-amzn-requestid",
    "x-amz-request-id",
    "x-goog-request-id",
)


class Decoder(Protocol):
    """Reads one answer: a stream through `feed` and `end`, a whole one through `whole`.

    Attributes:
        done: the vendor ended the answer; `Ended` has been returned.
        failure: what went wrong, to be raised once the events before it are delivered.
    """

    done: bool
    failure: errors.GatewayError | None

    @property
    def has_content(self) -> bool:
        """A part has started."""
        ...

    def feed(self, data: bytes) -> list[AdapterEvent]:
        """The events of what has arrived."""
        ...

    def end(self) -> list[AdapterEvent]:
        """The events of the end of the bytes: `Ended` if the answer is whole, else a failure."""
        ...

    def whole(self, data: bytes) -> list[AdapterEvent]:
        """The events of an answer that came in one piece; raises its failure."""
        ...


@value
class Reply:
    """What a decoder is told of the response it reads.

    `request_id` "": the vendor gave none. `headers` have lower-case names. `hide` is the secret: a
    vendor's error code that holds it is not passed on.
    """

    request_id: str
    warnings: tuple[Warning, ...]
    headers: Mapping[str, str]
    hide: str = field(repr=False)


@value
class Exchange:
    """One call in the words of an API: the request, and how to read what comes back.

    `path` is below the endpoint's; `endpoint` None: the account's.
    """

    path: str
    body: bytes = field(repr=False)
    decoder: Callable[[Reply], Decoder]
    warnings: tuple[Warning, ...] = ()
    headers: Headers = JSON
    endpoint: Endpoint | None = None


@value
class Outgoing:
    """An HTTP request, but for who makes it. `path` is below the endpoint's."""

    method: str
    endpoint: Endpoint
    path: str
    headers: Headers
    body: bytes = field(repr=False)


class Authenticator(Protocol):
    """Says who calls."""

    async def headers(self, outgoing: Outgoing, by: float) -> Headers:
        """The headers to add to a request, by `loop.time()` of `by`.

        Raises:
            ProviderCredentialMissing: the kind needs a credential and there is none.
            GatewayError: it had to be fetched, and could not be.
        """
        ...


class Ask(Protocol):
    """Makes one request of the account and returns its whole body; raises what went wrong.

    `noted` is filled with the headers of the response, by their lower-case names.
    """

    def __call__(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: Headers = JSON,
        endpoint: Endpoint | None = None,
        noted: dict[str, str] | None = None,
    ) -> Awaitable[bytes]: ...


Inquire = Callable[[Call, BrokenOff, Ask], Inquiry | None]
"""How a vendor is asked what an answer that broke off used; as `Adapter.inquiry`."""


class Api(Protocol):
    """A vendor's API, without its connection: requests are made and answers read here."""

    def exchange(self, call: Call, *, stream: bool) -> Exchange:
        """The call in the API's words.

        Raises:
            CapabilityNotSupported: the request holds what the API or the model has no place for.
            InvalidField: a schema or the options are not JSON, or a name refers to nothing.
        """
        ...

    def refusal(
        self, status: int, headers: Mapping[str, str], body: bytes, hide: str
    ) -> errors.GatewayError | ContentFilter:
        """What a response other than a success means; a filter that struck is a result."""
        ...

    async def count_tokens(self, call: Call, ask: Ask) -> TokenCount: ...

    async def embed(self, call: EmbeddingsCall, ask: Ask) -> Embeddings: ...

    async def models(self, ask: Ask) -> tuple[Model, ...]: ...


class FixedHeaders:
    """Authentication by headers that never change.

    `missing` is what to say when a credential is needed and there is none; "": none is needed.
    """

    def __init__(self, headers: Headers, missing: str = "") -> None:
        self._headers = tuple(headers)
        self._missing = missing

    async def headers(self, outgoing: Outgoing, by: float) -> Headers:  # noqa: ARG002 - not signed
        if self._missing:
            raise errors.ProviderCredentialMissing(self._missing)
        return self._headers


class VendorAdapter:
    """An `Adapter` of any API: sends exchanges through the egress client, reads the answers."""

    def __init__(
        self,
        api: Api,
        endpoint: Endpoint,
        egress: Egress,
        authenticator: Authenticator,
        secret: str = "",
        inquire: Inquire | None = None,
    ) -> None:
        """Keep what every call needs; nothing is dialled.

        Args:
            api: the API the account is used by.
            endpoint: what the API's paths are below.
            egress: the client, shared with every other adapter and not closed here.
            authenticator: makes each request the account's.
            secret: must never come back in an error.
            inquire: how to ask what an answer that broke off used; None: the vendor cannot say.
        """
        self._api = api
        self._endpoint = endpoint
        self._egress = egress
        self._authenticator = authenticator
        self._secret = secret
        self._inquire = inquire

    async def complete(self, call: Call) -> Answer:
        """Answer whole; a struck content filter is an answer without parts."""
        start = _now()
        exchange = self._api.exchange(call, stream=False)
        by = start + call.deadlines.total
        response = await self._send_exchange(exchange, call, by)
        try:
            if not _is_success(response):
                struck = await self._struck(response, by)
                return fold(_filtered_events(struck, response, exchange.warnings))
            decoder = exchange.decoder(self._reply(response, exchange))
            return fold(decoder.whole(await response.read(by=by)))
        finally:
            response.close()

    async def stream(self, call: Call) -> AsyncGenerator[Sequence[AdapterEvent]]:
        """Answer piece by piece; see `Adapter.stream`."""
        start = _now()
        limits = call.deadlines
        exchange = self._api.exchange(call, stream=True)
        by = start + min(limits.first_token, limits.total)
        response = await self._send_exchange(exchange, call, by)
        try:
            if not _is_success(response):
                struck = await self._struck(response, by)
                yield _filtered_events(struck, response, exchange.warnings)
                return
            decoder = exchange.decoder(self._reply(response, exchange))
            if _is_json(response):
                yield decoder.whole(await response.read(by=start + limits.total))
                return
            # A stream waits for most of its life: meanwhile it keeps neither what was sent, which
            # may be megabytes, nor what has been read.
            del exchange
            while not decoder.done:
                data = await response.chunk(by=by)
                events = decoder.feed(data) if data else decoder.end()
                at_end, data = not data, b""
                if events:
                    yield events
                if decoder.failure is not None:
                    raise decoder.failure
                if decoder.done and not at_end:
                    await _drain(response)
                if decoder.has_content:
                    by = min(_now() + limits.idle, start + limits.total)
        finally:
            response.close()

    async def count_tokens(self, call: Call) -> TokenCount:
        """Count the input tokens of the call, by the vendor where it counts."""
        return await self._api.count_tokens(call, self._asker(call.deadlines))

    def inquiry(self, call: Call, answer: BrokenOff) -> Inquiry | None:
        """As the vendor's own; see `Adapter.inquiry`."""
        if self._inquire is None:
            return None
        return self._inquire(call, answer, self._asker(call.deadlines))

    async def embed(self, call: EmbeddingsCall) -> Embeddings:
        """Embed every input, in as many requests as the vendor wants."""
        return await self._api.embed(call, self._asker(call.deadlines, call.on_send))

    async def models(self, deadline: float) -> tuple[Model, ...]:
        """What the account may use, with what the catalogue knows of each."""
        limits = Deadlines(deadline, deadline, deadline, deadline)
        return await self._api.models(self._asker(limits))

    async def aclose(self) -> None:
        """Nothing to give up: connections belong to the shared egress client."""

    def _asker(self, limits: Deadlines, on_send: Callable[[], None] | None = None) -> Ask:
        by = _now() + limits.total

        async def ask(
            method: str,
            path: str,
            body: bytes = b"",
            *,
            headers: Headers = JSON,
            endpoint: Endpoint | None = None,
            noted: dict[str, str] | None = None,
        ) -> bytes:
            outgoing = Outgoing(method, endpoint or self._endpoint, path, headers, body)
            response = await self._send(outgoing, limits.connect, by, on_send)
            if noted is not None:
                noted.update(response.headers)
            try:
                if _is_success(response):
                    return await response.read(by=by)
                refusal = await self._refusal(response, by)
            finally:
                response.close()
            if isinstance(refusal, ContentFilter):
                raise errors.ProviderRejectedRequest("a filter of the provider struck the request")
            raise refusal

        return ask

    async def _send_exchange(self, exchange: Exchange, call: Call, by: float) -> Response:
        endpoint = exchange.endpoint or self._endpoint
        outgoing = Outgoing("POST", endpoint, exchange.path, exchange.headers, exchange.body)
        return await self._send(outgoing, call.deadlines.connect, by, call.on_send)

    async def _send(
        self,
        outgoing: Outgoing,
        connect_timeout: float,
        by: float,
        on_send: Callable[[], None] | None,
    ) -> Response:
        account = await self._authenticator.headers(outgoing, by)
        return await self._egress.send(
            outgoing.endpoint,
            outgoing.method,
            outgoing.path,
            [*account, *outgoing.headers],
            outgoing.body,
            connect_timeout=connect_timeout,
            by=by,
            on_send=on_send,
        )

    def _reply(self, response: Response, exchange: Exchange) -> Reply:
        return Reply(_request_id(response), exchange.warnings, response.headers, self._secret)

    async def _struck(self, response: Response, by: float) -> ContentFilter:
        """The filter that struck; every other refusal is raised."""
        refusal = await self._refusal(response, by)
        if isinstance(refusal, ContentFilter):
            return refusal
        raise refusal

    async def _refusal(self, response: Response, by: float) -> errors.GatewayError | ContentFilter:
        try:
            body = await response.read(by=by, limit=_ERROR_BODY_BYTES)
        except errors.GatewayError:
            body = b""
        return self._api.refusal(response.status, response.headers, body, self._secret)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _is_success(response: Response) -> bool:
    return 200 <= response.status < 300  # noqa: PLR2004


def _is_json(response: Response) -> bool:
    """Some servers answer a call for a stream whole, or with an error of status 200."""
    return response.headers.get("content-type", "").startswith("application/json")


def _request_id(response: Response) -> str:
    for name in _REQUEST_IDS:
        if said := response.headers.get(name):
            return said[:_ID_LENGTH]
    return ""


async def _drain(response: Response) -> None:
    """Read a body whose answer is complete to its end, so that the connection can serve again."""
    by = _now() + _DRAIN_SECONDS
    try:
        while await response.chunk(by=by):
            pass
    except errors.GatewayError:
        response.close()


def _filtered_events(
    struck: ContentFilter, response: Response, warnings: tuple[Warning, ...]
) -> list[AdapterEvent]:
    return [
        Accepted("", _request_id(response), warnings),
        Ended(FinishReason.CONTENT_FILTER, "content_filter", None, content_filter=struck),
    ]

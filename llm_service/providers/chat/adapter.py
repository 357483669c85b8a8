"""An account with a vendor who speaks Chat Completions."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

import msgspec

from llm_service import catalog, errors
from llm_service.domain import estimates
from llm_service.domain.completion import ContentFilter, FilterStage, FinishReason, Warning
from llm_service.domain.provider import Model, ModelOrigin
from llm_service.providers.base import (
    Accepted,
    Account,
    AdapterEvent,
    Answer,
    Call,
    Deadlines,
    Ended,
    TokenCount,
)
from llm_service.providers.chat import failures, request
from llm_service.providers.chat.decoder import ChatDecoder
from llm_service.providers.chat.dialect import Dialect
from llm_service.providers.chat.fold import fold
from llm_service.providers.egress import Egress, Endpoint, Response

_PATH = "/chat/completions"
_ERROR_BODY_BYTES = 64 * 1024
_DRAIN_SECONDS = 0.05
_ID_LENGTH = 128
_FILTERED = "content_filter"


class _ListedModel(msgspec.Struct):
    """A model in the answer of `GET /models`."""

    id: str


class _ModelList(msgspec.Struct):
    """The answer of `GET /models`."""

    data: list[_ListedModel]


class ChatAdapter:
    """Sends calls through the egress client and reads the answers with `ChatDecoder`."""

    def __init__(
        self,
        dialect: Dialect,
        endpoint: Endpoint,
        egress: Egress,
        account: Account,
        headers: Sequence[tuple[str, str]],
    ) -> None:
        """Keep what every call needs; nothing is dialled.

        Args:
            dialect: the kind's variant.
            endpoint: where "/chat/completions" and "/models" are below.
            egress: the client, shared with every other adapter and not closed here.
            account: whose secret must never come back in an error.
            headers: the account's own: authentication and the like.
        """
        self._dialect = dialect
        self._endpoint = endpoint
        self._egress = egress
        self._secret = account.secret
        json = ("content-type", "application/json")
        self._get = [*headers, ("accept", "application/json")]
        self._post = [*self._get, json]
        self._post_stream = [*headers, ("accept", "text/event-stream"), json]

    async def complete(self, call: Call) -> Answer:
        """Answer whole; a struck content filter is an answer without parts."""
        self._check_secret()
        start = _now()
        body, warnings = request.body(call, self._dialect, stream=False)
        by = start + call.deadlines.total
        response = await self._send("POST", _PATH, self._post, body, call.deadlines, by)
        try:
            if not _is_success(response):
                struck = await self._failed(response, by)
                return _filtered_answer(struck, response, warnings)
            return fold(self._decoder(response, warnings).whole(await response.read(by=by)))
        finally:
            response.close()

    async def stream(self, call: Call) -> AsyncGenerator[Sequence[AdapterEvent]]:
        """Answer piece by piece; see `Adapter.stream`."""
        self._check_secret()
        start = _now()
        limits = call.deadlines
        body, warnings = request.body(call, self._dialect, stream=True)
        by = start + min(limits.first_token, limits.total)
        response = await self._send("POST", _PATH, self._post_stream, body, limits, by)
        try:
            if not _is_success(response):
                yield _filtered_events(await self._failed(response, by), response, warnings)
                return
            decoder = self._decoder(response, warnings)
            if _is_json(response):
                yield decoder.whole(await response.read(by=start + limits.total))
                return
            while not decoder.done:
                data = await response.chunk(by=by)
                events = decoder.feed(data) if data else decoder.end()
                if events:
                    yield events
                if decoder.failure is not None:
                    raise decoder.failure
                if decoder.done and data:
                    await _drain(response)
                if decoder.has_content:
                    by = min(_now() + limits.idle, start + limits.total)
        finally:
            response.close()

    async def count_tokens(self, call: Call) -> TokenCount:
        """A guess from the length of the text: this dialect has no way to ask."""
        return TokenCount(estimates.input_tokens(call.request), estimated=True)

    async def models(self, deadline: float) -> tuple[Model, ...]:
        """What `GET /models` lists, with what the catalogue knows of each."""
        self._check_secret()
        by = _now() + deadline
        limits = Deadlines(deadline, deadline, deadline, deadline)
        response = await self._send("GET", "/models", self._get, b"", limits, by)
        try:
            if not _is_success(response):
                raise self._failure(response, await _error_body(response, by))
            body = await response.read(by=by)
        finally:
            response.close()
        try:
            listed = msgspec.json.decode(body, type=_ModelList)
        except (ValueError, RecursionError) as error:
            raise errors.ProviderProtocolError("the provider's list of models is none") from error
        return tuple(self._model(model.id) for model in listed.data)

    async def aclose(self) -> None:
        """Nothing to give up: connections belong to the shared egress client."""

    async def _send(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        limits: Deadlines,
        by: float,
    ) -> Response:
        return await self._egress.send(
            self._endpoint, method, path, headers, body, connect_timeout=limits.connect, by=by
        )

    def _check_secret(self) -> None:
        if self._dialect.needs_secret and not self._secret:
            raise errors.ProviderCredentialMissing(
                f"no credential is configured for this {self._dialect.kind} provider"
            )

    def _decoder(self, response: Response, warnings: tuple[Warning, ...]) -> ChatDecoder:
        def fail(error: failures.VendorError) -> errors.GatewayError:
            return failures.failure(error, response.headers, hide=self._secret)

        return ChatDecoder(
            self._dialect.kind, fail, request_id=_request_id(response), warnings=warnings
        )

    async def _failed(self, response: Response, by: float) -> ContentFilter:
        """The filter that struck; every other refusal is raised."""
        body = await _error_body(response, by)
        struck = failures.content_filter(
            failures.read_error(response.status, body), FilterStage.INPUT
        )
        if struck is None:
            raise self._failure(response, body)
        return struck

    def _failure(self, response: Response, body: bytes) -> errors.GatewayError:
        error = failures.read_error(response.status, body)
        return failures.failure(error, response.headers, hide=self._secret)

    def _model(self, provider_model: str) -> Model:
        known = catalog.facts(self._dialect.kind, provider_model)
        model_id = catalog.model_id(provider_model)
        if known is None:
            return Model("", model_id, provider_model, ModelOrigin.DISCOVERED)
        return replace(
            known,
            model_id=model_id,
            provider_model=provider_model,
            origin=ModelOrigin.DISCOVERED,
        )


def _now() -> float:
    return asyncio.get_running_loop().time()


def _is_success(response: Response) -> bool:
    return 200 <= response.status < 300  # noqa: PLR2004


def _is_json(response: Response) -> bool:
    """Some servers answer a call for a stream whole, or with an error of status 200."""
    return response.headers.get("content-type", "").startswith("application/json")


def _request_id(response: Response) -> str:
    headers = response.headers
    return (headers.get("x-request-id") or headers.get("request-id") or "")[:_ID_LENGTH]


async def _error_body(response: Response, by: float) -> bytes:
    """As much of an error's body as tells what it is; b"" when it does not come."""
    try:
        return await response.read(by=by, limit=_ERROR_BODY_BYTES)
    except errors.GatewayError:
        return b""


async def _drain(response: Response) -> None:
    """Read a body whose answer is complete to its end, so that the connection can serve again."""
    by = _now() + _DRAIN_SECONDS
    try:
        while await response.chunk(by=by):
            pass
    except errors.GatewayError:
        response.close()


def _filtered_answer(
    struck: ContentFilter, response: Response, warnings: tuple[Warning, ...]
) -> Answer:
    return fold(_filtered_events(struck, response, warnings))


def _filtered_events(
    struck: ContentFilter, response: Response, warnings: tuple[Warning, ...]
) -> list[AdapterEvent]:
    return [
        Accepted("", _request_id(response), warnings),
        Ended(FinishReason.CONTENT_FILTER, _FILTERED, None, content_filter=struck),
    ]

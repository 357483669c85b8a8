"""The keys an issuer of tokens publishes (RFC 7517), from its address or from a file."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from llm_service.errors import GatewayError, ProviderProtocolError
from llm_service.providers.egress import Egress

logger = logging.getLogger(__name__)

FRESH_SECONDS = 300.0
"""After this, keys are fetched again beside the calls they serve: one taken back must end."""

BETWEEN_FETCHES = 10.0
"""Seconds at least between two fetches, however many unknown keys tokens name."""

_FETCH_SECONDS = 5.0
_MAX_BYTES = 256 * 1024
_MAX_KEYS = 100

Fetch = Callable[[], Awaitable[bytes]]
Key = Mapping[str, Any]


class KeySet:
    """The last good set, fetched one at a time. While the issuer is away its known keys serve."""

    def __init__(self, fetch: Fetch, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str, Key] = {}
        self._tried_at = float("-inf")
        self._fetched_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def get(self, key_id: str) -> Key | None:
        """The key of that id; None: the issuer publishes none, as far as is known."""
        key = self._keys.get(key_id)
        if key is None:
            await self._fetched()
            return self._keys.get(key_id)
        if self._clock() - self._fetched_at > FRESH_SECONDS:
            self._begin()
        return key

    async def _fetched(self) -> None:
        """Wait for a fetch, if one is running or may begin."""
        if (task := self._begin()) is not None:
            await asyncio.shield(task)  # whoever leaves does not take it from the others

    def _begin(self) -> asyncio.Task[None] | None:
        if self._fetching is not None and not self._fetching.done():
            return self._fetching
        if self._clock() - self._tried_at < BETWEEN_FETCHES:
            return None
        self._tried_at = self._clock()
        self._fetching = asyncio.create_task(self._renew())
        return self._fetching

    async def _renew(self) -> None:
        try:
            self._keys = _read(await self._fetch())
        except (GatewayError, OSError, ValueError) as error:
            logger.warning("the issuer's keys could not be read: %s", type(error).__name__)
        else:
            self._fetched_at = self._clock()


def from_file(path: Path) -> Fetch:
    async def fetch() -> bytes:
        return await asyncio.to_thread(path.read_bytes)

    return fetch


def from_address(uri: str, egress: Egress) -> Fetch:
    """Fetch by the guarded client.

    Raises:
        EgressDenied, ValueError: the address may not be dialled, or is malformed.
    """
    endpoint = egress.endpoint(uri)
    path = "" if endpoint.path else "/"

    async def fetch() -> bytes:
        by = asyncio.get_running_loop().time() + _FETCH_SECONDS
        accept = (("accept", "application/json"),)
        response = await egress.send(
            endpoint, "GET", path, accept, b"", connect_timeout=_FETCH_SECONDS, by=by
        )
        try:
            body = await response.read(by=by, limit=_MAX_BYTES)
        finally:
            response.close()
        if response.status != 200:  # noqa: PLR2004
            raise ProviderProtocolError("the issuer gave no keys", http_status=response.status)
        return body

    return fetch


def _read(text: bytes) -> dict[str, Key]:
    """Keys by id.

    Raises:
        ValueError: it is not a key set.
    """
    document = msgspec.json.decode(text)
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise ValueError("not a key set")
    found = [key for key in keys[:_MAX_KEYS] if isinstance(key, dict)]
    return {key["kid"]: key for key in found if isinstance(key.get("kid"), str)}

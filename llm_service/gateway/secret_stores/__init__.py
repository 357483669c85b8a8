"""External secrets: what a store is, and the minute at most that one is remembered."""

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from llm_service.domain.provider import SecretReference
from llm_service.errors import (
    GatewayError,
    ProviderCredentialMissing,
    ProviderCredentialUnreadable,
)

KEPT_SECONDS = 60.0
RENEWED_SECONDS = 45.0
"""From then on a secret in use is read again, while calls go on with the one that is held."""

FAILURE_SECONDS = 1.0
READ_SECONDS = 5.0


class SecretStore(Protocol):
    """Somewhere secrets are kept outside this service. Safe to share between concurrent reads."""

    def refuse(self, reference: SecretReference) -> str:
        """Why the operator does not lend this place, or "". Tells nothing of what is there."""
        ...

    async def read(self, reference: SecretReference) -> str:
        """The secret, read now, without blocking the event loop.

        Raises:
            ProviderCredentialMissing: there is none, or it is not lent.
            ProviderCredentialUnreadable: it cannot be read. In our words, not the store's.
        """
        ...


@dataclass(frozen=True, slots=True)
class Held:
    """A secret, and a mark that is another one when the secret is."""

    secret: str = field(repr=False)
    mark: bytes
    read_time: float


class SecretStores:
    """Reads through to the stores: each secret once a minute at most, by one reader at a time.

    `clock` gives seconds.
    """

    def __init__(
        self, stores: Mapping[str, SecretStore], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stores = dict(stores)
        self._clock = clock
        self._salt = secrets.token_bytes(16)
        self._held: dict[SecretReference, Held] = {}
        self._failed: dict[SecretReference, tuple[float, GatewayError]] = {}
        self._reading: dict[SecretReference, asyncio.Task[Held]] = {}

    def refuse(self, reference: SecretReference) -> str:
        """Why a credential may not point there, or ""."""
        store = self._stores.get(reference.store)
        return store.refuse(reference) if store else "names no secret store of this service"

    async def read(self, reference: SecretReference) -> Held:
        """The secret as it was at most a minute ago.

        Raises:
            ProviderCredentialMissing: there is none, or it is not lent.
            ProviderCredentialUnreadable: it cannot be read now.
        """
        held, now = self._held.get(reference), self._clock()
        if held is not None and now - held.read_time < RENEWED_SECONDS:
            return held
        still_good = held is not None and now - held.read_time < KEPT_SECONDS
        try:
            reading = self._read_once(reference)
        except GatewayError:
            if held is None or not still_good:
                raise
            return held
        if held is not None and still_good:
            return held
        try:
            return await asyncio.shield(reading)  # whoever leaves, the others still wait for it
        except GatewayError as error:
            raise _another(error) from error

    def forget_unused(self) -> None:
        """Drop what is too old to be given out."""
        oldest = self._clock() - KEPT_SECONDS
        for reference, held in list(self._held.items()):
            if held.read_time <= oldest:
                del self._held[reference]
        for reference, (failed, _) in list(self._failed.items()):
            if failed <= oldest:
                del self._failed[reference]

    async def aclose(self) -> None:
        """Give up reads that are going on."""
        readings = list(self._reading.values())
        for reading in readings:
            reading.cancel()
        await asyncio.gather(*readings, return_exceptions=True)

    def _read_once(self, reference: SecretReference) -> asyncio.Task[Held]:
        reading = self._reading.get(reference)
        if reading is not None:
            return reading
        failed = self._failed.get(reference)
        if failed is not None and self._clock() - failed[0] < FAILURE_SECONDS:
            raise _another(failed[1])
        reading = asyncio.create_task(self._read(reference))
        self._reading[reference] = reading
        reading.add_done_callback(lambda done: self._done(reference, done))
        return reading

    async def _read(self, reference: SecretReference) -> Held:
        now = self._clock()
        store = self._stores.get(reference.store)
        if store is None:
            raise ProviderCredentialMissing("a credential names a secret store that is not there")
        try:
            async with asyncio.timeout(READ_SECONDS):
                secret = await store.read(reference)
        except TimeoutError:
            raise ProviderCredentialUnreadable("the secret store did not answer in time") from None
        mark = hashlib.blake2b(secret.encode(), key=self._salt, digest_size=16).digest()
        return Held(secret, mark, now)

    def _done(self, reference: SecretReference, reading: asyncio.Task[Held]) -> None:
        del self._reading[reference]
        if reading.cancelled():
            return
        error = reading.exception()
        if error is None:
            self._held[reference] = reading.result()
            self._failed.pop(reference, None)
        elif isinstance(error, GatewayError):
            self._failed[reference] = self._clock(), error


def _another(error: GatewayError) -> GatewayError:
    """The same for another caller: callers add to what they raise."""
    return type(error)(str(error))


NO_STORES = SecretStores({})


def entry_of(text: str, key: str) -> str:
    """The secret in what a store holds as one text: all of it, or an entry of a JSON object.

    Raises:
        ProviderCredentialUnreadable: it has no such entry.
    """
    if not key:
        return text
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    value = document.get(key) if isinstance(document, dict) else None
    if not isinstance(value, str):
        raise ProviderCredentialUnreadable("the secret has no entry of that name")
    return value

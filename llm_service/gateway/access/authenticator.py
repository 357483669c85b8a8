"""From what a call shows to whoever makes it, remembered for a while."""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from hashlib import blake2b
from typing import TypeVar

from llm_service.domain.access import Principal
from llm_service.errors import CallerUnauthenticated
from llm_service.gateway.access import key_text
from llm_service.gateway.access.accepted import Accepted
from llm_service.gateway.access.identities import Identities, end_of_leaf
from llm_service.gateway.access.known_keys import KnownKeys
from llm_service.gateway.access.tokens import Tokens
from llm_service.vault import Vault

T = TypeVar("T")

KEPT_SECONDS = 30.0
"""How long an accepted credential is not looked at again; a client key only until it changes."""

REFUSED_SECONDS = 2.0
"""How long a refused one is refused unseen: no longer than a change takes to reach this replica."""

MOST_KEPT = 20_000
MOST_REFUSED = 4_096

_SCHEME = "bearer "
_MAX_CREDENTIAL = 8192  # characters
# Apart by more than a prefix: a caller's header may hold whatever bytes it likes.
_OF_HEADER = partial(blake2b, digest_size=32, person=b"header")
_OF_CERTIFICATE = partial(blake2b, digest_size=32, person=b"certificate")
REFUSAL = "the call shows no credential this service accepts"
"""Said of every one that is refused, whatever is wrong with it."""


class Authenticator:
    """Client keys always; tokens and certificates where they are configured.

    What is shown is remembered by a digest of all of it, never by a part: of an authorization
    header, or of a certificate.
    """

    def __init__(
        self,
        keys: KnownKeys,
        vault: Vault,
        *,
        tokens: Tokens | None = None,
        identities: Identities | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._vault = vault
        self._tokens = tokens
        self._identities = identities
        self._now = now
        self._accepted: OrderedDict[bytes, Accepted] = OrderedDict()
        self._refused: OrderedDict[bytes, float] = OrderedDict()

    @property
    def takes_certificates(self) -> bool:
        return self._identities is not None

    def remembered(self, header: str) -> Principal | None:
        """Whoever showed this authorization header a moment ago, as far as that still holds.

        Nearly every call ends here. None: `authorization` has to look.

        Raises:
            CallerUnauthenticated: it was refused just now.
        """
        return self._known(_digest(header))

    async def authorization(self, header: str) -> Principal:
        """Whoever holds the key or token of an authorization header: "Bearer llm_...".

        Raises:
            CallerUnauthenticated: nobody does, or it is another scheme's.
            Overloaded, StorageUnavailable: it is not known here, and cannot be looked up now.
        """
        scheme, credential = header[: len(_SCHEME)], header[len(_SCHEME) :].strip()
        if scheme.lower() != _SCHEME or len(credential) > _MAX_CREDENTIAL:
            raise CallerUnauthenticated(REFUSAL)
        # By one header however it is written: else one caller could take all room there is.
        shown = _digest(f"Bearer {credential}")
        return self._known(shown) or await self._decided(shown, self._read(credential))

    async def certificate(self, pem: bytes, spiffe_id: str) -> Principal:
        """Whoever has this certificate, whose one URI is `spiffe_id`. TLS has verified it.

        Raises:
            CallerUnauthenticated: nobody we know.
        """
        shown = _OF_CERTIFICATE(pem).digest()
        return self._known(shown) or await self._decided(shown, self._certified(pem, spiffe_id))

    def _known(self, shown: bytes) -> Principal | None:
        """Raises CallerUnauthenticated for what was refused just now."""
        accepted = self._accepted.get(shown)
        if accepted is not None:
            key = accepted.key
            # The very object: any change of the key replaces it.
            current = key is None or self._keys.get(key.key_id) is key
            if current and accepted.until > self._now():
                return accepted.principal
            del self._accepted[shown]
        elif self._refused.get(shown, 0.0) > self._now():
            raise CallerUnauthenticated(REFUSAL)
        return None

    async def _decided(self, shown: bytes, deciding: Awaitable[Accepted | None]) -> Principal:
        accepted = await deciding
        now = self._now()
        if accepted is None or accepted.until <= now:
            _keep(self._refused, shown, now + REFUSED_SECONDS, MOST_REFUSED)
            raise CallerUnauthenticated(REFUSAL)
        until = min(accepted.until, now + KEPT_SECONDS)
        kept = Accepted(accepted.principal, until, accepted.key)
        _keep(self._accepted, shown, kept, MOST_KEPT)
        return kept.principal

    async def _read(self, credential: str) -> Accepted | None:
        if credential.startswith(key_text.PREFIX):
            return await self._client_key(credential)
        return await self._tokens.verify(credential) if self._tokens else None

    async def _client_key(self, credential: str) -> Accepted | None:
        text = key_text.read(credential)
        key = await self._keys.find(text.key_id) if text else None
        if text is None or key is None or not key_text.is_of(text.secret, key, self._vault):
            return None
        if key.revoke_time is not None or key.disabled or key.unreadable:
            return None
        until = key.expire_time.timestamp() if key.expire_time else float("inf")
        return Accepted(key.principal, until, key)

    async def _certified(self, pem: bytes, spiffe_id: str) -> Accepted | None:
        principal = self._identities.principal(spiffe_id) if self._identities else None
        end = end_of_leaf(pem) if principal else None
        return Accepted(principal, end.timestamp()) if principal and end else None


def _digest(header: str) -> bytes:
    return _OF_HEADER(header.encode("utf-8", "surrogatepass")).digest()


def _keep(kept: OrderedDict[bytes, T], shown: bytes, value: T, most: int) -> None:
    kept[shown] = value
    while len(kept) > most:
        kept.popitem(last=False)

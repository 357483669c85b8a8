"""Requests signed the AWS way (Signature Version 4), by a fixed key or the default chain's."""

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from llm_service import errors
from llm_service.domain.secrecy import NeverPickled
from llm_service.providers.vendor import Headers, Outgoing

_SIGNED = frozenset({"authorization", "x-amz-date", "x-amz-security-token"})
_BIG_BODY = 256 * 1024  # bytes; to hash more takes longer than the event loop should stand still


@dataclass(frozen=True, slots=True)
class Key(NeverPickled):
    """An AWS access key. `session_token` "" unless it is a temporary one."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)


class Keys(Protocol):
    """Where the key to sign with comes from."""

    async def key(self, by: float) -> Key:
        """The key that holds now, by `loop.time()` of `by`.

        Raises:
            ProviderCredentialMissing: there is none.
            ProviderTimeout: it was not there in time.
            ProviderUnreachable: it could not be fetched.
        """
        ...


class FixedKey:
    """A key that never changes."""

    def __init__(self, key: Key) -> None:
        self._key = key

    async def key(self, by: float) -> Key:  # noqa: ARG002 - it is here
        return self._key


class DefaultChain:
    """What this machine or container may be, as AWS's own tools find out; refreshed as it expires.

    Looking may block on files and the network, so that it is done in a thread.
    """

    def __init__(self) -> None:
        self._credentials: Any = None  # botocore's, which has no types
        self._lock = asyncio.Lock()

    async def key(self, by: float) -> Key:
        try:
            async with asyncio.timeout_at(by), self._lock:
                return await asyncio.to_thread(self._look)
        except TimeoutError as error:
            raise errors.ProviderTimeout("AWS credentials were not there in time") from error

    def _look(self) -> Key:
        from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]
        from botocore.session import Session  # type: ignore[import-untyped]

        try:
            if self._credentials is None:
                self._credentials = Session().get_credentials()
            if self._credentials is None:
                raise errors.ProviderCredentialMissing("this machine has no AWS credentials")
            frozen = self._credentials.get_frozen_credentials()
        except (BotoCoreError, OSError) as error:
            raise errors.ProviderUnreachable("AWS credentials could not be fetched") from error
        return Key(frozen.access_key, frozen.secret_key, frozen.token or "")


class Signer:
    """An `Authenticator` that signs each request for one service in one region."""

    def __init__(self, keys: Keys, service: str, region: str) -> None:
        """Import the signer, which blocks for a moment."""
        from botocore.auth import SigV4Auth  # type: ignore[import-untyped]
        from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]

        # It logs all it signs, the session token among it.
        logging.getLogger("botocore").setLevel(logging.INFO)
        self._auth = SigV4Auth
        self._request = AWSRequest
        self._keys = keys
        self._service = service
        self._region = region

    async def headers(self, outgoing: Outgoing, by: float) -> Headers:
        """The signature, over the path, the host, the type of the content and the body."""
        key = await self._keys.key(by)
        if len(outgoing.body) > _BIG_BODY:
            return await asyncio.to_thread(self._sign, key, outgoing)
        return self._sign(key, outgoing)

    def _sign(self, key: Key, outgoing: Outgoing) -> Headers:
        endpoint = outgoing.endpoint
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        request = self._request(
            method=outgoing.method,
            url=f"{endpoint.scheme}://{host}:{endpoint.port}{endpoint.path}{outgoing.path}",
            headers={name: value for name, value in outgoing.headers if name == "content-type"},
            data=outgoing.body,
        )
        self._auth(_Credentials(key), self._service, self._region).add_auth(request)
        said = ((name.lower(), value) for name, value in request.headers.items())
        return [(name, value) for name, value in said if name in _SIGNED]


class _Credentials:
    """A key by botocore's names."""

    def __init__(self, key: Key) -> None:
        self.access_key = key.access_key_id
        self.secret_key = key.secret_access_key
        self.token = key.session_token or None


class _StoredKey(msgspec.Struct):
    """A key as it is stored."""

    access_key_id: str
    secret_access_key: str
    session_token: str = ""


def read_key(secret: str) -> Key:
    """A stored key.

    Raises:
        ProviderCredentialRejected: it is none, or cannot be sent in a header.
    """
    try:
        stored = msgspec.json.decode(secret, type=_StoredKey)
    except (ValueError, RecursionError) as error:
        raise errors.ProviderCredentialRejected("the stored credential is no AWS key") from error
    key = Key(stored.access_key_id, stored.secret_access_key, stored.session_token)
    if not key.access_key_id or not key.secret_access_key:
        raise errors.ProviderCredentialRejected("the stored AWS key lacks one of its halves")
    sent = key.access_key_id + key.session_token
    if not sent.isascii() or not sent.isprintable() or " " in sent:
        raise errors.ProviderCredentialRejected("the stored AWS key is not printable ASCII")
    return key

"""Authentication by a service account of Google: a short-lived token for a signed assertion."""

import asyncio
import base64
import time
from typing import Any
from urllib.parse import urlencode

import msgspec
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from llm_service import errors
from llm_service.providers.egress import Egress, Endpoint
from llm_service.providers.vendor import Headers, Outgoing

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LIFE = 3600  # seconds, the longest Google grants
_EARLY = 300.0  # seconds before its end that a token is replaced
_CONNECT = 10.0  # seconds
_ANSWER_BYTES = 64 * 1024
_FORM: Headers = (
    ("accept", "application/json"),
    ("content-type", "application/x-www-form-urlencoded"),
)


class ServiceAccountFile(msgspec.Struct, tag_field="type", tag="service_account"):
    """The file Google gives for a service account."""

    client_email: str
    private_key: str
    private_key_id: str = ""
    project_id: str = ""
    token_uri: str = _TOKEN_URI


class _Token(msgspec.Struct):
    """The answer of the token endpoint. `expires_in` in seconds."""

    access_token: str
    expires_in: int = _LIFE


def read_file(secret: str) -> ServiceAccountFile:
    """Understand a service account's file.

    Raises:
        ProviderCredentialRejected: it is none.
    """
    try:
        return msgspec.json.decode(secret, type=ServiceAccountFile)
    except (ValueError, RecursionError):
        why = "the stored credential is not the JSON file of a service account"
        raise errors.ProviderCredentialRejected(why) from None


class ServiceAccount:
    """Adds a bearer token, fetched when the last is about to end; one fetch at a time."""

    def __init__(self, file: ServiceAccountFile, egress: Egress) -> None:
        """Read the key, which takes milliseconds; nothing is dialled.

        Raises:
            ProviderCredentialRejected: the key cannot be read, or the file names a token endpoint
                that is not Google's.
        """
        self._file = file
        self._egress = egress
        self._endpoint = _token_endpoint(file.token_uri, egress)
        self._key = _private_key(file.private_key)
        self._lock = asyncio.Lock()
        self._token = ""
        self._until = 0.0  # by `loop.time()`

    async def headers(self, outgoing: Outgoing, by: float) -> Headers:  # noqa: ARG002 - not signed
        if asyncio.get_running_loop().time() >= self._until:
            await self._renew(by)
        return (("authorization", f"Bearer {self._token}"),)

    async def _renew(self, by: float) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(by), self._lock:
                if loop.time() >= self._until:
                    start = loop.time()
                    token = await self._fetch(by)
                    life = max(float(token.expires_in), 0.0)
                    self._token = token.access_token
                    self._until = start + life - min(_EARLY, life / 2)
        except TimeoutError as error:
            raise errors.ProviderTimeout("no access token could be had in time") from error

    async def _fetch(self, by: float) -> _Token:
        assertion = await asyncio.to_thread(self._assertion, int(time.time()))
        body = urlencode({"grant_type": _GRANT, "assertion": assertion}).encode()
        response = await self._egress.send(
            self._endpoint, "POST", "", _FORM, body, connect_timeout=_CONNECT, by=by
        )
        try:
            said = await response.read(by=by, limit=_ANSWER_BYTES)
        finally:
            response.close()
        if response.status != 200:  # noqa: PLR2004
            raise _refusal(response.status)
        try:
            token = msgspec.json.decode(said, type=_Token)
        except (ValueError, RecursionError) as error:
            raise errors.ProviderProtocolError("the token endpoint gave no token") from error
        if not token.access_token.isascii() or not token.access_token.isprintable():
            raise errors.ProviderProtocolError("the token endpoint gave no token")
        return token

    def _assertion(self, now: int) -> str:
        """Who calls, signed (RFC 7523). `now` in seconds since 1970."""
        header = {"alg": "RS256", "typ": "JWT"}
        if self._file.private_key_id:
            header["kid"] = self._file.private_key_id
        claims = {
            "iss": self._file.client_email,
            "scope": _SCOPE,
            "aud": self._file.token_uri,
            "iat": now,
            "exp": now + _LIFE,
        }
        signed = f"{_encoded(header)}.{_encoded(claims)}"
        signature = self._key.sign(signed.encode(), PKCS1v15(), SHA256())
        return f"{signed}.{_base64(signature)}"


def _token_endpoint(uri: str, egress: Egress) -> Endpoint:
    """Google's, or one that only the operator's allow-list admits."""
    why = "the service account's token_uri is not one of Google's"
    try:
        endpoint = egress.endpoint(uri)
    except (ValueError, errors.EgressDenied):
        raise errors.ProviderCredentialRejected(why) from None
    if endpoint.scheme == "https" and not endpoint.host.endswith(".googleapis.com"):
        raise errors.ProviderCredentialRejected(why)
    return endpoint


def _private_key(pem: str) -> RSAPrivateKey:
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise errors.ProviderCredentialRejected("the service account's private key is no RSA key")
    return key


def _refusal(status: int) -> errors.GatewayError:
    if status == 429:  # noqa: PLR2004
        return errors.ProviderRateLimited(
            "the token endpoint's limit is reached", http_status=status
        )
    if status >= 500:  # noqa: PLR2004
        return errors.ProviderUnavailable("the token endpoint failed", http_status=status)
    return errors.ProviderCredentialRejected(
        "the provider gave the service account no token", http_status=status
    )


def _encoded(said: dict[str, Any]) -> str:
    return _base64(msgspec.json.encode(said))


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

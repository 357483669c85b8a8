"""Authentication by an application of Microsoft Entra: a short-lived token for its secret."""

import asyncio
from urllib.parse import quote, urlencode

import msgspec

from llm_service import errors
from llm_service.providers.egress import Egress, Endpoint
from llm_service.providers.retry_after import retry_delay
from llm_service.providers.vendor import Headers, Outgoing

AUTHORITY = "https://login.microsoftonline.com"

# The clouds' own, and no other: the application's secret goes there.
_AUTHORITIES = frozenset(
    {
        "login.microsoftonline.com",
        "login.microsoftonline.us",
        "login.partner.microsoftonline.cn",
        "login.windows.net",
    }
)
_LIFE = 3600  # seconds, if it is not said
_EARLY = 300.0  # seconds before its end that a token is replaced
_CONNECT = 10.0  # seconds
_ANSWER_BYTES = 64 * 1024
_FORM: Headers = (
    ("accept", "application/json"),
    ("content-type", "application/x-www-form-urlencoded"),
)
_BUSY = frozenset({408, 425})


class _Token(msgspec.Struct):
    """The answer of the token endpoint. `expires_in` in seconds, which old versions put as text."""

    access_token: str
    expires_in: int | str = _LIFE


class ClientSecret:
    """Adds a bearer token, fetched when the last is about to end; one fetch at a time."""

    def __init__(
        self, authority: Endpoint, tenant: str, client: tuple[str, str], scope: str, egress: Egress
    ) -> None:
        """Keep what a fetch needs; nothing is dialled.

        Args:
            authority: as `authority` gives it.
            tenant: the directory's id.
            client: the application's id and its secret.
            scope: what the token is for.
            egress: the client, shared with every adapter.
        """
        self._endpoint = authority
        self._path = f"/{quote(tenant, safe='')}/oauth2/v2.0/token"
        self._form = urlencode(
            {
                "grant_type": "client_credentials",
                "client_id": client[0],
                "client_secret": client[1],
                "scope": scope,
            }
        ).encode()
        self._egress = egress
        self._lock = asyncio.Lock()
        self._token = ""
        self._renew_at = 0.0  # by `loop.time()`, as is the next
        self._ends_at = 0.0

    async def headers(self, outgoing: Outgoing, by: float) -> Headers:  # noqa: ARG002 - not signed
        if _now() >= self._renew_at:
            await self._renew(by)
        return (("authorization", f"Bearer {self._token}"),)

    async def _renew(self, by: float) -> None:
        try:
            async with asyncio.timeout_at(by), self._lock:
                if _now() >= self._renew_at:
                    await self._fetch(by)
        except TimeoutError as error:
            raise errors.ProviderTimeout("no access token could be had in time") from error
        except errors.GatewayError as error:
            error.may_have_cost = False  # the vendor has not been called yet
            if not error.retriable or _now() >= self._ends_at:
                raise  # else the token that is about to end still serves

    async def _fetch(self, by: float) -> None:
        start = _now()
        response = await self._egress.send(
            self._endpoint, "POST", self._path, _FORM, self._form, connect_timeout=_CONNECT, by=by
        )
        try:
            said = await response.read(by=by, limit=_ANSWER_BYTES)
        finally:
            response.close()
        if response.status != 200:  # noqa: PLR2004
            raise _refusal(response.status, retry_delay(response.headers))
        token, life = _read(said)
        self._token = token
        self._ends_at = start + life
        self._renew_at = self._ends_at - min(_EARLY, life / 2)


def authority(uri: str, egress: Egress) -> Endpoint:
    """Where tokens come from: a cloud's own address, or one that only the operator can admit.

    Raises:
        InvalidField: any other address.
    """
    field = "provider.settings.authority"
    try:
        endpoint = egress.endpoint(uri or AUTHORITY)
    except (ValueError, errors.EgressDenied) as error:
        raise errors.InvalidField(errors.Violation(field, "is no address of Entra's")) from error
    if endpoint.scheme == "https" and endpoint.host not in _AUTHORITIES:
        raise errors.InvalidField(errors.Violation(field, "is no address of Entra's"))
    return endpoint


def _read(said: bytes) -> tuple[str, float]:
    """The token and its life in seconds."""
    try:
        answer = msgspec.json.decode(said, type=_Token)
        life = max(float(answer.expires_in), 0.0)
    except (ValueError, RecursionError) as error:
        raise errors.ProviderProtocolError("the token endpoint gave no token") from error
    token = answer.access_token
    if not token or not token.isascii() or not token.isprintable():
        raise errors.ProviderProtocolError("the token endpoint gave no token")
    return token, min(life, float(24 * _LIFE))


def _refusal(status: int, delay: float | None) -> errors.GatewayError:
    if status == 429:  # noqa: PLR2004
        return errors.ProviderRateLimited(
            "the token endpoint's limit is reached", retry_delay=delay, http_status=status
        )
    if status >= 500 or status in _BUSY:  # noqa: PLR2004
        return errors.ProviderUnavailable(
            "the token endpoint failed", retry_delay=delay, http_status=status
        )
    return errors.ProviderCredentialRejected(
        "Entra gave the application no token", http_status=status
    )


def _now() -> float:
    return asyncio.get_running_loop().time()

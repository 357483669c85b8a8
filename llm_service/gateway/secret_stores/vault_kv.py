"""Secrets in HashiCorp Vault's key/value engine, version 2, and in what speaks its API."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import msgspec

from llm_service.domain.provider import SecretReference
from llm_service.errors import (
    GatewayError,
    ProviderCredentialMissing,
    ProviderCredentialUnreadable,
)
from llm_service.providers.egress import Egress, Endpoint

_ANSWER_BYTES = 256 * 1024
_CONNECT_SECONDS = 3.0
_READ_SECONDS = 4.5
_SEGMENT = re.compile(r"(?!\.+\Z)[A-Za-z0-9_.@=+-]{1,128}")
_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
_MAX_TOKEN_BYTES = 16 * 1024
_NOT_LENT = "is not below a path the operator lends"
_MISSING = "the secret store has no such secret"
_FAILED = "the secret store did not give the secret"


class _Version(msgspec.Struct):
    data: dict[str, Any] | None = None


class _Secret(msgspec.Struct):
    """The answer of a read. `data` None: that version was deleted."""

    data: _Version | None = None


class _Auth(msgspec.Struct):
    client_token: str
    lease_duration: int = 0  # seconds; 0: it does not end


class _Login(msgspec.Struct):
    auth: _Auth


class Vault:
    """One Vault server, in one namespace."""

    def __init__(self, egress: Egress, endpoint: Endpoint, namespace: str = "") -> None:
        self._egress = egress
        self._endpoint = endpoint
        self._namespace = namespace

    async def call(
        self, method: str, path: str, *, token: str = "", body: bytes = b""
    ) -> tuple[int, bytes]:
        """Status and body of one request; redirects are not followed.

        Raises:
            ProviderCredentialUnreadable: there was no answer.
        """
        headers: Mapping[str, str] = {
            "x-vault-request": "true",
            "x-vault-namespace": self._namespace,
            "x-vault-token": token,
            "content-type": "application/json" if body else "",
        }
        by = asyncio.get_running_loop().time() + _READ_SECONDS
        try:
            response = await self._egress.send(
                self._endpoint,
                method,
                f"/v1/{path}",
                [(name, value) for name, value in headers.items() if value],
                body,
                connect_timeout=_CONNECT_SECONDS,
                by=by,
            )
            try:
                return response.status, await response.read(by=by, limit=_ANSWER_BYTES)
            finally:
                response.close()
        except GatewayError as error:
            raise ProviderCredentialUnreadable("the secret store does not answer") from error


class Login(Protocol):
    """How this service shows Vault who it is."""

    async def token(self, vault: Vault, *, refused: str) -> str:
        """A token, if there can be one other than what Vault `refused`.

        Raises:
            ProviderCredentialUnreadable: there is none to be had.
        """
        ...


class TokenFile:
    """A token that somebody else keeps fresh in a file, as Vault's agent does."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def token(self, vault: Vault, *, refused: str) -> str:  # noqa: ARG002 - always read anew
        return await asyncio.to_thread(read_token, self._path)


class KubernetesLogin:
    """The identity of the pod's service account, exchanged for a token of Vault's."""

    def __init__(self, role: str, path: Path, mount: str = "kubernetes") -> None:
        self._role = role
        self._path = path
        self._mount = mount
        self._lock = asyncio.Lock()
        self._token = ""
        self._renew_time = 0.0  # by `loop.time()`

    async def token(self, vault: Vault, *, refused: str) -> str:
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if self._token == refused or now >= self._renew_time:
                await self._log_in(vault, now)
            return self._token

    async def _log_in(self, vault: Vault, now: float) -> None:
        account = await asyncio.to_thread(read_token, self._path)
        body = msgspec.json.encode({"role": self._role, "jwt": account})
        status, said = await vault.call("POST", f"auth/{self._mount}/login", body=body)
        auth = _decoded(said, _Login).auth if status == HTTPStatus.OK else None
        if auth is None or not _TOKEN.fullmatch(auth.client_token):
            raise ProviderCredentialUnreadable("the secret store did not let this service in")
        self._token = auth.client_token
        life = auth.lease_duration * 2 / 3 if auth.lease_duration > 0 else float("inf")
        self._renew_time = now + life


class VaultKeyValues:
    """Secrets below paths the operator names, each "<mount>/<path>", like "secret/llm/openai".

    `key` is an entry of the secret, and may be left out where there is one only.
    """

    def __init__(self, vault: Vault, login: Login, prefixes: Sequence[str]) -> None:
        self._vault = vault
        self._login = login
        self._prefixes = tuple(prefixes)

    def refuse(self, reference: SecretReference) -> str:
        if reference.version and not re.fullmatch(r"[1-9][0-9]{0,9}", reference.version):
            return "has versions that are numbers from 1"
        lent = any(reference.path.startswith(f"{prefix}/") for prefix in self._prefixes)
        plain = all(map(_SEGMENT.fullmatch, reference.path.split("/")))
        return "" if lent and plain else _NOT_LENT

    async def read(self, reference: SecretReference) -> str:
        if self.refuse(reference):
            raise ProviderCredentialMissing(_MISSING)
        token = await self._login.token(self._vault, refused="")
        status, said = await self._asked(reference, token)
        if status == HTTPStatus.FORBIDDEN:  # also what Vault says of a token that has ended
            token = await self._login.token(self._vault, refused=token)
            status, said = await self._asked(reference, token)
        if status == HTTPStatus.NOT_FOUND:
            raise ProviderCredentialMissing(_MISSING)
        if status != HTTPStatus.OK:
            raise ProviderCredentialUnreadable(_FAILED)
        version = _decoded(said, _Secret).data
        if version is None or version.data is None:
            raise ProviderCredentialMissing(_MISSING)
        return _entry(version.data, reference.key)

    async def _asked(self, reference: SecretReference, token: str) -> tuple[int, bytes]:
        mount, _, rest = reference.path.partition("/")
        query = f"?version={reference.version}" if reference.version else ""
        return await self._vault.call("GET", f"{mount}/data/{quote(rest)}{query}", token=token)


def read_token(path: Path) -> str:
    """The token in a file. It blocks: call it from a thread.

    Raises:
        ProviderCredentialUnreadable: there is none.
    """
    try:
        with path.open("rb") as file:
            token = file.read(_MAX_TOKEN_BYTES).decode("ascii", "replace").strip()
    except OSError:
        token = ""
    if not _TOKEN.fullmatch(token):
        raise ProviderCredentialUnreadable("this service has no token for the secret store")
    return token


def _entry(data: Mapping[str, Any], key: str) -> str:
    name = key or (next(iter(data)) if len(data) == 1 else "")
    value = data.get(name)
    if not isinstance(value, str) or not value:
        raise ProviderCredentialUnreadable("the secret has no entry of that name")
    return value


def _decoded(said: bytes, type_: type[Any]) -> Any:  # noqa: ANN401 - of that type
    try:
        return msgspec.json.decode(said, type=type_)
    except (ValueError, RecursionError):
        pass
    # Outside the handler: the decoder's error may quote what it read.
    raise ProviderCredentialUnreadable(_FAILED)

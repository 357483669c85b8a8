"""The configuration last known to be good, on disk: sealed, whole or not there, and of known age.

A file is a line that names format, snapshot and key, then frames of a 4-byte big-endian length, a
nonce (12) and AES-256-GCM ciphertext under a key that the ring key gives for this purpose alone.
That line and the frame's number are authenticated with each frame. The first frame says what the
snapshot is and how many tenants follow; the second holds the client keys; each other is one tenant,
so that neither encoding nor sealing holds up the event loop of a process with many.
"""

import asyncio
import logging
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from llm_service.domain.access import ClientKey
from llm_service.errors import EncryptionKeyMissing, StorageUnavailable
from llm_service.gateway.access.known_keys import KnownKeys
from llm_service.gateway.configuration import Configuration, Owned
from llm_service.vault import Keyring

logger = logging.getLogger(__name__)

_PURPOSE = "snapshot"
_FORMAT = "llm-service-snapshot-1"
_NONCE = 12
_LENGTH = 4
_LOOK_SECONDS = 1.0
_LEAST_SECONDS = 5.0  # between two writes, however much changes


class BadSnapshot(ValueError):
    """Why there is nothing to start from, in one line for the operator."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one deployment's database held at `confirmed`, by tenant.

    `database` says where that database is, so that a snapshot of another one is told apart.
    """

    deployment: str
    database: str
    generation: int
    confirmed: datetime
    owned: Mapping[str, Owned]
    client_keys: tuple[ClientKey, ...] = ()

    def age(self, now: datetime) -> float:
        """Seconds since it was confirmed; 0 where clocks disagree about which came first."""
        return max(0.0, (now - self.confirmed).total_seconds())


@dataclass(frozen=True, slots=True)
class _Head:
    deployment: str
    database: str
    generation: int
    confirmed: datetime
    tenants: int


_HEAD = msgspec.msgpack.Decoder(_Head)
_CLIENT_KEYS = msgspec.msgpack.Decoder(tuple[ClientKey, ...])
_TENANT = msgspec.msgpack.Decoder(tuple[str, Owned])


def sealed(snapshot: Snapshot, keyring: Keyring) -> Iterator[bytes]:
    """The snapshot as the pieces of a file, sealed with the primary key."""
    line = f"{_FORMAT} {secrets.token_hex(16)} {keyring.primary_id}\n".encode()
    cipher = AESGCM(keyring.purpose_key(_PURPOSE)[1])
    head = _Head(
        snapshot.deployment,
        snapshot.database,
        snapshot.generation,
        snapshot.confirmed,
        len(snapshot.owned),
    )
    yield line
    values = head, snapshot.client_keys, *snapshot.owned.items()
    for number, value in enumerate(values):
        nonce = os.urandom(_NONCE)
        text = msgspec.msgpack.encode(value)
        frame = nonce + cipher.encrypt(nonce, text, _bound(line, number))
        yield len(frame).to_bytes(_LENGTH, "big") + frame


def opened(data: bytes, keyring: Keyring) -> Snapshot:
    """What `sealed` sealed.

    Raises:
        BadSnapshot: it was cut, altered, or made by another release or with another key.
    """
    line, end, rest = data.partition(b"\n")
    words = line.decode("ascii", "replace").split(" ")
    if len(words) != 3 or words[0] != _FORMAT or not end:  # noqa: PLR2004 - format, id, key
        raise BadSnapshot("the snapshot is not of a form this release knows")
    try:
        _, key = keyring.purpose_key(_PURPOSE, words[2])
    except EncryptionKeyMissing:
        raise BadSnapshot(
            "the snapshot was sealed with a key that is not in the key ring"
        ) from None
    try:
        texts = _texts(line + b"\n", rest, AESGCM(key))
        head = _HEAD.decode(next(texts, b""))
        client_keys = _CLIENT_KEYS.decode(next(texts, b""))
        owned = dict(map(_TENANT.decode, texts))
    except InvalidTag as error:
        raise BadSnapshot("the snapshot was altered since it was sealed") from error
    except msgspec.DecodeError as error:
        raise BadSnapshot("the snapshot is not of a form this release knows") from error
    if len(owned) != head.tenants:
        raise BadSnapshot("the snapshot is not whole")
    return Snapshot(
        head.deployment, head.database, head.generation, head.confirmed, owned, client_keys
    )


def _texts(line: bytes, data: bytes, cipher: AESGCM) -> Iterator[bytes]:
    number = start = 0
    while start < len(data):
        body = start + _LENGTH
        start = body + int.from_bytes(data[body - _LENGTH : body], "big")
        frame = data[body:start]
        if len(frame) < _NONCE or start > len(data):
            raise InvalidTag
        yield cipher.decrypt(frame[:_NONCE], frame[_NONCE:], _bound(line, number))
        number += 1


def _bound(line: bytes, number: int) -> bytes:
    return line + number.to_bytes(8, "big")


class SnapshotFile:
    """Where the snapshot is. Reading and writing block."""

    def __init__(self, path: Path, keyring: Keyring) -> None:
        self.path = path
        self._keyring = keyring

    def read(self) -> Snapshot:
        """The snapshot that was written last.

        Raises:
            BadSnapshot: there is none, or it cannot be used.
        """
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise BadSnapshot(f"there is no snapshot at {self.path}: {error.strerror}") from error
        return opened(data, self._keyring)

    def write(self, snapshot: Snapshot) -> None:
        """Put the snapshot in the place of the last: a reader finds one of the two, whole.

        Raises:
            OSError: it cannot be written; the last one is still there.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.writelines(sealed(snapshot, self._keyring))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        finally:
            draft.unlink(missing_ok=True)


class SnapshotKeeper:
    """Keeps the file up to what is loaded: soon after a change, and before it would be too old.

    Args:
        file: where to.
        configuration, known: what is kept, and the client keys that open it.
        deployment, database: as in `Snapshot`.
        max_age: seconds after which a snapshot may not be used.
    """

    def __init__(
        self,
        file: SnapshotFile,
        configuration: Configuration,
        known: KnownKeys,
        *,
        deployment: str,
        database: str,
        max_age: float,
    ) -> None:
        self._file = file
        self._configuration = configuration
        self._known = known
        self._deployment = deployment
        self._database = database
        self._renew = max_age / 3
        self._revision = (-1, -1)
        self._confirmed = datetime.min.replace(tzinfo=UTC)
        self._failing = False

    async def run(self) -> None:
        """Load the tenants of the last snapshot, then write until cancelled."""
        await self._warm()
        while True:
            if self._is_due():
                await self.write()
                await asyncio.sleep(_LEAST_SECONDS)
            await asyncio.sleep(_LOOK_SECONDS)

    async def write(self) -> None:
        """Write now what is loaded now. A failure is logged, once until one succeeds."""
        revision, snapshot = self._loaded_revision, self._snapshot()
        try:
            await asyncio.to_thread(self._file.write, snapshot)
        except OSError as error:
            if not self._failing:
                logger.warning(
                    "the configuration cannot be kept on disk: %s: %s",
                    self._file.path,
                    error.strerror,
                )
            self._failing = True
            return
        self._failing = False
        self._revision, self._confirmed = revision, snapshot.confirmed

    async def _warm(self) -> None:
        """A replica that was restarted serves those it served, also if the database goes now."""
        with suppress(BadSnapshot):
            last = await asyncio.to_thread(self._file.read)
            if (last.deployment, last.database) != (self._deployment, self._database):
                return
            for tenant in last.owned:
                with suppress(StorageUnavailable):
                    await self._configuration.view(tenant)

    def _is_due(self) -> bool:
        confirmed = datetime.now(UTC) - timedelta(seconds=self._configuration.age)
        older = (confirmed - self._confirmed).total_seconds() > self._renew
        return older or self._revision != self._loaded_revision

    @property
    def _loaded_revision(self) -> tuple[int, int]:
        return self._configuration.revision, self._known.revision

    def _snapshot(self) -> Snapshot:
        return Snapshot(
            self._deployment,
            self._database,
            self._configuration.generation,
            datetime.now(UTC) - timedelta(seconds=self._configuration.age),
            dict(self._configuration.loaded),
            self._known.all,
        )

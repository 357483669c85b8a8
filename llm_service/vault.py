"""Sealing and opening secrets: a key ring, two named schemes, ciphertexts bound to their row.

A sealed secret is one line of ASCII that describes itself:

    sealed1:<scheme>:<key id>:<payload, url-safe base64>

`sealed1` fixes this layout and the context below; the key id selects the key, so no key is ever
tried on a ciphertext that is not its own.

Context: the fields "llm-service", deployment id, table, column, tenant, provider uid, row uid,
secret version (decimal), scheme and key id, each as a 4-byte big-endian length and UTF-8 bytes.

fernet-v1, AES-128-CBC with HMAC-SHA256: the payload is a Fernet token of the context (itself
length-prefixed) followed by the secret. The context is compared after decryption.

aes256gcm-v1: the payload is nonce (12) | wrapped data key (48) | nonce (12) | ciphertext and tag.
A random 256-bit data key seals the secret and is itself sealed by the ring's 256-bit key, both
with AES-256-GCM and the context as associated data.

A ring key encrypts nothing itself: HKDF-SHA256 derives one key for each purpose.
"""

import base64
import hashlib
import hmac
import os
import re
import secrets
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from llm_service.errors import (
    EncryptionKeyMissing,
    InvalidField,
    ProviderCredentialUnreadable,
    Violation,
)

MAX_SECRET_BYTES = 16 * 1024

_ENVELOPE = "sealed1"
_PEPPER = "llm-service client key pepper"
_KEY_BYTES = 32
_KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


class Scheme(StrEnum):
    """How a secret is sealed. Only AES256GCM_V1 may be called AES-256."""

    FERNET_V1 = "fernet-v1"
    AES256GCM_V1 = "aes256gcm-v1"


class BadKeyring(ValueError):
    """A key file or key text that cannot be used. Says where and why, and shows none of it."""


@dataclass(frozen=True, slots=True)
class Binding:
    """Where a ciphertext belongs. All of it is authenticated: elsewhere it does not open."""

    table: str
    column: str
    tenant: str
    provider_uid: str
    row_uid: str
    secret_version: int


class Keyring:
    """Keys by id; all of them open, the primary one seals. The repr shows ids and schemes."""

    def __init__(self, ciphers: Mapping[str, "_Cipher"], primary_id: str) -> None:
        self._ciphers = dict(ciphers)
        self.primary_id = primary_id

    @classmethod
    def from_text(cls, text: str) -> "Keyring":
        """Read a key file.

        A line is `<key id> <scheme> <base64 key> [primary]`, or `<base64 key> [primary]` for a bare
        Fernet key, whose id is derived from it. `#` starts a comment. A key is 32 bytes in either
        base64 alphabet. With one key, the word `primary` may be left out.

        Raises:
            BadKeyring: a line is not of that form, an id occurs twice, there is no key, or not
                exactly one is primary.
        """
        ciphers: dict[str, _Cipher] = {}
        primaries: list[str] = []
        for number, line in enumerate(text.splitlines(), start=1):
            words = line.partition("#")[0].split()
            if not words:
                continue
            is_primary = len(words) > 1 and words[-1] == "primary"
            key_id, cipher = _read_key(words[:-1] if is_primary else words, number)
            if key_id in ciphers:
                raise BadKeyring(f"key ring line {number}: its key id occurs twice")
            ciphers[key_id] = cipher
            if is_primary:
                primaries.append(key_id)
        return cls(ciphers, _choose_primary(list(ciphers), primaries))

    @property
    def primary_scheme(self) -> Scheme:
        return self.primary.scheme

    @property
    def primary(self) -> "_Cipher":
        return self._ciphers[self.primary_id]

    def get(self, key_id: str) -> "_Cipher | None":
        return self._ciphers.get(key_id)

    def __repr__(self) -> str:
        keys = ", ".join(f"{key_id}: {c.scheme.value}" for key_id, c in self._ciphers.items())
        return f"Keyring({keys}; primary {self.primary_id})"


class Vault:
    """Seals and opens secrets for one deployment. Without a key ring it refuses both."""

    def __init__(self, keyring: Keyring | None, deployment_id: str) -> None:
        self._keyring = keyring
        self._deployment_id = deployment_id

    def seal(self, secret: str, binding: Binding) -> str:
        """Seal a secret with the primary key.

        Raises:
            InvalidField: it is longer than MAX_SECRET_BYTES in UTF-8, or is not valid Unicode.
            EncryptionKeyMissing: there is no key ring.
        """
        keyring = self._require_keyring()
        key_id, cipher = keyring.primary_id, keyring.primary
        context = self._context(binding, cipher.scheme, key_id)
        payload = cipher.seal(_secret_bytes(secret), context)
        text = base64.urlsafe_b64encode(payload).decode()
        return f"{_ENVELOPE}:{cipher.scheme.value}:{key_id}:{text}"

    def open(self, sealed: str, binding: Binding) -> str:
        """Open what `seal` returned for the same binding.

        Raises:
            ProviderCredentialUnreadable: it is not a sealed secret, its key is not in the ring, or
                it was altered or moved since it was sealed.
            EncryptionKeyMissing: there is no key ring.
        """
        keyring = self._require_keyring()
        scheme, key_id, payload = _parse(sealed)
        cipher = keyring.get(key_id)
        if cipher is None or cipher.scheme is not scheme:
            raise ProviderCredentialUnreadable(
                "the stored secret was sealed with a key that is not in the key ring",
                metadata={"keyId": key_id, "scheme": scheme.value},
            )
        try:
            opened = cipher.open(payload, self._context(binding, scheme, key_id))
        except (InvalidToken, InvalidTag) as error:
            raise ProviderCredentialUnreadable(
                "the stored secret was altered or moved since it was sealed",
                metadata={"keyId": key_id, "scheme": scheme.value},
            ) from error
        return opened.decode()

    @staticmethod
    def describe(sealed: str) -> tuple[Scheme, str]:
        """The scheme and key id a ciphertext names; it is not opened, so nothing vouches for them.

        Raises:
            ProviderCredentialUnreadable: it is not a sealed secret, or its scheme is unknown.
        """
        scheme, key_id, _ = _parse(sealed)
        return scheme, key_id

    def pepper(self, key_id: str = "") -> tuple[str, bytes] | None:
        """A ring key's id (by default the primary's) and its pepper, 32 bytes, for client keys."""
        key_id = key_id or (self._keyring.primary_id if self._keyring else "")
        cipher = self._keyring.get(key_id) if self._keyring else None
        return (key_id, cipher.pepper) if cipher else None

    def _require_keyring(self) -> Keyring:
        if self._keyring is None:
            raise EncryptionKeyMissing("no encryption key is configured")
        return self._keyring

    def _context(self, binding: Binding, scheme: Scheme, key_id: str) -> bytes:
        fields = ("llm-service", self._deployment_id, *map(str, astuple(binding)), scheme, key_id)
        return b"".join(_prefixed(field.encode()) for field in fields)


def generate_key(scheme: Scheme) -> str:
    """A new random key of `scheme` in base64, to stand in a key file line behind id and scheme.

    On its own, key text is read as a bare Fernet key: give an AES-256 key its whole line.
    """
    if scheme is Scheme.FERNET_V1:
        return Fernet.generate_key().decode()
    return base64.urlsafe_b64encode(AESGCM.generate_key(bit_length=256)).decode()


def load_or_create_key_file(path: Path) -> tuple[Keyring, bool]:
    """Read a key file, or create it with one new Fernet key. True: it was created.

    It appears whole or not at all, with mode 0600; of several processes creating it at once, all
    get the same key. It blocks: call it at start-up or from a thread.

    Raises:
        BadKeyring: the file's group or others may read or write it, or its text cannot be used.
        OSError: it cannot be read or created.
    """
    created = not path.exists() and _create_key_file(path)
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        text = file.read().decode("ascii", errors="replace")
    if sys.platform != "win32" and mode & 0o077:
        raise BadKeyring(f"{path}: others than its owner have access to this key file: chmod 600")
    try:
        return Keyring.from_text(text), created
    except BadKeyring as error:
        raise BadKeyring(f"{path}: {error}") from None


def _create_key_file(path: Path) -> bool:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = generate_key(Scheme.FERNET_V1)
    line = f"{_derived_key_id(_decode_key(key))} {Scheme.FERNET_V1.value} {key} primary\n"
    # Written beside it and linked into place: a second process sees no file or the whole file.
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write("# Opens the stored provider keys. Back it up; show it to nobody.\n")
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    _sync_folder(path.parent)
    return True


def _sync_folder(folder: Path) -> None:
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Cipher(Protocol):
    """One ring key at work. `open` raises InvalidToken or InvalidTag unless all is as sealed."""

    scheme: ClassVar[Scheme]
    pepper: bytes

    def __init__(self, key: bytes) -> None: ...
    def seal(self, secret: bytes, context: bytes) -> bytes: ...
    def open(self, payload: bytes, context: bytes) -> bytes: ...


class _FernetCipher:
    scheme: ClassVar[Scheme] = Scheme.FERNET_V1

    def __init__(self, key: bytes) -> None:
        self.pepper = _derive(key, _PEPPER)
        derived = _derive(key, "llm-service fernet-v1 seal")
        self._fernet = Fernet(base64.urlsafe_b64encode(derived))

    def seal(self, secret: bytes, context: bytes) -> bytes:
        return base64.urlsafe_b64decode(self._fernet.encrypt(_prefixed(context) + secret))

    def open(self, payload: bytes, context: bytes) -> bytes:
        opened = self._fernet.decrypt(base64.urlsafe_b64encode(payload))
        expected = _prefixed(context)
        if not hmac.compare_digest(opened[: len(expected)], expected):
            raise InvalidToken
        return opened[len(expected) :]


class _Aes256GcmCipher:
    scheme: ClassVar[Scheme] = Scheme.AES256GCM_V1

    _NONCE = 12
    _HEADER = _NONCE + _KEY_BYTES + 16 + _NONCE  # 16: the tag of the wrapped data key

    def __init__(self, key: bytes) -> None:
        self.pepper = _derive(key, _PEPPER)
        self._wrapping = AESGCM(_derive(key, "llm-service aes256gcm-v1 wrap"))

    def seal(self, secret: bytes, context: bytes) -> bytes:
        data_key = AESGCM.generate_key(bit_length=256)
        wrap_nonce, nonce = os.urandom(self._NONCE), os.urandom(self._NONCE)
        wrapped = self._wrapping.encrypt(wrap_nonce, data_key, context)
        return wrap_nonce + wrapped + nonce + AESGCM(data_key).encrypt(nonce, secret, context)

    def open(self, payload: bytes, context: bytes) -> bytes:
        if len(payload) < self._HEADER:
            raise InvalidTag
        wrap_nonce = payload[: self._NONCE]
        wrapped = payload[self._NONCE : self._HEADER - self._NONCE]
        nonce = payload[self._HEADER - self._NONCE : self._HEADER]
        data_key = self._wrapping.decrypt(wrap_nonce, wrapped, context)
        return AESGCM(data_key).decrypt(nonce, payload[self._HEADER :], context)


_CIPHERS: Mapping[Scheme, type[_Cipher]] = {
    cipher.scheme: cipher for cipher in (_FernetCipher, _Aes256GcmCipher)
}


def _read_key(words: list[str], number: int) -> tuple[str, _Cipher]:
    # Nothing of the line is quoted: words in the wrong order would show the key.
    match words:
        case [text]:
            key = _decode_key(text, number)
            return _derived_key_id(key), _FernetCipher(key)
        case [key_id, scheme, text] if _KEY_ID.fullmatch(key_id) and scheme in set(Scheme):
            return key_id, _CIPHERS[Scheme(scheme)](_decode_key(text, number))
    raise BadKeyring(
        f"key ring line {number}: is not `<key id> <scheme> <base64 key> [primary]` with an id of"
        f" at most 64 letters, digits, '.', '-' or '_' and a scheme out of {', '.join(Scheme)}"
    )


def _decode_key(text: str, number: int = 1) -> bytes:
    padded = text.replace("+", "-").replace("/", "_").rstrip("=") + "="
    with suppress(ValueError):
        key = base64.b64decode(padded, altchars=b"-_", validate=True)
        if len(key) == _KEY_BYTES:
            return key
    # Outside the handler: the decoder's error is not this one's context.
    raise BadKeyring(f"key ring line {number}: the key is not 32 bytes in base64")


def _choose_primary(key_ids: list[str], primaries: list[str]) -> str:
    if not key_ids:
        raise BadKeyring("key ring: there is no key in it")
    if len(key_ids) == 1:
        return key_ids[0]
    if len(primaries) != 1:
        raise BadKeyring("key ring: of several keys, exactly one must be marked primary")
    return primaries[0]


def _derived_key_id(key: bytes) -> str:
    return hashlib.sha256(_derive(key, "llm-service key id")).hexdigest()[:8]


def _derive(key: bytes, purpose: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=purpose.encode()).derive(key)


def _prefixed(field: bytes) -> bytes:
    return len(field).to_bytes(4, "big") + field


def _secret_bytes(secret: str) -> bytes:
    with suppress(UnicodeEncodeError):
        encoded = secret.encode()
        if len(encoded) <= MAX_SECRET_BYTES:
            return encoded
        raise InvalidField(
            Violation("credential", f"a secret is at most {MAX_SECRET_BYTES} bytes long")
        )
    # Outside the handler: a UnicodeEncodeError carries the whole secret.
    raise InvalidField(Violation("credential", "a secret must be valid Unicode"))


def _parse(sealed: str) -> tuple[Scheme, str, bytes]:
    envelope, _, rest = sealed.partition(":")
    scheme, _, rest = rest.partition(":")
    key_id, _, text = rest.partition(":")
    if envelope != _ENVELOPE or not _KEY_ID.fullmatch(key_id):
        raise ProviderCredentialUnreadable("the stored secret is not in a known form")
    if scheme not in set(Scheme):
        raise ProviderCredentialUnreadable("the stored secret is sealed by an unknown scheme")
    payload = b""
    with suppress(ValueError):
        payload = base64.urlsafe_b64decode(text)
    # One spelling for each payload: the decoder alone would skip stray characters and bits.
    if not payload or base64.urlsafe_b64encode(payload).decode() != text:
        raise ProviderCredentialUnreadable("the stored secret is not in a known form")
    return Scheme(scheme), key_id, payload

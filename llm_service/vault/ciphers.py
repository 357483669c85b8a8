"""The schemes: how one ring key seals and opens."""

import base64
import hmac
import os
from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32


class Scheme(StrEnum):
    """How a secret is sealed. Only AES256GCM_V1 may be called AES-256."""

    FERNET_V1 = "fernet-v1"
    AES256GCM_V1 = "aes256gcm-v1"


def generate_key(scheme: Scheme) -> str:
    """A new random key of `scheme` in base64, to stand in a key file line behind id and scheme.

    On its own, key text is read as a bare Fernet key: give an AES-256 key its whole line.
    """
    if scheme is Scheme.FERNET_V1:
        return Fernet.generate_key().decode()
    return base64.urlsafe_b64encode(AESGCM.generate_key(bit_length=256)).decode()


class Cipher(Protocol):
    """One ring key at work. `open` raises InvalidToken or InvalidTag unless all is as sealed."""

    scheme: ClassVar[Scheme]

    def __init__(self, key: bytes) -> None: ...
    def seal(self, secret: bytes, context: bytes) -> bytes: ...
    def open(self, payload: bytes, context: bytes) -> bytes: ...


class _FernetCipher:
    scheme: ClassVar[Scheme] = Scheme.FERNET_V1

    def __init__(self, key: bytes) -> None:
        derived = derive(key, "llm-service fernet-v1 seal")
        self._fernet = Fernet(base64.urlsafe_b64encode(derived))

    def seal(self, secret: bytes, context: bytes) -> bytes:
        return base64.urlsafe_b64decode(self._fernet.encrypt(prefixed(context) + secret))

    def open(self, payload: bytes, context: bytes) -> bytes:
        opened = self._fernet.decrypt(base64.urlsafe_b64encode(payload))
        expected = prefixed(context)
        if not hmac.compare_digest(opened[: len(expected)], expected):
            raise InvalidToken
        return opened[len(expected) :]


class _Aes256GcmCipher:
    scheme: ClassVar[Scheme] = Scheme.AES256GCM_V1

    _NONCE = 12
    _HEADER = _NONCE + KEY_BYTES + 16 + _NONCE  # 16: the tag of the wrapped data key

    def __init__(self, key: bytes) -> None:
        self._wrapping = AESGCM(derive(key, "llm-service aes256gcm-v1 wrap"))

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


CIPHERS: Mapping[Scheme, type[Cipher]] = {
    cipher.scheme: cipher for cipher in (_FernetCipher, _Aes256GcmCipher)
}


def derive(key: bytes, purpose: str) -> bytes:
    """A key for one purpose and no other, 32 bytes: the ring key itself encrypts nothing."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose.encode()).derive(key)


def prefixed(field: bytes) -> bytes:
    """Behind its length, so that fields cannot run into each other."""
    return len(field).to_bytes(4, "big") + field

"""Answers kept for a day: sealed with AES-256-GCM by a key derived from the ring's primary one."""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from llm_service.vault.ciphers import prefixed
from llm_service.vault.keyring import Keyring

_PURPOSE = "kept answers"
_NONCE_BYTES = 12


class Unreadable(Exception):
    """What was kept was altered or moved, or is of another key."""


def seal_answer(keyring: Keyring, answer: bytes, place: tuple[str, ...]) -> tuple[str, bytes]:
    """The id of the ring key behind it, and the sealed answer, which opens at its place only."""
    key_id, key = keyring.purpose_key(_PURPOSE)
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return key_id, nonce + AESGCM(key).encrypt(nonce, answer, _context(place))


def open_answer(keyring: Keyring, key_id: str, sealed: bytes, place: tuple[str, ...]) -> bytes:
    """What `seal_answer` was given.

    Raises:
        Unreadable: it cannot be opened at this place.
        EncryptionKeyMissing: the ring has no key of that id.
    """
    _, key = keyring.purpose_key(_PURPOSE, key_id)
    nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
    try:
        return AESGCM(key).decrypt(nonce, rest, _context(place))
    except (InvalidTag, ValueError):
        raise Unreadable("a kept answer was altered or moved") from None


def _context(place: tuple[str, ...]) -> bytes:
    return b"".join(prefixed(field.encode()) for field in place)

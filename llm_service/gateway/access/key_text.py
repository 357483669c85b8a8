"""A client key's text: "llm_{id}_{secret}_{checksum}".

The id finds the key's row, the secret (256 random bits) is what only its holder knows, and the
checksum tells a mistyped or cut key, and lets a scanner of leaked texts tell keys from noise.
"""

import base64
import hmac
import re
import secrets
import zlib
from dataclasses import dataclass, field

from llm_service.domain.access import ClientKey
from llm_service.errors import EncryptionKeyMissing
from llm_service.vault import Vault

PREFIX = "llm_"

_TEXT = re.compile(r"llm_([a-z2-7]{16})_([a-z2-7]{52})_([0-9a-f]{8})", re.ASCII)


@dataclass(frozen=True, slots=True)
class KeyText:
    """A key's text, read. The secret does not show in its repr."""

    key_id: str
    secret: str = field(repr=False)

    def __str__(self) -> str:
        body = f"{PREFIX}{self.key_id}_{self.secret}"
        return f"{body}_{zlib.crc32(body.encode()):08x}"


def new() -> KeyText:
    return KeyText(_random(10), _random(32))


def read(text: str) -> KeyText | None:
    """The parts of a key's text; None if it is none, or its checksum is wrong."""
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    found = KeyText(match[1], match[2])
    return found if str(found) == text else None


def digest(secret: str, vault: Vault) -> tuple[str, bytes]:
    """The id of the ring key whose pepper keys the hash, and the hash of a new key's secret.

    Raises:
        EncryptionKeyMissing: there is no key ring.
    """
    found = vault.pepper()
    if found is None:
        raise EncryptionKeyMissing("no encryption key is configured")
    pepper_id, pepper = found
    return pepper_id, hmac.digest(pepper, secret.encode(), "sha256")


def is_of(secret: str, key: ClientKey, vault: Vault) -> bool:
    """Whether it is the key's secret, told in constant time."""
    found = vault.pepper(key.pepper_id)
    if found is None:
        return False
    return hmac.compare_digest(hmac.digest(found[1], secret.encode(), "sha256"), key.digest)


def _random(size: int) -> str:
    """`size` random bytes in base32, lower case, without padding."""
    return base64.b32encode(secrets.token_bytes(size)).decode().rstrip("=").lower()

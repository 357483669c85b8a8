"""Sealing a secret to its row, and opening it there."""

import base64
import binascii
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass

from cryptography.exceptions import InvalidTag
from cryptography.fernet import InvalidToken

from llm_service.errors import (
    EncryptionKeyMissing,
    InvalidField,
    ProviderCredentialUnreadable,
    Violation,
)
from llm_service.vault.ciphers import Scheme, prefixed
from llm_service.vault.keyring import KEY_ID, Keyring

MAX_SECRET_BYTES = 16 * 1024

_WITHOUT_ORIGIN = "sealed1"
_WITH_ORIGIN = "sealed2"


@dataclass(frozen=True, slots=True)
class Binding:
    """Where a ciphertext belongs, authenticated. `origin`: where the secret may go; "" nowhere."""

    table: str
    column: str
    tenant: str
    provider_uid: str
    row_uid: str
    secret_version: int
    origin: str = ""


class Vault:
    """Seals and opens secrets for one deployment. Without a key ring it refuses both.

    Args:
        keyring: the keys, until `use` puts others in their place.
        deployment_id: what every secret is bound to.
        refused: ids of keys that must not seal, each with the reason: "was retired".
    """

    def __init__(
        self,
        keyring: Keyring | None,
        deployment_id: str,
        refused: Mapping[str, str] | None = None,
    ) -> None:
        self._keys = keyring, dict(refused or {})
        self.deployment_id = deployment_id

    def use(self, keyring: Keyring | None, refused: Mapping[str, str] | None = None) -> None:
        """Go on with another ring, from one call to the next."""
        self._keys = keyring, dict(refused or {})

    @property
    def keyring(self) -> Keyring | None:
        return self._keys[0]

    @property
    def audit_keys(self) -> tuple[str, Mapping[str, bytes]]:
        """The primary key's id, "" without a ring; and by id, what seals audit entries."""
        if (ring := self.keyring) is None:
            return "", {}
        keys = {key_id: ring.purpose_key("audit seal", key_id)[1] for key_id in ring.schemes}
        return ring.primary_id, keys

    @property
    def trouble(self) -> str:
        """Why nothing can be sealed, in words for an operator; "" if it can."""
        keyring, refused = self._keys
        if keyring is None:
            return "no encryption key is configured"
        if why := refused.get(keyring.primary_id, ""):
            return f"the primary encryption key {why}"
        return ""

    def seal(self, secret: str, binding: Binding) -> str:
        """Seal a secret with the primary key.

        Raises:
            InvalidField: it is longer than MAX_SECRET_BYTES in UTF-8, or is not valid Unicode.
            EncryptionKeyMissing: there is no key ring, or its primary key must not seal.
        """
        keyring, refused = self._keys
        if keyring is None:
            raise EncryptionKeyMissing(self.trouble)
        key_id, cipher = keyring.primary_id, keyring.primary
        if why := refused.get(key_id, ""):
            raise EncryptionKeyMissing(
                f"the primary encryption key {why}", metadata={"keyId": key_id}
            )
        envelope = _WITH_ORIGIN if binding.origin else _WITHOUT_ORIGIN
        context = self._context(envelope, binding, cipher.scheme, key_id)
        payload = cipher.seal(_secret_bytes(secret), context)
        text = base64.urlsafe_b64encode(payload).decode()
        return f"{envelope}:{cipher.scheme.value}:{key_id}:{text}"

    def open(self, sealed: str, binding: Binding) -> str:
        """Open what `seal` returned for the same binding.

        Raises:
            ProviderCredentialUnreadable: it is not a sealed secret, its key is not in the ring, or
                it was altered or moved since it was sealed.
            EncryptionKeyMissing: there is no key ring.
        """
        keyring = self.keyring
        if keyring is None:
            raise EncryptionKeyMissing(self.trouble)
        envelope, scheme, key_id, payload = _parse(sealed)
        cipher = keyring.get(key_id)
        if cipher is None or cipher.scheme is not scheme:
            raise ProviderCredentialUnreadable(
                "the stored secret was sealed with a key that is not in the key ring",
                metadata={"keyId": key_id, "scheme": scheme.value},
            )
        try:
            opened = cipher.open(payload, self._context(envelope, binding, scheme, key_id))
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
        _, scheme, key_id, _ = _parse(sealed)
        return scheme, key_id

    def _context(self, envelope: str, binding: Binding, scheme: Scheme, key_id: str) -> bytes:
        *place, origin = map(str, astuple(binding))
        fields = ["llm-service", self.deployment_id, *place, scheme, key_id]
        if envelope == _WITH_ORIGIN:
            fields.append(origin)
        return b"".join(prefixed(field.encode()) for field in fields)


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


def _parse(sealed: str) -> tuple[str, Scheme, str, bytes]:
    envelope, _, rest = sealed.partition(":")
    scheme, _, rest = rest.partition(":")
    key_id, _, text = rest.partition(":")
    if envelope not in (_WITHOUT_ORIGIN, _WITH_ORIGIN) or not KEY_ID.fullmatch(key_id):
        raise ProviderCredentialUnreadable("the stored secret is not in a known form")
    if scheme not in set(Scheme):
        raise ProviderCredentialUnreadable("the stored secret is sealed by an unknown scheme")
    payload = b""
    with suppress(ValueError, binascii.Error):
        payload = base64.urlsafe_b64decode(text)
    # One spelling for each payload: the decoder alone would skip stray characters and bits.
    if not payload or base64.urlsafe_b64encode(payload).decode() != text:
        raise ProviderCredentialUnreadable("the stored secret is not in a known form")
    return envelope, Scheme(scheme), key_id, payload

"""Keys by id, and the text they are read from."""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from llm_service.domain.encryption import KeyCheck
from llm_service.domain.secrecy import NeverPickled
from llm_service.errors import EncryptionKeyMissing
from llm_service.vault.ciphers import CIPHERS, KEY_BYTES, Cipher, Scheme, derive, prefixed

KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
PRIMARY = "primary"


class BadKeyring(ValueError):
    """A key file or key text that cannot be used. Says where and why, and shows none of it."""


class RingKey(NeverPickled):
    """One key: its cipher, and what is derived from it. Neither printed nor pickled."""

    __slots__ = ("_key", "cipher")

    def __init__(self, scheme: Scheme, key: bytes) -> None:
        self._key = key
        self.cipher: Cipher = CIPHERS[scheme](key)

    @property
    def scheme(self) -> Scheme:
        return self.cipher.scheme

    def derived(self, purpose: str) -> bytes:
        return derive(self._key, purpose)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RingKey):
            return NotImplemented
        return self.scheme is other.scheme and hmac.compare_digest(self._key, other._key)

    def __hash__(self) -> int:
        return hash(self.scheme)

    def __repr__(self) -> str:
        return f"RingKey({self.scheme.value})"


class Keyring:
    """Keys by id; all of them open, the primary one seals. The repr shows ids and schemes."""

    def __init__(self, keys: Mapping[str, RingKey], primary_id: str) -> None:
        self._keys = dict(keys)
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
        keys: dict[str, RingKey] = {}
        primaries: list[str] = []
        for line in read_lines(text):
            if line.key_id in keys:
                raise BadKeyring(f"key ring line {line.number}: its key id occurs twice")
            keys[line.key_id] = line.key
            if line.is_primary:
                primaries.append(line.key_id)
        return cls(keys, _choose_primary(list(keys), primaries))

    @property
    def primary_scheme(self) -> Scheme:
        return self.primary.scheme

    @property
    def primary(self) -> Cipher:
        return self._keys[self.primary_id].cipher

    @property
    def schemes(self) -> Mapping[str, Scheme]:
        """The scheme of each key, by its id, in the order of the text."""
        return {key_id: key.scheme for key_id, key in self._keys.items()}

    def get(self, key_id: str) -> Cipher | None:
        key = self._keys.get(key_id)
        return key.cipher if key else None

    def purpose_key(self, purpose: str, key_id: str | None = None) -> tuple[str, bytes]:
        """A key of 32 bytes for one purpose, and the id of the ring key it is derived from.

        Store that id beside whatever the key makes, in a column of type `RingKeyId`, and give it
        back to check it: so it outlasts a rotation, and the ring key is not retired before it. Of
        the primary key without `key_id`.

        Raises:
            EncryptionKeyMissing: the ring has no key of that id.
        """
        chosen = self.primary_id if key_id is None else key_id
        key = self._keys.get(chosen)
        if key is None:
            raise EncryptionKeyMissing(
                "a key that is still in use is not in the key ring", metadata={"keyId": chosen}
            )
        return chosen, key.derived(f"llm-service purpose {purpose}")

    def checks(self, deployment_id: str) -> tuple[KeyCheck, ...]:
        """What a deployment keeps to know each of these keys again."""
        return tuple(
            KeyCheck(key_id, key.scheme.value, _check_value(key, key_id, deployment_id))
            for key_id, key in self._keys.items()
        )

    def keeping(self, other: "Keyring") -> "Keyring":
        """This ring, and the keys of another it has no longer, to open with."""
        return Keyring({**other._keys, **self._keys}, self.primary_id)  # noqa: SLF001 - its own kind

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Keyring):
            return NotImplemented
        return (self._keys, self.primary_id) == (other._keys, other.primary_id)

    def __hash__(self) -> int:
        return hash((self.primary_id, *self._keys))

    def __repr__(self) -> str:
        keys = ", ".join(f"{key_id}: {key.scheme.value}" for key_id, key in self._keys.items())
        return f"Keyring({keys}; primary {self.primary_id})"


@dataclass(frozen=True, slots=True)
class Line:
    """One key's line in a key file; `number` counts from 1."""

    number: int
    key_id: str
    key: RingKey
    is_primary: bool


def read_lines(text: str) -> Iterator[Line]:
    """The lines that hold keys.

    Raises:
        BadKeyring: a line is not of the form.
    """
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        is_primary = len(words) > 1 and words[-1] == PRIMARY
        key_id, key = _read_key(words[:-1] if is_primary else words, number)
        yield Line(number, key_id, key, is_primary)


def bare_key(text: str, number: int = 1) -> bytes:
    """The 32 bytes of a key in either base64 alphabet, padded or not.

    Raises:
        BadKeyring: it is not that.
    """
    padded = text.replace("+", "-").replace("/", "_").rstrip("=") + "="
    with suppress(ValueError):
        key = base64.b64decode(padded, altchars=b"-_", validate=True)
        if len(key) == KEY_BYTES:
            return key
    # Outside the handler: the decoder's error is not this one's context.
    raise BadKeyring(f"key ring line {number}: the key is not 32 bytes in base64")


def derived_key_id(key: bytes) -> str:
    """The id of a key that was given none."""
    return hashlib.sha256(derive(key, "llm-service key id")).hexdigest()[:8]


def _read_key(words: list[str], number: int) -> tuple[str, RingKey]:
    # Nothing of the line is quoted: words in the wrong order would show the key.
    match words:
        case [text]:
            key = bare_key(text, number)
            return derived_key_id(key), RingKey(Scheme.FERNET_V1, key)
        case [key_id, scheme, text] if KEY_ID.fullmatch(key_id) and scheme in set(Scheme):
            return key_id, RingKey(Scheme(scheme), bare_key(text, number))
    raise BadKeyring(
        f"key ring line {number}: is not `<key id> <scheme> <base64 key> [primary]` with an id of"
        f" at most 64 letters, digits, '.', '-' or '_' and a scheme out of {', '.join(Scheme)}"
    )


def _choose_primary(key_ids: list[str], primaries: list[str]) -> str:
    if not key_ids:
        raise BadKeyring("key ring: there is no key in it")
    if len(key_ids) == 1:
        return key_ids[0]
    if len(primaries) != 1:
        raise BadKeyring("key ring: of several keys, exactly one must be marked primary")
    return primaries[0]


def _check_value(key: RingKey, key_id: str, deployment_id: str) -> str:
    fields = (deployment_id, key.scheme.value, key_id)
    checked = b"".join(prefixed(field.encode()) for field in fields)
    return hmac.new(key.derived("llm-service key check"), checked, hashlib.sha256).hexdigest()

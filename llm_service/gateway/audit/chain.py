"""Chains of audit entries: each entry's digest covers the one before, and a key seals the digest.

The digest is a SHA-256 and needs no key: whoever kept one can tell that nothing up to there has
changed. The seal is an HMAC of it, by a key derived for nothing else, so that only this service can
add an entry. A sealed entry vouches for all before it, those too whose key has left the key ring.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime

from llm_service.domain.audit import AuditEntry, ChainHead, Problem
from llm_service.vault import Vault

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Sealer:
    """What seals entries. `primary` "": there is no key, and entries stay unsealed."""

    deployment_id: str
    primary: str
    keys: Mapping[str, bytes]

    @classmethod
    def of(cls, vault: Vault) -> "Sealer":
        return cls(vault.deployment_id, *vault.audit_keys)

    def key_after(self, head: ChainHead, *, primary_was_used: bool) -> str:
        """The key for the entry after `head`.

        `primary_was_used`: somewhere in the chain. Then a key that seals now has replaced it, which
        another replica knows already: this one follows, if it has the key.
        """
        newer = head.key_id in self.keys and head.key_id != self.primary
        return head.key_id if newer and primary_was_used else self.primary

    def sealed(self, entry: AuditEntry, head: ChainHead, key_id: str) -> AuditEntry:
        """The entry in its place after `head`, with digest and seal."""
        epoch = head.epoch + (key_id != head.key_id)
        placed = replace(
            entry, tenant=head.tenant, sequence=head.sequence + 1, key_id=key_id, epoch=epoch
        )
        digest = self.digest(placed, head.digest)
        return replace(placed, digest=digest, seal=self.seal(digest, key_id) or "")

    def digest(self, entry: AuditEntry, before: str) -> str:
        """Of an entry that follows the digest `before`. Its own digest and seal are not in it."""
        microseconds = (entry.create_time - _EPOCH) // datetime.resolution
        bare = replace(entry, create_time=_EPOCH, digest="", seal="")
        text = hashlib.sha256()
        where = ("llm-service audit 1", self.deployment_id, before, microseconds)
        for part in (*where, *_parts(bare)):
            data = str(part).encode()
            text.update(len(data).to_bytes(4, "big") + data)
        return text.hexdigest()

    def seal(self, digest: str, key_id: str) -> str | None:
        """In hexadecimal; None: the key is not in the key ring."""
        key = self.keys.get(key_id)
        return hmac.digest(key, digest.encode(), "sha256").hex() if key else None


class Reading:
    """One chain, read from its first entry on: is each as it was written?"""

    def __init__(self, sealer: Sealer, tenant: str) -> None:
        self._sealer = sealer
        self._keys_before: set[str] = set()
        self.end = ChainHead(tenant)
        self.vouched = 0
        """The last entry whose seal is known to be right; it vouches for all before it."""

    def problem(self, entry: AuditEntry) -> Problem | None:
        """What is wrong with the next entry; None: nothing, and it is the chain's new end."""
        if entry.sequence != self.end.sequence + 1:
            return Problem.ENTRY_MISSING
        if not hmac.compare_digest(entry.digest, self._sealer.digest(entry, self.end.digest)):
            return Problem.ENTRY_ALTERED
        if not self._key_may_follow(entry):
            return Problem.KEY_SUPERSEDED
        seal = self._sealer.seal(entry.digest, entry.key_id)
        if seal is not None and not hmac.compare_digest(entry.seal, seal):
            return Problem.SEAL_INVALID
        if seal is not None:
            self.vouched = entry.sequence
        self._keys_before.add(self.end.key_id)
        self.end = entry.head
        return None

    def last_problem(self) -> tuple[Problem, int] | None:
        """What is wrong with the chain's end, once every entry has been read, and where."""
        if self.vouched < self.end.sequence:
            return Problem.SEAL_UNKNOWN, self.vouched + 1
        newest = self._sealer.primary in ("", self.end.key_id, *self._keys_before)
        if self.end.sequence and not newest:
            # The service seals all chains anew as soon as its primary key is another.
            return Problem.KEY_SUPERSEDED, self.end.sequence
        return None

    def _key_may_follow(self, entry: AuditEntry) -> bool:
        """A key seals for one stretch of the chain; once another has replaced it, it is done."""
        if entry.key_id == self.end.key_id:
            return entry.epoch == self.end.epoch
        return entry.epoch == self.end.epoch + 1 and entry.key_id not in self._keys_before


def _parts(entry: AuditEntry) -> list[object]:
    parts: list[object] = []
    for value in astuple(entry):
        parts += [len(value), *_flat(value)] if isinstance(value, tuple) else [value]
    return parts


def _flat(values: tuple[object, ...]) -> list[object]:
    return [leaf for one in values for leaf in (one if isinstance(one, tuple) else (one,))]

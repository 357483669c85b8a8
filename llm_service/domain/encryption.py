"""Encryption keys as a deployment knows them: by id and by use, never by what they are."""

from dataclasses import field
from datetime import datetime

from llm_service.domain.value import value


@value
class KeyCheck:
    """What a deployment keeps to know a key again; it opens nothing.

    `value` is 64 hexadecimal digits that only this key, in this scheme, under this id and in this
    deployment, gives.
    """

    key_id: str
    scheme: str
    value: str


@value
class KnownKey:
    """A key the deployment has had."""

    check: KeyCheck
    create_time: datetime
    retire_time: datetime | None = None


@value
class ReplicaKeys:
    """The ring one replica works with, as it last said.

    `problem` is what is wrong with the ring it was last offered, or why it cannot seal; "" if all
    is well.
    """

    replica_uid: str
    host: str
    primary_id: str
    key_ids: tuple[str, ...]
    problem: str
    report_time: datetime


@value
class EncryptionKey:
    """A key's standing.

    Attributes:
        scheme: "" if only rows name the key: nobody here has ever loaded it.
        primary: new secrets are sealed with it.
        loaded: it is in the ring of whoever answers.
        references: how many stored values were sealed with it, or with what is derived from it.
        problem: why it must not seal; "" if it may.
    """

    key_id: str
    scheme: str
    primary: bool
    loaded: bool
    references: int
    retire_time: datetime | None = None
    problem: str = ""


@value
class KeyStatus:
    """Every key the deployment has had or needs, and the replicas that reported lately."""

    keys: tuple[EncryptionKey, ...]
    replicas: tuple[ReplicaKeys, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Ids of keys that stored values need and that are not loaded."""
        return tuple(key.key_id for key in self.keys if key.references and not key.loaded)


@value
class SealedRow:
    """A sealed value and where it belongs, as it was read.

    `table` and `column` say where it is stored; the rest is what it is bound to.
    """

    table: str
    column: str
    tenant: str
    provider_uid: str
    row_uid: str
    secret_version: int
    version: int
    sealed: str = field(repr=False)
    origin: str = ""


@value
class Rewrapped:
    """What was done with some rows, in order.

    `unreadable` rows hold what no loaded key opens; `skipped` ones were changed by somebody else
    meanwhile, who wins. Both counts are of values.
    """

    rewrapped: int = 0
    skipped: int = 0
    unreadable: tuple[SealedRow, ...] = ()

    def __add__(self, other: "Rewrapped") -> "Rewrapped":
        return Rewrapped(
            self.rewrapped + other.rewrapped,
            self.skipped + other.skipped,
            self.unreadable + other.unreadable,
        )

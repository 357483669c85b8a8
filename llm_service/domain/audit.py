"""What is kept of administrative calls: entries, and the chains that hold them together."""

from datetime import datetime
from enum import StrEnum

from llm_service.domain.value import value

REDACTED_JSON = '"[redacted]"'


@value
class Hidden:
    """A secret in the place of a field's JSON text: that it changed may be told, and no more."""

    version: int

    def __str__(self) -> str:
        return REDACTED_JSON


@value
class FieldChange:
    """One field of one resource, before and after, as JSON text without secrets; "" is unset."""

    resource: str
    path: str
    old_value_json: str = ""
    new_value_json: str = ""


@value
class ChainHead:
    """The end of a tenant's chain: what the next entry goes on from. `digest` in hexadecimal."""

    tenant: str
    sequence: int = 0
    digest: str = ""
    key_id: str = ""
    epoch: int = 0


@value
class AuditEntry:
    """One administrative call, or a change the service made by itself.

    `tenant` "" is what everyone shares. `changed_resources` are those of `changes`, to be found by.
    `error_reason` "": it succeeded. `digest` is the SHA-256 of
    all that stands above it and of the digest before, `seal` an HMAC of the digest by the key
    `key_id`; both in hexadecimal, and "" where there is no key. `epoch` grows with each new key.
    """

    tenant: str
    sequence: int
    create_time: datetime
    principal: str
    peer_ip_address: str
    method: str
    resource: str
    changes: tuple[FieldChange, ...]
    changed_resources: tuple[str, ...]
    error_reason: str
    request_id: str
    trace_id: str
    key_id: str = ""
    epoch: int = 0
    digest: str = ""
    seal: str = ""

    @property
    def head(self) -> ChainHead:
        """The chain's end, once this is its last entry."""
        return ChainHead(self.tenant, self.sequence, self.digest, self.key_id, self.epoch)


class Problem(StrEnum):
    """What is wrong with a chain; the contract says what each means."""

    ENTRY_MISSING = "entry_missing"
    ENTRY_ALTERED = "entry_altered"
    SEAL_INVALID = "seal_invalid"
    KEY_SUPERSEDED = "key_superseded"
    SEAL_UNKNOWN = "seal_unknown"
    ANCHOR_MISMATCH = "anchor_mismatch"


@value
class Anchor:
    """Where a chain had come to. `sequence` 0: it had no entry."""

    tenant: str
    sequence: int
    digest: str


@value
class Verdict:
    """What was found of one chain. `problem` None: it is intact, and `broken_sequence` is 0."""

    anchor: Anchor
    problem: Problem | None = None
    broken_sequence: int = 0


def tenant_of(resource: str) -> str:
    """Whose a resource of that name is; "": everyone's."""
    head, _, rest = resource.partition("/")
    return rest.partition("/")[0] if head == "tenants" else ""

"""Every failure this service reports on purpose.

GatewayError
├── the request
│   ├── InvalidField              a field is missing or wrong; names each one
│   ├── ContextLengthExceeded     more tokens than the model's window
│   ├── RequestTooLarge           more bytes than the provider takes
│   ├── CapabilityNotSupported    the model lacks what the request needs
│   ├── ProviderRejectedRequest   the provider calls the request wrong
│   ├── ModelNotFound             the caller named a model nobody serves
│   ├── ModelNotAllowed           configuration locks the choice
│   ├── ResourceNotFound          no such provider, credential, model, record or key
│   ├── AlreadyExists             the id is taken
│   ├── RequestIdReused           another request was sent under that id
│   ├── RequestInProgress         the same request is still being served
│   ├── EtagMismatch              the resource changed since it was read
│   └── ResourceInUse             something still refers to the resource
├── the caller
│   ├── CallerUnauthenticated     nobody this service knows
│   └── PermissionDenied          a role is lacking, or another tenant is named
├── the gateway's own limits
│   ├── RateLimited               the caller's rate limit, or one of where the call would go
│   ├── CostLimitExceeded         the estimate is above the caller's maximum
│   ├── BudgetExceeded            a budget that blocks has no room for the call
│   ├── CostUnknown               such a budget applies, and the call has no bound
│   ├── Overloaded                shedding load, or draining
│   └── ProviderBusy              as many calls on their way to one provider as may be
├── configuration an operator must fix
│   ├── NoRoute                   nothing configured can serve the call
│   ├── ProviderDisabled          the named provider is switched off
│   ├── ProviderCredentialMissing
│   ├── ProviderCredentialRejected    the provider refused the stored key
│   ├── ProviderCredentialUnreadable  the stored key cannot be opened
│   ├── ProviderPermissionDenied      region, terms, model access
│   ├── ProviderQuotaExhausted        an empty account or a monthly cap
│   ├── EncryptionKeyMissing
│   └── EgressDenied              the address is not one this service may dial
├── the provider, now
│   ├── ProviderRateLimited
│   ├── ProviderUnavailable
│   ├── ProviderTimeout
│   ├── ProviderUnreachable
│   ├── ProviderProtocolError     an answer that cannot be parsed
│   ├── ContentFiltered           a filter struck, and another target was to be asked then
│   └── StreamInterrupted         it broke after the caller had content
└── the gateway, now
    └── StorageUnavailable

`str(error)` is shown to callers: our words only, never a provider's text, a prompt or a secret.
Diagnostics travel in `__cause__`, which is logged by type and never sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that is missing or wrong.

    `field` is its path in the request message, in the proto's spelling:
    "messages[0].parts[1].image".
    """

    field: str
    description: str


class GatewayError(Exception):
    """A failure with a reason from the contract's `ErrorReason`.

    Attributes:
        reason: the `ErrorReason` name without its prefix.
        retriable: the same request may succeed later; the status then carries RetryInfo.
        falls_back: another target may serve the call, so the chain goes on.
        may_have_cost: the provider may have worked on the call, and bill it, although it failed.
        retry_delay: seconds to wait, when somebody said so.
        metadata: `ErrorInfo.metadata`, lowerCamelCase keys, no secrets and no provider text.
        http_status: what the provider answered; 0 if it did not answer.
        provider_code: the provider's own error type or code, from a closed vocabulary of at most 64
            characters of [A-Za-z0-9_.-]; "" if unknown.
        used_tokens: input tokens that earlier requests of the same attempt were charged for.
        failure: a `domain.completion.FailedCompletion`, once the call had reached routing.
    """

    reason: ClassVar[str]
    retriable: bool = False
    falls_back: bool = False
    may_have_cost: bool = False
    used_tokens: int = 0

    def __init__(
        self,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        retry_delay: float | None = None,
        http_status: int = 0,
        provider_code: str = "",
    ) -> None:
        super().__init__(message)
        self.metadata = dict(metadata or {})
        self.retry_delay = retry_delay
        self.http_status = http_status
        self.provider_code = provider_code
        self.failure: object | None = None


class InvalidField(GatewayError):
    """Fields are missing or wrong. Every one found is named, not only the first."""

    reason = "INVALID_FIELD"

    def __init__(self, *violations: Violation) -> None:
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in violations))
        self.violations = violations


class ContextLengthExceeded(GatewayError):
    reason = "CONTEXT_LENGTH_EXCEEDED"


class RequestTooLarge(GatewayError):
    reason = "REQUEST_TOO_LARGE"


class CapabilityNotSupported(GatewayError):
    reason = "CAPABILITY_NOT_SUPPORTED"
    falls_back = True


class ProviderRejectedRequest(GatewayError):
    reason = "PROVIDER_REJECTED_REQUEST"


class ModelNotFound(GatewayError):
    reason = "MODEL_NOT_FOUND"


class ModelNotAllowed(GatewayError):
    reason = "MODEL_NOT_ALLOWED"


class ResourceNotFound(GatewayError):
    reason = "RESOURCE_NOT_FOUND"


class AlreadyExists(GatewayError):
    reason = "ALREADY_EXISTS"


class RequestIdReused(GatewayError):
    reason = "REQUEST_ID_REUSED"


class RequestInProgress(GatewayError):
    reason = "REQUEST_IN_PROGRESS"
    retriable = True


class EtagMismatch(GatewayError):
    reason = "ETAG_MISMATCH"


class ResourceInUse(GatewayError):
    reason = "RESOURCE_IN_USE"


class CallerUnauthenticated(GatewayError):
    reason = "CALLER_UNAUTHENTICATED"


class PermissionDenied(GatewayError):
    reason = "PERMISSION_DENIED"


@dataclass(frozen=True, slots=True)
class Quota:
    """A limit: whose, of what by the names of the contract's `RateLimits`, and how much."""

    subject: str
    metric: str
    limit: int


class RateLimited(GatewayError):
    """`of_credential`: the limit of one credential, so that another one may do.

    A call that needs more than the whole limit is not retriable.
    """

    reason = "RATE_LIMITED"
    retriable = True

    def __init__(
        self,
        message: str,
        quota: Quota,
        *,
        retry_delay: float | None = None,
        retriable: bool = True,
        falls_back: bool = False,
        of_credential: bool = False,
    ) -> None:
        super().__init__(message, retry_delay=retry_delay)
        self.quota = quota
        self.retriable = retriable
        self.falls_back = falls_back
        self.of_credential = of_credential


class CostLimitExceeded(GatewayError):
    reason = "COST_LIMIT_EXCEEDED"
    falls_back = True


class BudgetExceeded(GatewayError):
    """`retry_delay` None: it will have no room within the hour."""

    reason = "BUDGET_EXCEEDED"

    def __init__(
        self,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        retry_delay: float | None = None,
    ) -> None:
        super().__init__(message, metadata=metadata, retry_delay=retry_delay)
        self.retriable = retry_delay is not None


class CostUnknown(GatewayError):
    reason = "COST_UNKNOWN"
    falls_back = True


class Overloaded(GatewayError):
    reason = "OVERLOADED"
    retriable = True


class ProviderBusy(GatewayError):
    reason = "OVERLOADED"
    retriable = True
    falls_back = True


class NoRoute(GatewayError):
    reason = "NO_ROUTE"
    falls_back = True


class ProviderDisabled(GatewayError):
    reason = "PROVIDER_DISABLED"
    falls_back = True


class ProviderCredentialMissing(GatewayError):
    reason = "PROVIDER_CREDENTIAL_MISSING"
    falls_back = True


class ProviderCredentialRejected(GatewayError):
    reason = "PROVIDER_CREDENTIAL_REJECTED"
    falls_back = True


class ProviderCredentialUnreadable(GatewayError):
    reason = "PROVIDER_CREDENTIAL_UNREADABLE"
    falls_back = True


class ProviderPermissionDenied(GatewayError):
    reason = "PROVIDER_PERMISSION_DENIED"
    falls_back = True


class ProviderQuotaExhausted(GatewayError):
    reason = "PROVIDER_QUOTA_EXHAUSTED"
    falls_back = True


class EncryptionKeyMissing(GatewayError):
    reason = "ENCRYPTION_KEY_MISSING"
    falls_back = True


class EgressDenied(GatewayError):
    reason = "EGRESS_DENIED"
    falls_back = True


class ProviderRateLimited(GatewayError):
    reason = "PROVIDER_RATE_LIMITED"
    retriable = True
    falls_back = True


class ProviderUnavailable(GatewayError):
    reason = "PROVIDER_UNAVAILABLE"
    retriable = True
    falls_back = True
    may_have_cost = True


class ProviderTimeout(GatewayError):
    reason = "PROVIDER_TIMEOUT"
    retriable = True
    falls_back = True
    may_have_cost = True


class ProviderUnreachable(GatewayError):
    reason = "PROVIDER_UNREACHABLE"
    retriable = True
    falls_back = True
    may_have_cost = True


class ProviderProtocolError(GatewayError):
    reason = "PROVIDER_PROTOCOL_ERROR"
    falls_back = True
    may_have_cost = True


class ContentFiltered(GatewayError):
    """Of an attempt only: a call that ends so is answered with what the filter left."""

    reason = "CONTENT_FILTER"
    may_have_cost = True


class StreamInterrupted(GatewayError):
    reason = "STREAM_INTERRUPTED"
    retriable = True


class StorageUnavailable(GatewayError):
    reason = "STORAGE_UNAVAILABLE"
    retriable = True

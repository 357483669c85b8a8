"""The gRPC status code of every failure: one table by error, one by reason."""

from grpc import StatusCode

from llm_service import errors

STATUS: dict[type[errors.GatewayError], StatusCode] = {
    errors.InvalidField: StatusCode.INVALID_ARGUMENT,
    errors.ContextLengthExceeded: StatusCode.INVALID_ARGUMENT,
    errors.RequestTooLarge: StatusCode.INVALID_ARGUMENT,
    errors.CapabilityNotSupported: StatusCode.INVALID_ARGUMENT,
    errors.ProviderRejectedRequest: StatusCode.INVALID_ARGUMENT,
    errors.ModelNotFound: StatusCode.NOT_FOUND,
    errors.ModelNotAllowed: StatusCode.PERMISSION_DENIED,
    errors.ResourceNotFound: StatusCode.NOT_FOUND,
    errors.AlreadyExists: StatusCode.ALREADY_EXISTS,
    errors.RequestIdReused: StatusCode.INVALID_ARGUMENT,
    errors.RequestInProgress: StatusCode.ABORTED,
    errors.EtagMismatch: StatusCode.ABORTED,
    errors.ResourceInUse: StatusCode.FAILED_PRECONDITION,
    errors.CallerUnauthenticated: StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: StatusCode.PERMISSION_DENIED,
    errors.RateLimited: StatusCode.RESOURCE_EXHAUSTED,
    errors.CostLimitExceeded: StatusCode.FAILED_PRECONDITION,
    errors.BudgetExceeded: StatusCode.RESOURCE_EXHAUSTED,
    errors.CostUnknown: StatusCode.FAILED_PRECONDITION,
    errors.Overloaded: StatusCode.UNAVAILABLE,
    errors.ProviderBusy: StatusCode.UNAVAILABLE,
    errors.NoRoute: StatusCode.FAILED_PRECONDITION,
    errors.ProviderDisabled: StatusCode.FAILED_PRECONDITION,
    errors.ProviderCredentialMissing: StatusCode.FAILED_PRECONDITION,
    errors.ProviderCredentialRejected: StatusCode.FAILED_PRECONDITION,
    errors.ProviderCredentialUnreadable: StatusCode.FAILED_PRECONDITION,
    errors.ProviderPermissionDenied: StatusCode.FAILED_PRECONDITION,
    errors.ProviderQuotaExhausted: StatusCode.FAILED_PRECONDITION,
    errors.EncryptionKeyMissing: StatusCode.FAILED_PRECONDITION,
    errors.EgressDenied: StatusCode.FAILED_PRECONDITION,
    errors.ProviderRateLimited: StatusCode.RESOURCE_EXHAUSTED,
    errors.ProviderUnavailable: StatusCode.UNAVAILABLE,
    errors.ProviderTimeout: StatusCode.UNAVAILABLE,
    errors.ProviderUnreachable: StatusCode.UNAVAILABLE,
    errors.ProviderProtocolError: StatusCode.INTERNAL,
    errors.ContentFiltered: StatusCode.FAILED_PRECONDITION,
    errors.StreamInterrupted: StatusCode.UNAVAILABLE,
    errors.StorageUnavailable: StatusCode.UNAVAILABLE,
}

WITHOUT_ERROR: dict[str, StatusCode] = {
    "CALLER_UNAUTHENTICATED": StatusCode.UNAUTHENTICATED,
    "PERMISSION_DENIED": StatusCode.PERMISSION_DENIED,
    "MODEL_NOT_ALLOWED": StatusCode.PERMISSION_DENIED,
    "INTERNAL": StatusCode.INTERNAL,
}
"""Reasons no `GatewayError` stands for: bugs, and checks this version has not got."""

REASON_STATUS: dict[str, StatusCode] = {
    **{error.reason: code for error, code in STATUS.items()},
    **WITHOUT_ERROR,
}
"""The status of every reason in the contract's `ErrorReason`."""

_LIBRARY = {
    "CANCELLED": StatusCode.CANCELLED,
    "DEADLINE_EXCEEDED": StatusCode.DEADLINE_EXCEEDED,
}
"""Outcomes of an attempt that gRPC itself reports to the caller."""


def code_for(reason: str) -> int:
    """The number of the status code of a reason; that of UNKNOWN if nobody knows the reason."""
    code = REASON_STATUS.get(reason) or _LIBRARY.get(reason, StatusCode.UNKNOWN)
    return int(code.value[0])

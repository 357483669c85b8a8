"""Which gRPC status each failure becomes: the one table, from the contract's error mapping."""

from grpc import StatusCode

from llm_service import errors

STATUS: dict[type[errors.GatewayError], StatusCode] = {
    # the request
    errors.InvalidField: StatusCode.INVALID_ARGUMENT,
    errors.ContextLengthExceeded: StatusCode.INVALID_ARGUMENT,
    errors.RequestTooLarge: StatusCode.INVALID_ARGUMENT,
    errors.CapabilityNotSupported: StatusCode.INVALID_ARGUMENT,
    errors.ProviderRejectedRequest: StatusCode.INVALID_ARGUMENT,
    errors.ModelNotFound: StatusCode.NOT_FOUND,
    errors.ResourceNotFound: StatusCode.NOT_FOUND,
    errors.AlreadyExists: StatusCode.ALREADY_EXISTS,
    errors.EtagMismatch: StatusCode.ABORTED,
    errors.ResourceInUse: StatusCode.FAILED_PRECONDITION,
    # the gateway's own limits
    errors.CostLimitExceeded: StatusCode.FAILED_PRECONDITION,
    errors.Overloaded: StatusCode.UNAVAILABLE,
    # configuration an operator must fix
    errors.NoRoute: StatusCode.FAILED_PRECONDITION,
    errors.ProviderDisabled: StatusCode.FAILED_PRECONDITION,
    errors.ProviderCredentialMissing: StatusCode.FAILED_PRECONDITION,
    errors.ProviderCredentialRejected: StatusCode.FAILED_PRECONDITION,
    errors.ProviderCredentialUnreadable: StatusCode.FAILED_PRECONDITION,
    errors.ProviderPermissionDenied: StatusCode.FAILED_PRECONDITION,
    errors.ProviderQuotaExhausted: StatusCode.FAILED_PRECONDITION,
    errors.EncryptionKeyMissing: StatusCode.FAILED_PRECONDITION,
    errors.EgressDenied: StatusCode.FAILED_PRECONDITION,
    # the provider, now
    errors.ProviderRateLimited: StatusCode.RESOURCE_EXHAUSTED,
    errors.ProviderUnavailable: StatusCode.UNAVAILABLE,
    errors.ProviderTimeout: StatusCode.UNAVAILABLE,
    errors.ProviderUnreachable: StatusCode.UNAVAILABLE,
    errors.ProviderProtocolError: StatusCode.INTERNAL,
    errors.StreamInterrupted: StatusCode.UNAVAILABLE,
    # the gateway, now
    errors.StorageUnavailable: StatusCode.UNAVAILABLE,
}

_BY_REASON = {error.reason: code.value[0] for error, code in STATUS.items()}
_BY_REASON |= {
    code.name: code.value[0] for code in (StatusCode.CANCELLED, StatusCode.DEADLINE_EXCEEDED)
}


def code_for(reason: str) -> int:
    """The gRPC status number of an `ErrorReason`, or of a caller who left or ran out of time."""
    return int(_BY_REASON.get(reason, StatusCode.INTERNAL.value[0]))

"""Providers, credentials and provider kinds: protobuf <-> domain.

Secrets only travel inwards: no function here can put one into a message.
"""

import json
from dataclasses import asdict
from datetime import datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from llm_service.domain.provider import (
    CancelPolicy,
    ProviderCheck,
    ProviderKind,
    RateLimits,
    SecretReference,
    SourceType,
    UpstreamTimeouts,
)
from llm_service.errors import InvalidField, Violation
from llm_service.gateway.admin.drafts import CredentialDraft, ProviderDraft, Source
from llm_service.gateway.admin.states import CredentialView, ProviderView
from llm_service.rpc.convert.checks import given
from llm_service.rpc.convert.completion import from_call_error
from llm_service.rpc.convert.times import (
    from_duration,
    from_timestamp,
    to_duration,
    to_timestamp,
)
from llm_service.rpc.stubs import provider_admin_service_pb2 as admin_pb
from llm_service.rpc.stubs import provider_pb2 as pb

UNKNOWN_VERSION = 0
"""What an etag of no version stands for; no resource ever has it."""

_LIMITS = (
    "requests_per_minute",
    "tokens_per_minute",
    "requests_per_day",
    "concurrent_requests",
    "tokens_per_day",
)
_TIMEOUTS = ("connect", "first_token", "idle", "attempt")
_SECRET_TEXTS = {
    "api_key": SourceType.API_KEY,
    "service_account_json": SourceType.SERVICE_ACCOUNT_JSON,
}


def to_etag(version: int) -> str:
    """A quoted string, as in RFC 7232."""
    return f'"{version}"'


def from_etag(etag: str) -> int | None:
    """The version that must still be there; None when the caller does not mind."""
    if not etag:
        return None
    digits = etag[1:-1]
    if etag != f'"{digits}"' or not digits.isascii() or not digits.isdigit() or len(digits) > 18:  # noqa: PLR2004 - fits int64
        return UNKNOWN_VERSION
    return int(digits)


# --- providers -----------------------------------------------------------------------------------


def to_provider_draft(message: pb.Provider) -> ProviderDraft:
    return ProviderDraft(
        kind=message.kind,
        display_name=message.display_name,
        description=message.description,
        base_uri=message.base_uri,
        settings=dict(message.settings),
        default_credential=message.default_credential,
        disabled=message.disabled,
        priority=message.priority if message.HasField("priority") else None,
        weight=message.weight if message.HasField("weight") else None,
        rate_limits=to_rate_limits(message.rate_limits),
        timeouts=_to_timeouts(message.timeouts),
        cancel_policy=_to_cancel_policy(message.cancel_policy),
        labels=dict(message.labels),
    )


def from_provider_draft(draft: ProviderDraft) -> pb.Provider:
    message = pb.Provider(
        kind=draft.kind,
        display_name=draft.display_name,
        description=draft.description,
        base_uri=draft.base_uri,
        settings=draft.settings,
        default_credential=draft.default_credential,
        disabled=draft.disabled,
        priority=draft.priority,
        weight=draft.weight,
        cancel_policy=_from_cancel_policy(draft.cancel_policy),
        labels=draft.labels,
    )
    if draft.rate_limits != RateLimits():
        message.rate_limits.CopyFrom(from_rate_limits(draft.rate_limits))
    if draft.timeouts != UpstreamTimeouts():
        message.timeouts.CopyFrom(_from_timeouts(draft.timeouts))
    return message


def from_provider(view: ProviderView) -> pb.Provider:
    provider = view.provider
    message = from_provider_draft(ProviderDraft.of(provider))
    message.name = provider.name
    message.uid = provider.uid
    message.state = pb.Provider.State.Value(f"STATE_{view.state.name}")
    message.etag = to_etag(provider.version)
    set_times(message, provider, "create_time", "update_time", "delete_time", "purge_time")
    return message


def from_provider_kind(kind: ProviderKind) -> pb.ProviderKind:
    return pb.ProviderKind(
        kind=kind.kind,
        display_name=kind.display_name,
        default_base_uri=kind.default_base_uri,
        settings_schema_json=kind.settings_schema_json,
        credential_source_types=[_from_source_type(one) for one in kind.credential_source_types],
        discovers_models=kind.discovers_models,
        cancel_policy=_from_cancel_policy(kind.cancel_policy),
    )


def from_provider_check(check: ProviderCheck) -> admin_pb.CheckProviderResponse:
    return admin_pb.CheckProviderResponse(
        error=from_call_error(check.error) if check.error else None,
        duration=to_duration(check.duration),
        model_count=check.model_count,
    )


def to_rate_limits(message: pb.RateLimits) -> RateLimits:
    return RateLimits(**{name: given(message, name) for name in _LIMITS})


def from_rate_limits(limits: RateLimits) -> pb.RateLimits:
    return pb.RateLimits(**{name: getattr(limits, name) for name in _LIMITS})


def _to_cancel_policy(value: pb.CancelPolicy.ValueType) -> CancelPolicy | None:
    if value == pb.CANCEL_POLICY_UNSPECIFIED:
        return None
    if value not in pb.CancelPolicy.values():
        raise InvalidField(Violation("provider.cancel_policy", "is not a known policy"))
    return CancelPolicy[pb.CancelPolicy.Name(value).removeprefix("CANCEL_POLICY_")]


def _from_cancel_policy(policy: CancelPolicy | None) -> pb.CancelPolicy.ValueType:
    if policy is None:
        return pb.CANCEL_POLICY_UNSPECIFIED
    return pb.CancelPolicy.Value(f"CANCEL_POLICY_{policy.name}")


def _to_timeouts(message: pb.UpstreamTimeouts) -> UpstreamTimeouts:
    durations = {name: given(message, f"{name}_timeout") for name in _TIMEOUTS}
    return UpstreamTimeouts(
        **{name: from_duration(one) for name, one in durations.items() if one is not None},
        min_output_tokens_per_second=given(message, "min_output_tokens_per_second"),
    )


def _from_timeouts(timeouts: UpstreamTimeouts) -> pb.UpstreamTimeouts:
    durations: dict[str, Duration] = {}
    for name in _TIMEOUTS:
        if (seconds := getattr(timeouts, name)) is not None:
            durations[f"{name}_timeout"] = to_duration(seconds)
    return pb.UpstreamTimeouts(
        **durations, min_output_tokens_per_second=timeouts.min_output_tokens_per_second
    )


# --- credentials ---------------------------------------------------------------------------------


def to_credential_draft(message: pb.Credential) -> CredentialDraft:
    return CredentialDraft(
        display_name=message.display_name,
        disabled=message.disabled,
        weight=message.weight if message.HasField("weight") else None,
        rate_limits=to_rate_limits(message.rate_limits),
        expire_time=to_moment(message, "expire_time", "credential"),
    )


def from_credential_draft(draft: CredentialDraft) -> pb.Credential:
    message = pb.Credential(
        display_name=draft.display_name, disabled=draft.disabled, weight=draft.weight
    )
    if draft.rate_limits != RateLimits():
        message.rate_limits.CopyFrom(from_rate_limits(draft.rate_limits))
    if draft.expire_time is not None:
        message.expire_time.CopyFrom(to_timestamp(draft.expire_time))
    return message


def to_source(message: pb.Credential, path: str) -> Source:
    """Where the secret comes from.

    Raises:
        InvalidField: no source is set.
    """
    source = message.WhichOneof("source")
    if source is None:
        raise InvalidField(Violation(path, "needs a source, such as api_key"))
    if source in _SECRET_TEXTS:
        return Source(_SECRET_TEXTS[source], secret=getattr(message, source))
    if source == "aws_key":
        return Source(SourceType.AWS_KEY, secret=_aws_secret(message.aws_key))
    if source == "environment_variable":
        return Source(SourceType.ENVIRONMENT_VARIABLE, reference=message.environment_variable)
    if source == "workload_identity":
        return Source(SourceType.WORKLOAD_IDENTITY, reference=message.workload_identity.audience)
    place = message.secret_reference
    reference = SecretReference(place.store, place.path, place.key, place.version)
    return Source(SourceType.SECRET_REFERENCE, reference=reference.text)


def from_credential(view: CredentialView) -> pb.Credential:
    """Built from what is stored; the stored secret is sealed and stays out."""
    credential = view.credential
    message = from_credential_draft(CredentialDraft.of(credential))
    message.name = credential.name
    message.uid = credential.uid
    if "source_type" not in credential.unreadable:
        message.source_type = _from_source_type(credential.source_type)
    message.secret_set = bool(credential.sealed)
    message.obfuscated_secret = credential.obfuscated_secret
    message.origin = credential.origin
    message.state = pb.Credential.State.Value(f"STATE_{view.state.name}")
    message.etag = to_etag(credential.version)
    if credential.source_type is SourceType.ENVIRONMENT_VARIABLE:
        message.environment_variable = credential.reference
    if credential.source_type is SourceType.SECRET_REFERENCE:
        place = SecretReference.of_text(credential.reference)
        message.secret_reference.CopyFrom(pb.SecretReference(**asdict(place)))
    if credential.source_type is SourceType.WORKLOAD_IDENTITY:
        message.workload_identity.SetInParent()
        message.workload_identity.audience = credential.reference
    set_times(message, credential, "create_time", "update_time", "last_use_time", "last_check_time")
    return message


def to_moment(message: Message, name: str, path: str) -> datetime | None:
    """A timestamp field; None when it is unset.

    Raises:
        InvalidField: it is none that a calendar has.
    """
    if (timestamp := given(message, name)) is None:
        return None
    try:
        return from_timestamp(timestamp)
    except OverflowError:
        field = f"{path}.{name}" if path else name
        raise InvalidField(Violation(field, "is out of range")) from None


def set_times(message: Message, resource: object, *names: str) -> None:
    """Copies those of the named times that are set."""
    for name in names:
        moment: datetime | None = getattr(resource, name)
        if moment is not None:
            getattr(message, name).CopyFrom(to_timestamp(moment))


def _aws_secret(key: pb.AwsKey) -> str:
    return json.dumps(
        {
            "access_key_id": key.access_key_id,
            "secret_access_key": key.secret_access_key,
            "session_token": key.session_token,
        }
    )


def _from_source_type(source_type: SourceType) -> pb.Credential.SourceType.ValueType:
    return pb.Credential.SourceType.Value(f"SOURCE_TYPE_{source_type.name}")

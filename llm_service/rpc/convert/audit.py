"""Audit entries: domain -> protobuf, and what they show of the resources that changed."""

from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from llm_service.domain.access import ClientKey, ClientKeyState
from llm_service.domain.audit import Anchor, AuditEntry, FieldChange, Hidden, Verdict
from llm_service.domain.budget import Budget
from llm_service.domain.health import CircuitNews
from llm_service.domain.model_config import ModelConfig
from llm_service.domain.provider import Credential, Model, Provider
from llm_service.domain.webhook import Webhook
from llm_service.gateway.admin.drafts import ProviderDraft
from llm_service.gateway.admin.states import CredentialView, State
from llm_service.gateway.audit.log import Fields
from llm_service.rpc import redaction
from llm_service.rpc.codes import code_for
from llm_service.rpc.convert.budget import from_budget
from llm_service.rpc.convert.client_key import from_client_key
from llm_service.rpc.convert.health import from_news
from llm_service.rpc.convert.model import from_model
from llm_service.rpc.convert.model_config import from_model_config
from llm_service.rpc.convert.provider import (
    from_credential,
    from_provider_draft,
    set_times,
)
from llm_service.rpc.convert.times import to_timestamp
from llm_service.rpc.convert.webhook import from_webhook
from llm_service.rpc.stubs import access_service_pb2, common_pb2, provider_pb2
from llm_service.rpc.stubs import audit_service_pb2 as pb

_SERVERS_OWN = frozenset({"name", "uid", "etag", "create_time", "update_time", "last_use_time"})
"""Fields that every change changes, or that none does."""


def render(value: Any) -> tuple[str, Fields]:
    """A resource's name, and its fields as an audit entry may show them."""
    message = _MESSAGES[type(value)](value)
    fields: dict[str, str | Hidden] = {
        path: text for path, text in redaction.fields(message).items() if path not in _SERVERS_OWN
    }
    if isinstance(value, Credential) and value.sealed:
        fields[value.source_type.value] = Hidden(value.secret_version)
    if isinstance(value, Webhook):
        fields["secret"] = Hidden(value.secret_version)
    return value.name, fields


def _provider(provider: Provider) -> provider_pb2.Provider:
    message = from_provider_draft(ProviderDraft.of(provider))
    set_times(message, provider, "delete_time", "purge_time")
    return message


def _credential(credential: Credential) -> provider_pb2.Credential:
    state = State.REJECTED if credential.rejected else State.ACTIVE
    return from_credential(CredentialView(credential, state))


def _client_key(key: ClientKey) -> access_service_pb2.ClientKey:
    ended = key.revoke_time is not None
    return from_client_key(key, ClientKeyState.REVOKED if ended else ClientKeyState.ACTIVE)


_MESSAGES: dict[type, Callable[[Any], Message]] = {
    Provider: _provider,
    Credential: _credential,
    ClientKey: _client_key,
    Model: from_model,
    ModelConfig: from_model_config,
    Budget: from_budget,
    Webhook: from_webhook,
    CircuitNews: from_news,
}
"""How each kind of resource is shown. One without a line here cannot be stored."""


def from_entry(entry: AuditEntry) -> pb.AuditEntry:
    owner = f"tenants/{entry.tenant}/" if entry.tenant else ""
    message = pb.AuditEntry(
        name=f"{owner}auditEntries/{entry.sequence}",
        create_time=to_timestamp(entry.create_time),
        principal=entry.principal,
        peer_ip_address=entry.peer_ip_address,
        method=entry.method,
        resource=entry.resource,
        changes=map(_from_change, entry.changes),
        request_id=entry.request_id,
        trace_id=entry.trace_id,
        digest=entry.digest,
        sealing_key_id=entry.key_id,
        sealing_epoch=entry.epoch,
    )
    if entry.error_reason:
        code = code_for(entry.error_reason)
        message.error.CopyFrom(common_pb2.CallError(code=code, reason=entry.error_reason))
    return message


def from_verdict(verdict: Verdict) -> pb.VerifyAuditResponse:
    anchor = verdict.anchor
    message = pb.VerifyAuditResponse(
        anchor=pb.AuditAnchor(
            parent=f"tenants/{anchor.tenant}" if anchor.tenant else "",
            sequence=anchor.sequence,
            digest=anchor.digest,
        ),
        broken_sequence=verdict.broken_sequence,
    )
    if verdict.problem is not None:
        problem = f"PROBLEM_{verdict.problem.name}"
        message.problem = pb.VerifyAuditResponse.Problem.Value(problem)
    return message


def to_anchor(message: pb.AuditAnchor, tenant: str) -> Anchor:
    return Anchor(tenant, message.sequence, message.digest)


def _from_change(change: FieldChange) -> pb.FieldChange:
    return pb.FieldChange(
        resource=change.resource,
        path=change.path,
        old_value_json=change.old_value_json,
        new_value_json=change.new_value_json,
    )

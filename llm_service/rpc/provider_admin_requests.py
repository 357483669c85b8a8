"""ProviderAdminService's requests, read into what the gateway is asked to do."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, TypeVar

from llm_service.errors import InvalidField, Violation
from llm_service.gateway.admin.drafts import (
    ChangeCredential,
    CredentialDraft,
    ProviderDraft,
    Source,
)
from llm_service.gateway.admin.providers import MAX_BATCH, ProviderDeletion, ProviderUpdate
from llm_service.rpc import field_mask, names
from llm_service.rpc.convert.provider import (
    from_credential_draft,
    from_etag,
    from_provider_draft,
    to_credential_draft,
    to_provider_draft,
    to_source,
)
from llm_service.rpc.listing import attempt
from llm_service.rpc.stubs import provider_admin_service_pb2 as pb
from llm_service.rpc.stubs import provider_pb2

_SOURCES = {
    field.name for field in provider_pb2.Credential.DESCRIPTOR.oneofs_by_name["source"].fields
}
_POINTERS = ("secret_reference", "environment_variable", "workload_identity")
"""Sources that are returned, and so may come back in a resource that was read."""

MAX_REWRAP = 1000
USUAL_REWRAP = 100

Change = TypeVar("Change", ProviderUpdate, ProviderDeletion)
Request = TypeVar("Request", pb.UpdateProviderRequest, pb.DeleteProviderRequest)


@dataclass(frozen=True, slots=True)
class Batch(Generic[Change]):
    """Changes that are made together or not at all."""

    items: tuple[Change, ...]
    validate_only: bool


def rewrap_count(request: pb.RewrapSecretsRequest) -> int:
    """How many secrets to rewrap at most.

    Raises:
        InvalidField: it is negative or above 1000.
    """
    if not 0 <= request.max_count <= MAX_REWRAP:
        raise InvalidField(Violation("max_count", f"must be between 0 and {MAX_REWRAP}"))
    return request.max_count or USUAL_REWRAP


def new_credential(request: pb.CreateProviderRequest) -> tuple[CredentialDraft, Source] | None:
    if not request.HasField("credential"):
        return None
    return to_credential_draft(request.credential), to_source(request.credential, "credential")


def provider_update(request: pb.UpdateProviderRequest) -> ProviderUpdate:
    name = names.provider(request.provider.name, "provider.name")
    paths = field_mask.paths(request.update_mask, request.provider)
    if not request.provider.kind:  # it cannot be changed, so left out means left alone
        paths = tuple(path for path in paths if path != "kind")

    def change(draft: ProviderDraft) -> ProviderDraft:
        message = field_mask.merged(from_provider_draft(draft), request.provider, paths)
        return to_provider_draft(message)

    version = from_etag(request.provider.etag)
    return ProviderUpdate(name.tenant, name.provider_id, change, version)


def provider_deletion(request: pb.DeleteProviderRequest) -> ProviderDeletion:
    name = names.provider(request.name)
    return ProviderDeletion(
        name.tenant, name.provider_id, from_etag(request.etag), request.allow_missing
    )


def provider_updates(request: pb.BatchUpdateProvidersRequest) -> Batch[ProviderUpdate]:
    batch = _batch(request.parent, request.requests, provider_update)
    updates = (
        replace(update, path=f"requests[{index}].") for index, update in enumerate(batch.items)
    )
    return replace(batch, items=tuple(updates))


def provider_deletions(request: pb.BatchDeleteProvidersRequest) -> Batch[ProviderDeletion]:
    return _batch(request.parent, request.requests, provider_deletion)


def credential_change(request: pb.UpdateCredentialRequest) -> ChangeCredential:
    """The change to all but the source, which is refused here: rotating is how it changes."""
    source = request.credential.WhichOneof("source")
    named = [path for path in request.update_mask.paths if path.split(".")[0] in _SOURCES]
    if (source or named) and source not in _POINTERS:
        field = f"credential.{source or named[0]}"
        raise InvalidField(Violation(field, "is changed with RotateCredential"))
    paths = tuple(
        path
        for path in field_mask.paths(request.update_mask, request.credential)
        if path.split(".")[0] not in _SOURCES
    )

    def change(draft: CredentialDraft) -> CredentialDraft:
        message = field_mask.merged(from_credential_draft(draft), request.credential, paths)
        return to_credential_draft(message)

    return change


def pointer(request: pb.UpdateCredentialRequest) -> Source | None:
    """The source that came with a credential, which must be the one it has."""
    if request.credential.WhichOneof("source") in _POINTERS:
        return to_source(request.credential, "credential")
    return None


def credential_of(provider: names.ProviderName, text: str) -> str:
    """The id of a credential of this provider, from its resource name; "" for ""."""
    if not text:
        return ""
    name = names.credential(text, "credential")
    if name.provider != provider:
        raise InvalidField(Violation("credential", "belongs to another provider"))
    return name.child_id


def _batch(
    parent: str, given: Sequence[Request], read: Callable[[Request], Change]
) -> Batch[Change]:
    if not 1 <= len(given) <= MAX_BATCH:
        raise InvalidField(Violation("requests", f"needs 1 to {MAX_BATCH} entries"))
    wrong: list[Violation] = []
    items: list[Change] = []
    for index, request in enumerate(given):
        found: list[Violation] = []
        if (item := attempt(found, partial(read, request))) is not None:
            items.append(item)
        wrong += (Violation(f"requests[{index}].{one.field}", one.description) for one in found)
    if not wrong:
        wrong += _unfit(parent, items)
    if len({request.validate_only for request in given}) > 1:
        wrong.append(Violation("requests", "validate_only must be the same in all"))
    if wrong:
        raise InvalidField(*wrong)
    return Batch(tuple(items), given[0].validate_only)


def _unfit(parent: str, items: Sequence[Change]) -> Iterator[Violation]:
    """Changes outside the parent, if one is given, and second changes to one provider."""
    tenant = names.parent_tenants(parent) if parent else None
    seen: set[tuple[str, str]] = set()
    for index, item in enumerate(items):
        key = item.tenant, item.provider_id
        if tenant is not None and item.tenant != tenant:
            yield Violation(f"requests[{index}]", "names a provider of another parent")
        if key in seen:
            yield Violation(f"requests[{index}]", "names a provider that is named before")
        seen.add(key)

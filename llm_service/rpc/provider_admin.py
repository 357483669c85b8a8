"""ProviderAdminService: providers, credentials and models, for operators."""

from dataclasses import dataclass
from typing import Any

import grpc

from llm_service import providers as kinds
from llm_service.domain.provider import Model
from llm_service.errors import InvalidField, Violation
from llm_service.gateway.admin.checks import Checks
from llm_service.gateway.admin.credentials import Credentials
from llm_service.gateway.admin.keys import Keys
from llm_service.gateway.admin.models import Models
from llm_service.gateway.admin.providers import Providers
from llm_service.gateway.admin.rewrap import Rewrap
from llm_service.gateway.admin.states import ProviderView
from llm_service.gateway.health.administration import HealthAdministration
from llm_service.gateway.paging import attribute, page
from llm_service.rpc import field_mask, names, provider_health, repeats
from llm_service.rpc import provider_admin_requests as requests
from llm_service.rpc.convert.encryption import from_key_status, from_rewrapped
from llm_service.rpc.convert.health import from_health
from llm_service.rpc.convert.model import from_model, to_model
from llm_service.rpc.convert.provider import (
    from_credential,
    from_etag,
    from_provider,
    from_provider_check,
    from_provider_kind,
    to_credential_draft,
    to_provider_draft,
    to_source,
)
from llm_service.rpc.convert.times import from_duration
from llm_service.rpc.listing import Fields, FieldType, attempt, listing, next_token
from llm_service.rpc.stubs import provider_admin_service_pb2 as pb
from llm_service.rpc.stubs import provider_admin_service_pb2_grpc, provider_pb2

Context = grpc.aio.ServicerContext[Any, Any]

PROVIDER_FIELDS: Fields = {
    "uid": FieldType.TEXT,
    "kind": FieldType.TEXT,
    "display_name": FieldType.TEXT,
    "description": FieldType.TEXT,
    "base_uri": FieldType.TEXT,
    "default_credential": FieldType.TEXT,
    "disabled": FieldType.BOOLEAN,
    "priority": FieldType.INTEGER,
    "weight": FieldType.INTEGER,
    "create_time": FieldType.TIME,
    "update_time": FieldType.TIME,
    "delete_time": FieldType.TIME,
    "purge_time": FieldType.TIME,
    "settings": FieldType.MAP,
    "labels": FieldType.MAP,
}
CREDENTIAL_FIELDS: Fields = {
    "uid": FieldType.TEXT,
    "display_name": FieldType.TEXT,
    "source_type": FieldType.TEXT,
    "disabled": FieldType.BOOLEAN,
    "weight": FieldType.INTEGER,
    "create_time": FieldType.TIME,
    "update_time": FieldType.TIME,
    "expire_time": FieldType.TIME,
    "last_use_time": FieldType.TIME,
    "last_check_time": FieldType.TIME,
}


@dataclass(frozen=True, slots=True)
class Administration:
    """The use cases behind the service."""

    providers: Providers
    credentials: Credentials
    models: Models
    checks: Checks
    keys: Keys
    rewrap: Rewrap


class ProviderAdminServicer(provider_admin_service_pb2_grpc.ProviderAdminServiceServicer):
    """Serves `llmservice.v1.ProviderAdminService`."""

    def __init__(self, administration: Administration, health: HealthAdministration) -> None:
        self._health = health
        self._providers = administration.providers
        self._credentials = administration.credentials
        self._models = administration.models
        self._checks = administration.checks
        self._keys = administration.keys
        self._rewrap = administration.rewrap

    async def ListProviderKinds(
        self, request: pb.ListProviderKindsRequest, context: Context
    ) -> pb.ListProviderKindsResponse:
        known = [kinds.provider_kind(kind) for kind in kinds.kinds()]
        found = page(known, listing(request, "ListProviderKinds", {}), ("kind",), attribute)
        return pb.ListProviderKindsResponse(
            provider_kinds=map(from_provider_kind, found.items),
            next_page_token=next_token(request, "ListProviderKinds", found),
        )

    async def CreateProvider(
        self, request: pb.CreateProviderRequest, context: Context
    ) -> pb.CreateProviderResponse:
        wrong: list[Violation] = []
        attempt(wrong, lambda: repeats.check(request.request_id))
        tenant = attempt(wrong, lambda: names.parent_tenant(request.parent))
        provider_id = attempt(wrong, lambda: names.new_id(request.provider_id, "provider_id"))
        credential = attempt(wrong, lambda: requests.new_credential(request))
        if tenant is None or provider_id is None or wrong:
            raise InvalidField(*wrong)
        return await repeats.answer_once(
            request,
            tenant,
            pb.CreateProviderResponse,
            create=lambda once: self._providers.create(
                tenant,
                provider_id,
                to_provider_draft(request.provider),
                credential,
                validate_only=request.validate_only,
                once=once,
            ),
            answer=lambda view: pb.CreateProviderResponse(provider=self._shown(view)),
        )

    async def GetProvider(
        self, request: pb.GetProviderRequest, context: Context
    ) -> pb.GetProviderResponse:
        name = names.provider(request.name)
        view = await self._providers.get(name.tenant, name.provider_id)
        return pb.GetProviderResponse(provider=self._shown(view))

    async def ListProviders(
        self, request: pb.ListProvidersRequest, context: Context
    ) -> pb.ListProvidersResponse:
        scope = (request.parent, request.show_deleted)
        found = await self._providers.list(
            names.parent_tenants(request.parent),
            listing(request, "ListProviders", PROVIDER_FIELDS, scope, searchable=True),
            show_deleted=request.show_deleted,
        )
        return pb.ListProvidersResponse(
            providers=map(self._shown, found.items),
            next_page_token=next_token(request, "ListProviders", found, scope),
        )

    async def UpdateProvider(
        self, request: pb.UpdateProviderRequest, context: Context
    ) -> pb.UpdateProviderResponse:
        update = requests.provider_update(request)
        views = await self._providers.update([update], validate_only=request.validate_only)
        return pb.UpdateProviderResponse(provider=self._shown(views[0]))

    async def DeleteProvider(
        self, request: pb.DeleteProviderRequest, context: Context
    ) -> pb.DeleteProviderResponse:
        deletion = requests.provider_deletion(request)
        (view,) = await self._providers.delete([deletion], validate_only=request.validate_only)
        return pb.DeleteProviderResponse(provider=self._shown(view) if view else None)

    async def UndeleteProvider(
        self, request: pb.UndeleteProviderRequest, context: Context
    ) -> pb.UndeleteProviderResponse:
        name = names.provider(request.name)
        view = await self._providers.undelete(name.tenant, name.provider_id)
        return pb.UndeleteProviderResponse(provider=self._shown(view))

    async def BatchUpdateProviders(
        self, request: pb.BatchUpdateProvidersRequest, context: Context
    ) -> pb.BatchUpdateProvidersResponse:
        batch = requests.provider_updates(request)
        views = await self._providers.update(batch.items, validate_only=batch.validate_only)
        return pb.BatchUpdateProvidersResponse(providers=map(self._shown, views))

    async def BatchDeleteProviders(
        self, request: pb.BatchDeleteProvidersRequest, context: Context
    ) -> pb.BatchDeleteProvidersResponse:
        batch = requests.provider_deletions(request)
        views = await self._providers.delete(batch.items, validate_only=batch.validate_only)
        return pb.BatchDeleteProvidersResponse(providers=[self._shown(v) for v in views if v])

    async def CheckProvider(
        self, request: pb.CheckProviderRequest, context: Context
    ) -> pb.CheckProviderResponse:
        name = names.provider(request.name)
        check = await self._checks.check(
            name.tenant,
            name.provider_id,
            credential_id=requests.credential_of(name, request.credential),
            model=request.model,
            deadline=context.time_remaining(),
        )
        return from_provider_check(check)

    async def SyncModels(
        self, request: pb.SyncModelsRequest, context: Context
    ) -> pb.SyncModelsResponse:
        name = names.provider(request.name)
        synced = await self._checks.sync_models(
            name.tenant,
            name.provider_id,
            validate_only=request.validate_only,
            deadline=context.time_remaining(),
        )
        return pb.SyncModelsResponse(
            added_count=len(synced.added),
            updated_count=len(synced.updated),
            retired_count=len(synced.retired),
        )

    async def ListCircuits(
        self, request: pb.ListCircuitsRequest, context: Context
    ) -> pb.ListCircuitsResponse:
        return await provider_health.list_circuits(self._health, request)

    async def ResetCircuits(
        self, request: pb.ResetCircuitsRequest, context: Context
    ) -> pb.ResetCircuitsResponse:
        return await provider_health.reset_circuits(self._health, request)

    async def CreateCredential(
        self, request: pb.CreateCredentialRequest, context: Context
    ) -> pb.CreateCredentialResponse:
        wrong: list[Violation] = []
        attempt(wrong, lambda: repeats.check(request.request_id))
        parent = attempt(wrong, lambda: names.provider(request.parent, "parent"))
        credential_id = attempt(wrong, lambda: names.new_id(request.credential_id, "credential_id"))
        source = attempt(wrong, lambda: to_source(request.credential, "credential"))
        if parent is None or credential_id is None or source is None or wrong:
            raise InvalidField(*wrong)
        return await repeats.answer_once(
            request,
            parent.tenant,
            pb.CreateCredentialResponse,
            create=lambda once: self._credentials.create(
                parent.tenant,
                parent.provider_id,
                credential_id,
                to_credential_draft(request.credential),
                source,
                validate_only=request.validate_only,
                once=once,
            ),
            answer=lambda view: pb.CreateCredentialResponse(credential=from_credential(view)),
        )

    async def GetCredential(
        self, request: pb.GetCredentialRequest, context: Context
    ) -> pb.GetCredentialResponse:
        name = names.credential(request.name)
        view = await self._credentials.get(*name.parts)
        return pb.GetCredentialResponse(credential=from_credential(view))

    async def ListCredentials(
        self, request: pb.ListCredentialsRequest, context: Context
    ) -> pb.ListCredentialsResponse:
        parent = names.provider(request.parent, "parent")
        scope = (request.parent,)
        found = await self._credentials.list(
            parent.tenant,
            parent.provider_id,
            listing(request, "ListCredentials", CREDENTIAL_FIELDS, scope, searchable=True),
        )
        return pb.ListCredentialsResponse(
            credentials=map(from_credential, found.items),
            next_page_token=next_token(request, "ListCredentials", found, scope),
        )

    async def UpdateCredential(
        self, request: pb.UpdateCredentialRequest, context: Context
    ) -> pb.UpdateCredentialResponse:
        name = names.credential(request.credential.name, "credential.name")
        view = await self._credentials.update(
            *name.parts,
            requests.credential_change(request),
            expected_version=from_etag(request.credential.etag),
            pointer=requests.pointer(request),
        )
        return pb.UpdateCredentialResponse(credential=from_credential(view))

    async def DeleteCredential(
        self, request: pb.DeleteCredentialRequest, context: Context
    ) -> pb.DeleteCredentialResponse:
        name = names.credential(request.name)
        await self._credentials.delete(
            *name.parts,
            expected_version=from_etag(request.etag),
            allow_missing=request.allow_missing,
        )
        return pb.DeleteCredentialResponse()

    async def RotateCredential(
        self, request: pb.RotateCredentialRequest, context: Context
    ) -> pb.RotateCredentialResponse:
        name = names.credential(request.name)
        view = await self._credentials.rotate(
            *name.parts,
            to_source(request.credential, "credential"),
            grace_seconds=from_duration(request.grace_period),
            expected_version=from_etag(request.etag),
        )
        return pb.RotateCredentialResponse(credential=from_credential(view))

    async def GetKeyringStatus(
        self, request: pb.GetKeyringStatusRequest, context: Context
    ) -> pb.GetKeyringStatusResponse:
        return from_key_status(await self._keys.status())

    async def RewrapSecrets(
        self, request: pb.RewrapSecretsRequest, context: Context
    ) -> pb.RewrapSecretsResponse:
        return from_rewrapped(*await self._rewrap.upto(requests.rewrap_count(request)))

    async def CreateModel(
        self, request: pb.CreateModelRequest, context: Context
    ) -> pb.CreateModelResponse:
        wrong: list[Violation] = []
        attempt(wrong, lambda: repeats.check(request.request_id))
        parent = attempt(wrong, lambda: names.provider(request.parent, "parent"))
        model_id = attempt(wrong, lambda: names.new_id(request.model_id, "model_id"))
        draft = attempt(
            wrong, lambda: to_model(request.model, str(parent), model_id or "", "model")
        )
        if parent is None or draft is None or wrong:
            raise InvalidField(*wrong)
        return await repeats.answer_once(
            request,
            parent.tenant,
            pb.CreateModelResponse,
            create=lambda once: self._models.create(
                parent.tenant, parent.provider_id, draft, once=once
            ),
            answer=lambda model: pb.CreateModelResponse(model=from_model(model)),
        )

    async def UpdateModel(
        self, request: pb.UpdateModelRequest, context: Context
    ) -> pb.UpdateModelResponse:
        name = names.model(request.model.name, "model.name")
        paths = field_mask.paths(request.update_mask, request.model)

        def change(stored: Model) -> Model:
            message = field_mask.merged(from_model(stored), request.model, paths)
            return to_model(message, str(name.provider), name.child_id, "model")

        model = await self._models.update(
            *name.parts, change, expected_version=from_etag(request.model.etag)
        )
        return pb.UpdateModelResponse(model=from_model(model))

    async def DeleteModel(
        self, request: pb.DeleteModelRequest, context: Context
    ) -> pb.DeleteModelResponse:
        name = names.model(request.name)
        await self._models.delete(
            *name.parts,
            expected_version=from_etag(request.etag),
            allow_missing=request.allow_missing,
        )
        return pb.DeleteModelResponse()

    def _shown(self, view: ProviderView) -> provider_pb2.Provider:
        message = from_provider(view)
        message.health.CopyFrom(from_health(self._health.of_provider(view.provider.uid)))
        return message

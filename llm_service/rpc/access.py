"""AccessService: who may call, and what each may do."""

from typing import Any

import grpc

from llm_service.domain.access import ClientKey
from llm_service.errors import InvalidField, Violation
from llm_service.gateway.access.client_keys import ClientKeyDraft, ClientKeys
from llm_service.rpc import field_mask, names
from llm_service.rpc.convert.client_key import from_client_key, from_draft, to_draft
from llm_service.rpc.convert.provider import from_etag
from llm_service.rpc.listing import Fields, FieldType, attempt, listing, next_token
from llm_service.rpc.stubs import access_service_pb2 as pb
from llm_service.rpc.stubs import access_service_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]

CLIENT_KEY_FIELDS: Fields = {
    "display_name": FieldType.TEXT,
    "disabled": FieldType.BOOLEAN,
    "create_time": FieldType.TIME,
    "update_time": FieldType.TIME,
    "expire_time": FieldType.TIME,
    "revoke_time": FieldType.TIME,
}


class AccessServicer(access_service_pb2_grpc.AccessServiceServicer):
    """Serves `llmservice.v1.AccessService`."""

    def __init__(self, keys: ClientKeys) -> None:
        self._keys = keys

    async def CreateClientKey(
        self, request: pb.CreateClientKeyRequest, context: Context
    ) -> pb.CreateClientKeyResponse:
        wrong: list[Violation] = []
        tenant = attempt(wrong, lambda: names.parent_tenant(request.parent))
        draft = attempt(wrong, lambda: to_draft(request.client_key))
        if tenant is None or draft is None or wrong:
            raise InvalidField(*wrong)
        key, text = await self._keys.create(tenant, draft)
        return pb.CreateClientKeyResponse(client_key=self._told(key), key_text=text)

    async def GetClientKey(
        self, request: pb.GetClientKeyRequest, context: Context
    ) -> pb.GetClientKeyResponse:
        key = await self._keys.get(*names.client_key(request.name))
        return pb.GetClientKeyResponse(client_key=self._told(key))

    async def ListClientKeys(
        self, request: pb.ListClientKeysRequest, context: Context
    ) -> pb.ListClientKeysResponse:
        scope = (request.parent,)
        found = await self._keys.list(
            names.parent_tenants(request.parent),
            listing(request, "ListClientKeys", CLIENT_KEY_FIELDS, scope),
        )
        return pb.ListClientKeysResponse(
            client_keys=map(self._told, found.items),
            next_page_token=next_token(request, "ListClientKeys", found, scope),
        )

    async def UpdateClientKey(
        self, request: pb.UpdateClientKeyRequest, context: Context
    ) -> pb.UpdateClientKeyResponse:
        name = names.client_key(request.client_key.name, "client_key.name")
        paths = field_mask.paths(request.update_mask, request.client_key)

        def change(draft: ClientKeyDraft) -> ClientKeyDraft:
            return to_draft(field_mask.merged(from_draft(draft), request.client_key, paths))

        key = await self._keys.update(
            *name, change, expected_version=from_etag(request.client_key.etag)
        )
        return pb.UpdateClientKeyResponse(client_key=self._told(key))

    async def RevokeClientKey(
        self, request: pb.RevokeClientKeyRequest, context: Context
    ) -> pb.RevokeClientKeyResponse:
        key = await self._keys.revoke(
            *names.client_key(request.name), expected_version=from_etag(request.etag)
        )
        return pb.RevokeClientKeyResponse(client_key=self._told(key))

    def _told(self, key: ClientKey) -> pb.ClientKey:
        return from_client_key(key, self._keys.state(key))

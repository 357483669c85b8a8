"""Serves `llmservice.v1.ConfigService`."""

from typing import Any

import grpc

from llm_service.errors import InvalidField, Violation
from llm_service.gateway.admin.drafts import ModelConfigDraft
from llm_service.gateway.admin.model_configs import ModelConfigs
from llm_service.gateway.explanations import Explanations
from llm_service.rpc import field_mask, names, repeats
from llm_service.rpc.convert.model_config import (
    from_explanation,
    from_model_config,
    from_model_config_draft,
    to_asked,
    to_model_config_draft,
)
from llm_service.rpc.convert.provider import from_etag
from llm_service.rpc.listing import Fields, FieldType, attempt, listing, next_token
from llm_service.rpc.stubs import config_service_pb2 as pb
from llm_service.rpc.stubs.config_service_pb2_grpc import ConfigServiceServicer

Context = grpc.aio.ServicerContext[Any, Any]

MODEL_CONFIG_FIELDS: Fields = {
    "display_name": FieldType.TEXT,
    "selector.agent": FieldType.TEXT,
    "selector.user": FieldType.TEXT,
    "selector.interaction": FieldType.TEXT,
    "disabled": FieldType.BOOLEAN,
    "locked": FieldType.BOOLEAN,
    "create_time": FieldType.TIME,
    "update_time": FieldType.TIME,
    "labels": FieldType.MAP,
}


class ConfigServicer(ConfigServiceServicer):
    """Decode, one call, encode; failures are the guards' business."""

    def __init__(self, configs: ModelConfigs, explanations: Explanations) -> None:
        self._configs = configs
        self._explanations = explanations

    async def CreateModelConfig(
        self, request: pb.CreateModelConfigRequest, context: Context
    ) -> pb.CreateModelConfigResponse:
        wrong: list[Violation] = []
        attempt(wrong, lambda: repeats.check(request.request_id))
        tenant = attempt(wrong, lambda: names.parent_tenant(request.parent))
        config_id = attempt(wrong, lambda: names.new_id(request.model_config_id, "model_config_id"))
        draft = attempt(wrong, lambda: to_model_config_draft(request.model_config))
        if tenant is None or config_id is None or draft is None or wrong:
            raise InvalidField(*wrong)
        return await repeats.answer_once(
            request,
            tenant,
            pb.CreateModelConfigResponse,
            create=lambda once: self._configs.create(
                tenant, config_id, draft, validate_only=request.validate_only, once=once
            ),
            answer=lambda config: pb.CreateModelConfigResponse(
                model_config=from_model_config(config)
            ),
        )

    async def GetModelConfig(
        self, request: pb.GetModelConfigRequest, context: Context
    ) -> pb.GetModelConfigResponse:
        config = await self._configs.get(*names.model_config(request.name, shared=True))
        return pb.GetModelConfigResponse(model_config=from_model_config(config))

    async def ListModelConfigs(
        self, request: pb.ListModelConfigsRequest, context: Context
    ) -> pb.ListModelConfigsResponse:
        scope = (request.parent,)
        found = await self._configs.list(
            names.parent_tenants(request.parent),
            listing(request, "ListModelConfigs", MODEL_CONFIG_FIELDS, scope),
        )
        return pb.ListModelConfigsResponse(
            model_configs=map(from_model_config, found.items),
            next_page_token=next_token(request, "ListModelConfigs", found, scope),
        )

    async def UpdateModelConfig(
        self, request: pb.UpdateModelConfigRequest, context: Context
    ) -> pb.UpdateModelConfigResponse:
        tenant, config_id = names.model_config(request.model_config.name, "model_config.name")
        paths = field_mask.paths(request.update_mask, request.model_config)

        def change(draft: ModelConfigDraft) -> ModelConfigDraft:
            stored = from_model_config_draft(draft)
            return to_model_config_draft(field_mask.merged(stored, request.model_config, paths))

        missing = to_model_config_draft(request.model_config) if request.allow_missing else None
        config = await self._configs.update(
            tenant,
            config_id,
            change,
            expected_version=from_etag(request.model_config.etag),
            missing=missing,
            validate_only=request.validate_only,
        )
        return pb.UpdateModelConfigResponse(model_config=from_model_config(config))

    async def DeleteModelConfig(
        self, request: pb.DeleteModelConfigRequest, context: Context
    ) -> pb.DeleteModelConfigResponse:
        await self._configs.delete(
            *names.model_config(request.name),
            expected_version=from_etag(request.etag),
            allow_missing=request.allow_missing,
        )
        return pb.DeleteModelConfigResponse()

    async def ResolveModelConfig(
        self, request: pb.ResolveModelConfigRequest, context: Context
    ) -> pb.ResolveModelConfigResponse:
        return from_explanation(await self._explanations.explain(to_asked(request)))

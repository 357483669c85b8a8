"""ModelService: the catalogue, for every caller."""

from typing import Any

import grpc

from llm_service.errors import InvalidField, Violation
from llm_service.gateway.model_catalogue import ModelCatalogue
from llm_service.rpc import names
from llm_service.rpc.convert.model import from_model
from llm_service.rpc.listing import Fields, FieldType, listing, next_token
from llm_service.rpc.stubs import model_pb2, model_service_pb2_grpc
from llm_service.rpc.stubs import model_service_pb2 as pb

Context = grpc.aio.ServicerContext[Any, Any]

MAX_NAME_LENGTH = 512

MODEL_FIELDS: Fields = {
    "name": FieldType.TEXT,
    "provider_model": FieldType.TEXT,
    "aliases": FieldType.LIST,
    "display_name": FieldType.TEXT,
    "description": FieldType.TEXT,
    "input_modalities": FieldType.LIST,
    "output_modalities": FieldType.LIST,
    **{
        f"capabilities.{field.name}": FieldType.BOOLEAN
        for field in model_pb2.ModelCapabilities.DESCRIPTOR.fields
    },
    "context_window_tokens": FieldType.INTEGER,
    "max_output_tokens": FieldType.INTEGER,
    "disabled": FieldType.BOOLEAN,
    "stage": FieldType.TEXT,
    "origin": FieldType.TEXT,
    "retire_time": FieldType.TIME,
    "sync_time": FieldType.TIME,
    "replacement_model": FieldType.TEXT,
    "priority": FieldType.INTEGER,
    "labels": FieldType.MAP,
}


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    """Serves `llmservice.v1.ModelService`."""

    def __init__(self, models: ModelCatalogue) -> None:
        self._models = models

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        if names.is_model(request.name):
            name = names.model(request.name)
            provider = name.provider
            model = await self._models.named(provider.tenant, provider.provider_id, name.child_id)
        else:
            alias = _alias(request.name)
            model = await self._models.called(names.DEFAULT_TENANT, alias)
        return pb.GetModelResponse(model=from_model(model))

    async def ListModels(
        self, request: pb.ListModelsRequest, context: Context
    ) -> pb.ListModelsResponse:
        parent = names.provider(request.parent, "parent") if request.parent else None
        page = await self._models.list(
            names.DEFAULT_TENANT,
            listing(request, "ListModels", MODEL_FIELDS, (request.parent,), searchable=True),
            (parent.tenant, parent.provider_id) if parent else None,
        )
        return pb.ListModelsResponse(
            models=map(from_model, page.items),
            next_page_token=next_token(request, "ListModels", page, (request.parent,)),
        )


def _alias(text: str) -> str:
    if not text or len(text) > MAX_NAME_LENGTH or not text.isprintable():
        raise InvalidField(Violation("name", "must be a model's resource name, id or alias"))
    return text

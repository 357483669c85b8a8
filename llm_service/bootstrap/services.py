"""The services that are registered, each with what stands behind it."""

from llm_service.gateway.access.client_keys import ClientKeys
from llm_service.gateway.completions import Completions
from llm_service.gateway.embeddings import Embeddings
from llm_service.gateway.model_catalogue import ModelCatalogue
from llm_service.gateway.usage_reports import UsageReports
from llm_service.rpc.access import AccessServicer
from llm_service.rpc.completion import CompletionServicer
from llm_service.rpc.embedding import EmbeddingServicer
from llm_service.rpc.model import ModelServicer
from llm_service.rpc.provider_admin import Administration, ProviderAdminServicer
from llm_service.rpc.server import Registration
from llm_service.rpc.stubs import (
    access_service_pb2_grpc,
    completion_service_pb2_grpc,
    embedding_service_pb2_grpc,
    model_service_pb2_grpc,
    provider_admin_service_pb2_grpc,
    usage_service_pb2_grpc,
)
from llm_service.rpc.usage import UsageServicer


def services(
    completions: Completions,
    embeddings: Embeddings,
    administration: Administration,
    models: ModelCatalogue,
    usage: UsageReports,
    client_keys: ClientKeys,
) -> list[Registration]:
    return [
        (
            completion_service_pb2_grpc.add_CompletionServiceServicer_to_server,
            CompletionServicer(completions),
        ),
        (
            embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server,
            EmbeddingServicer(embeddings),
        ),
        (
            provider_admin_service_pb2_grpc.add_ProviderAdminServiceServicer_to_server,
            ProviderAdminServicer(administration),
        ),
        (model_service_pb2_grpc.add_ModelServiceServicer_to_server, ModelServicer(models)),
        (usage_service_pb2_grpc.add_UsageServiceServicer_to_server, UsageServicer(usage)),
        (access_service_pb2_grpc.add_AccessServiceServicer_to_server, AccessServicer(client_keys)),
    ]

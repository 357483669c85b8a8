"""The services there are: for each servicer, how it is registered."""

from collections.abc import Callable, Iterable
from typing import Any

from llm_service.rpc.access import AccessServicer
from llm_service.rpc.alert import AlertServicer
from llm_service.rpc.audit import AuditServicer
from llm_service.rpc.budget import BudgetServicer
from llm_service.rpc.completion import CompletionServicer
from llm_service.rpc.config import ConfigServicer
from llm_service.rpc.embedding import EmbeddingServicer
from llm_service.rpc.model import ModelServicer
from llm_service.rpc.provider_admin import ProviderAdminServicer
from llm_service.rpc.server import Registration
from llm_service.rpc.stubs import (
    access_service_pb2_grpc,
    alert_service_pb2_grpc,
    audit_service_pb2_grpc,
    budget_service_pb2_grpc,
    completion_service_pb2_grpc,
    config_service_pb2_grpc,
    embedding_service_pb2_grpc,
    model_service_pb2_grpc,
    provider_admin_service_pb2_grpc,
    usage_service_pb2_grpc,
    webhook_service_pb2_grpc,
)
from llm_service.rpc.usage import UsageServicer
from llm_service.rpc.webhook import WebhookServicer

_ADMIN = provider_admin_service_pb2_grpc.add_ProviderAdminServiceServicer_to_server
_REGISTERED: dict[type, Callable[[Any, Any], None]] = {
    AccessServicer: access_service_pb2_grpc.add_AccessServiceServicer_to_server,
    AlertServicer: alert_service_pb2_grpc.add_AlertServiceServicer_to_server,
    AuditServicer: audit_service_pb2_grpc.add_AuditServiceServicer_to_server,
    BudgetServicer: budget_service_pb2_grpc.add_BudgetServiceServicer_to_server,
    CompletionServicer: completion_service_pb2_grpc.add_CompletionServiceServicer_to_server,
    ConfigServicer: config_service_pb2_grpc.add_ConfigServiceServicer_to_server,
    EmbeddingServicer: embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server,
    ModelServicer: model_service_pb2_grpc.add_ModelServiceServicer_to_server,
    ProviderAdminServicer: _ADMIN,
    UsageServicer: usage_service_pb2_grpc.add_UsageServiceServicer_to_server,
    WebhookServicer: webhook_service_pb2_grpc.add_WebhookServiceServicer_to_server,
}


def services(servicers: Iterable[object]) -> list[Registration]:
    """What a server registers, for each of these."""
    return [(_REGISTERED[type(servicer)], servicer) for servicer in servicers]

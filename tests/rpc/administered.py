"""The administrative services on a real port over a real database, with a scripted vendor."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
from google.protobuf.json_format import MessageToJson
from google.rpc import error_details_pb2, status_pb2

from llm_service.bootstrap import parts
from llm_service.domain.provider import Model, ModelOrigin
from llm_service.domain.usage import UsageRecord
from llm_service.gateway.admin.budgets import Budgets
from llm_service.gateway.admin.checks import Checks
from llm_service.gateway.admin.credentials import Credentials
from llm_service.gateway.admin.keys import Keys
from llm_service.gateway.admin.model_configs import ModelConfigs
from llm_service.gateway.admin.models import Models
from llm_service.gateway.admin.providers import Providers
from llm_service.gateway.admin.rewrap import Rewrap
from llm_service.gateway.admin.secrets import Secrets
from llm_service.gateway.alerts.feed import AlertFeed
from llm_service.gateway.alerts.webhooks import Webhooks
from llm_service.gateway.configuration import Configuration
from llm_service.gateway.explanations import Explanations
from llm_service.gateway.health.administration import HealthAdministration
from llm_service.gateway.health.circuits import Circuits
from llm_service.gateway.health.sharing import CircuitSharing
from llm_service.gateway.model_catalogue import ModelCatalogue
from llm_service.gateway.resolution import DefaultModel
from llm_service.gateway.secret_stores import NO_STORES, SecretStores
from llm_service.gateway.usage_reports import UsageReports
from llm_service.providers.base import Account
from llm_service.providers.egress import Egress
from llm_service.rpc.alert import AlertServicer
from llm_service.rpc.audit import AuditServicer
from llm_service.rpc.budget import BudgetServicer
from llm_service.rpc.callers import Authenticate, anyone
from llm_service.rpc.config import ConfigServicer
from llm_service.rpc.model import ModelServicer
from llm_service.rpc.provider_admin import Administration, ProviderAdminServicer
from llm_service.rpc.server import build_server
from llm_service.rpc.stubs import (
    alert_service_pb2_grpc,
    audit_service_pb2_grpc,
    budget_service_pb2_grpc,
    config_service_pb2_grpc,
    model_service_pb2_grpc,
    provider_admin_service_pb2_grpc,
    usage_service_pb2_grpc,
    webhook_service_pb2_grpc,
)
from llm_service.rpc.usage import UsageServicer
from llm_service.rpc.webhook import WebhookServicer
from llm_service.storage.database import Database
from llm_service.telemetry import Telemetry
from llm_service.vault import Keyring, Scheme, Vault, generate_key
from tests.fakes import FakeAdapter

ENVIRONMENT = {"OPENAI_API_KEY": "env-canary-0123456789-value"}
LOCAL = "127.0.0.1:9999"


class ListingAdapter(FakeAdapter):
    """Lists `listed`, or raises `failure`."""

    def __init__(self) -> None:
        super().__init__()
        self.listed: list[Model] = []
        self.failure: Exception | None = None

    def lists(self, *upstream_ids: str) -> None:
        self.listed = [Model("", "", one, ModelOrigin.DISCOVERED) for one in upstream_ids]

    async def models(self, deadline: float) -> tuple[Model, ...]:
        if self.failure is not None:
            raise self.failure
        return tuple(self.listed)


@dataclass
class Vendor:
    """Stands in for `providers.connect`: remembers accounts, gives the test's adapter."""

    adapter: ListingAdapter = field(default_factory=ListingAdapter)
    accounts: list[Account] = field(default_factory=list)

    def connect(self, kind, account, egress):
        self.accounts.append(account)
        return self.adapter


@dataclass
class Pending:
    """A ledger's queue: records that only `flush` brings into the database."""

    database: Database
    records: list[UsageRecord] = field(default_factory=list)

    async def flush(self) -> None:
        if self.records:
            async with self.database.begin() as tx:
                await tx.usage.add_many(self.records)
            self.records.clear()


@dataclass
class Administered:
    admin: provider_admin_service_pb2_grpc.ProviderAdminServiceStub
    models: model_service_pb2_grpc.ModelServiceStub
    usage: usage_service_pb2_grpc.UsageServiceStub
    audit: audit_service_pb2_grpc.AuditServiceStub
    database: Database
    vault: Vault
    vendor: Vendor
    pending: Pending
    configs: config_service_pb2_grpc.ConfigServiceStub
    alerts: alert_service_pb2_grpc.AlertServiceStub
    webhooks: webhook_service_pb2_grpc.WebhookServiceStub
    budgets: budget_service_pb2_grpc.BudgetServiceStub


@asynccontextmanager
async def administered(
    url: str,
    *,
    keyring: bool = True,
    workload_identity: bool = False,
    authenticate: Authenticate = anyone,
    secret_stores: SecretStores = NO_STORES,
) -> AsyncIterator[Administered]:
    ring = Keyring.from_text(generate_key(Scheme.FERNET_V1)) if keyring else None
    egress = Egress([LOCAL])
    telemetry = Telemetry.start(service_version="test")
    async with Database.open(url) as database:
        vault = Vault(ring, "deployment")
        audit = parts.audit(database, vault)
        vendor, pending = Vendor(), Pending(database)
        secrets = Secrets(
            vault,
            ENVIRONMENT,
            workload_identity=workload_identity,
            secret_stores=secret_stores,
        )
        administration = Administration(
            Providers(database, secrets, egress),
            Credentials(database, secrets),
            Models(database),
            Checks(database, vault, egress, ENVIRONMENT, vendor.connect),
            Keys(database, vault),
            Rewrap(database, vault),
        )
        circuits = Circuits()
        health = HealthAdministration(circuits, CircuitSharing(circuits, database), database)
        configuration = Configuration(database)
        database.after_change(configuration.refresh)
        default = DefaultModel("echo-1", "LLM_DEFAULT_MODEL")
        explanations = Explanations(configuration, default)
        serving = build_server(
            [
                (
                    provider_admin_service_pb2_grpc.add_ProviderAdminServiceServicer_to_server,
                    ProviderAdminServicer(administration, health),
                ),
                (
                    model_service_pb2_grpc.add_ModelServiceServicer_to_server,
                    ModelServicer(ModelCatalogue(database)),
                ),
                (
                    usage_service_pb2_grpc.add_UsageServiceServicer_to_server,
                    UsageServicer(UsageReports(database, pending.flush, poll_seconds=0.01)),
                ),
                (
                    config_service_pb2_grpc.add_ConfigServiceServicer_to_server,
                    ConfigServicer(ModelConfigs(database), explanations),
                ),
                (audit_service_pb2_grpc.add_AuditServiceServicer_to_server, AuditServicer(audit)),
                (
                    alert_service_pb2_grpc.add_AlertServiceServicer_to_server,
                    AlertServicer(AlertFeed(database, poll_seconds=0.01)),
                ),
                (
                    budget_service_pb2_grpc.add_BudgetServiceServicer_to_server,
                    BudgetServicer(Budgets(database), AlertFeed(database, poll_seconds=0.01)),
                ),
                (
                    webhook_service_pb2_grpc.add_WebhookServiceServicer_to_server,
                    WebhookServicer(Webhooks(database, vault, egress)),
                ),
            ],
            telemetry=telemetry,
            authenticate=authenticate,
            audit=audit,
        )
        port = serving.listen("127.0.0.1:0")
        await serving.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield Administered(
                    provider_admin_service_pb2_grpc.ProviderAdminServiceStub(channel),
                    model_service_pb2_grpc.ModelServiceStub(channel),
                    usage_service_pb2_grpc.UsageServiceStub(channel),
                    audit_service_pb2_grpc.AuditServiceStub(channel),
                    database,
                    vault,
                    vendor,
                    pending,
                    config_service_pb2_grpc.ConfigServiceStub(channel),
                    alert_service_pb2_grpc.AlertServiceStub(channel),
                    webhook_service_pb2_grpc.WebhookServiceStub(channel),
                    budget_service_pb2_grpc.BudgetServiceStub(channel),
                )
        finally:
            await serving.server.stop(None)
            # A watch that was left is still looking at the database, which is closed behind it.
            await serving._spans.until_idle()
            await telemetry.shutdown()
            await egress.aclose()


@dataclass(frozen=True)
class Refusal:
    """A failed call: its code, reason, the fields named, and everything in it as text."""

    code: grpc.StatusCode
    reason: str
    fields: tuple[str, ...]
    text: str


async def refusal(call) -> Refusal:
    """How the call fails; that it does not is an AssertionError."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return _refusal(error)
    raise AssertionError(f"answered: {answer}")


def _refusal(error: grpc.aio.AioRpcError) -> Refusal:
    status = status_pb2.Status()
    trailing = dict(error.trailing_metadata() or ())
    status.ParseFromString(trailing.get("grpc-status-details-bin", b""))
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
    fields = tuple(violation.field for violation in bad.field_violations)
    text = f"{error.details()} {info} {bad} {trailing}"
    return Refusal(error.code(), info.reason, fields, text)


def as_text(message) -> str:
    """Every way a message is likely to be printed, and its bytes."""
    return f"{message} {message!r} {MessageToJson(message)} {message.SerializeToString()!r}"

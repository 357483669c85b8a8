"""For every administrative method a call that succeeds, and what its audit entry shows."""

import base64
from dataclasses import dataclass, field

from google.protobuf.duration_pb2 import Duration

from llm_service.rpc.stubs import audit_service_pb2 as audit_pb
from llm_service.rpc.stubs import budget_service_pb2 as budget_pb
from llm_service.rpc.stubs import config_service_pb2 as config_pb
from llm_service.rpc.stubs import provider_admin_service_pb2 as pb
from llm_service.rpc.stubs import webhook_service_pb2 as webhook_pb
from llm_service.rpc.stubs.model_pb2 import Model
from llm_service.rpc.stubs.provider_pb2 import Credential, Provider

KEY = "sk-proj-canary-0123456789-tail"
NAME = "tenants/acme/providers/one"
CREDENTIAL = f"{NAME}/credentials/main"
MODEL = f"{NAME}/models/fast"
SERVICE = "llmservice.v1.ProviderAdminService"
CONFIGS = "llmservice.v1.ConfigService"
WEBHOOKS = "llmservice.v1.WebhookService"
BUDGETS = "llmservice.v1.BudgetService"
PARENT = "tenants/acme"


@dataclass(frozen=True)
class Case:
    """A call that succeeds after `before`, what it names, and which paths its entry shows."""

    request: object
    resource: str
    paths: set[str]
    before: tuple[object, ...] = field(default=())
    chain: str = "tenants/acme/"
    wrong: object | None = None
    """One that is refused; None: an empty one is."""


def a_provider(provider_id="one", **fields):
    provider = Provider(kind="openai", **fields)
    return pb.CreateProviderRequest(parent=PARENT, provider_id=provider_id, provider=provider)


ONE = a_provider()
MAIN = pb.CreateCredentialRequest(
    parent=NAME, credential_id="main", credential=Credential(api_key=KEY)
)
FAST = pb.CreateModelRequest(parent=NAME, model_id="fast", model=Model(provider_model="gpt-fast"))
UPDATE = pb.UpdateProviderRequest(provider=Provider(name=NAME, display_name="The one"))
DELETE = pb.DeleteProviderRequest(name=NAME)
CONFIG = "tenants/acme/modelConfigs/planning"
PLANNING = config_pb.CreateModelConfigRequest(
    parent=PARENT,
    model_config_id="planning",
    model_config=config_pb.ModelConfig(
        selector=config_pb.Selector(interaction="planning"),
        targets=[config_pb.Target(model="gpt-fast")],
    ),
)

BUDGET = "tenants/acme/budgets/planning"
SPENDING = budget_pb.CreateBudgetRequest(
    parent=PARENT,
    budget_id="planning",
    budget=budget_pb.Budget(
        filter='interaction = "planning"',
        limit_tokens=1000,
        period=budget_pb.Budget.PERIOD_DAY,
        rules=[budget_pb.BudgetRule(threshold_percent=80, action="ACTION_ALERT")],
    ),
)

WEBHOOK = "tenants/acme/webhooks/pager"
PAGER = webhook_pb.CreateWebhookRequest(
    parent=PARENT,
    webhook_id="pager",
    webhook=webhook_pb.Webhook(target_uri="https://hooks.example.com/alerts"),
    secret="whsec_" + base64.b64encode(b"canary" * 6).decode(),
)

CASES = {
    "CreateBudget": Case(
        SPENDING, BUDGET, {"filter", "limit_tokens", "period", "time_zone", "rules"}
    ),
    "UpdateBudget": Case(
        budget_pb.UpdateBudgetRequest(budget=budget_pb.Budget(name=BUDGET, limit_tokens=2000)),
        BUDGET,
        {"limit_tokens"},
        (SPENDING,),
    ),
    "DeleteBudget": Case(
        budget_pb.DeleteBudgetRequest(name=BUDGET),
        BUDGET,
        {"filter", "limit_tokens", "period", "time_zone", "rules"},
        (SPENDING,),
    ),
    "CreateProvider": Case(ONE, NAME, {"kind"}),
    "UpdateProvider": Case(UPDATE, NAME, {"display_name"}, (ONE,)),
    "DeleteProvider": Case(DELETE, NAME, {"delete_time", "purge_time"}, (ONE,)),
    "UndeleteProvider": Case(
        pb.UndeleteProviderRequest(name=NAME), NAME, {"delete_time", "purge_time"}, (ONE, DELETE)
    ),
    "BatchUpdateProviders": Case(
        pb.BatchUpdateProvidersRequest(parent=PARENT, requests=[UPDATE]),
        PARENT,
        {"display_name"},
        (ONE,),
    ),
    "BatchDeleteProviders": Case(
        pb.BatchDeleteProvidersRequest(parent=PARENT, requests=[DELETE]),
        PARENT,
        {"delete_time", "purge_time"},
        (ONE,),
    ),
    "CheckProvider": Case(
        pb.CheckProviderRequest(name=NAME), NAME, {"last_check_time"}, (ONE, MAIN)
    ),
    "SyncModels": Case(
        pb.SyncModelsRequest(name=NAME),
        NAME,
        {"provider_model", "origin", "state", "sync_time"},
        (ONE, MAIN),
    ),
    "ResetCircuits": Case(pb.ResetCircuitsRequest(name=NAME), NAME, {"state"}, (ONE,)),
    "CreateCredential": Case(
        MAIN,
        CREDENTIAL,
        {"api_key", "obfuscated_secret", "origin", "secret_set", "source_type", "state"},
        (ONE,),
    ),
    "UpdateCredential": Case(
        pb.UpdateCredentialRequest(credential=Credential(name=CREDENTIAL, display_name="Main")),
        CREDENTIAL,
        {"display_name"},
        (ONE, MAIN),
    ),
    "DeleteCredential": Case(
        pb.DeleteCredentialRequest(name=CREDENTIAL),
        CREDENTIAL,
        {"api_key", "obfuscated_secret", "origin", "secret_set", "source_type", "state"},
        (ONE, MAIN),
    ),
    "RotateCredential": Case(
        pb.RotateCredentialRequest(
            name=CREDENTIAL, credential=Credential(api_key=KEY), grace_period=Duration()
        ),
        CREDENTIAL,
        {"api_key"},
        (ONE, MAIN),
    ),
    "CreateModel": Case(FAST, MODEL, {"provider_model", "origin", "state"}, (ONE,)),
    "UpdateModel": Case(
        pb.UpdateModelRequest(model=Model(name=MODEL, labels={"team": "x"})),
        MODEL,
        {"labels.team"},
        (ONE, FAST),
    ),
    "RewrapSecrets": Case(
        pb.RewrapSecretsRequest(),
        "",
        set(),
        chain="",
        wrong=pb.RewrapSecretsRequest(max_count=-1),
    ),
    "CreateModelConfig": Case(PLANNING, CONFIG, {"selector.interaction", "state", "targets"}),
    "UpdateModelConfig": Case(
        config_pb.UpdateModelConfigRequest(
            model_config=config_pb.ModelConfig(name=CONFIG, display_name="Plans")
        ),
        CONFIG,
        {"display_name"},
        (PLANNING,),
    ),
    "DeleteModelConfig": Case(
        config_pb.DeleteModelConfigRequest(name=CONFIG),
        CONFIG,
        {"selector.interaction", "state", "targets"},
        (PLANNING,),
    ),
    "CreateWebhook": Case(PAGER, WEBHOOK, {"secret", "target_uri"}),
    "UpdateWebhook": Case(
        webhook_pb.UpdateWebhookRequest(
            webhook=webhook_pb.Webhook(name=WEBHOOK, display_name="Pager", disabled=True)
        ),
        WEBHOOK,
        {"disabled", "display_name"},
        (PAGER,),
    ),
    "RotateWebhookSecret": Case(
        webhook_pb.RotateWebhookSecretRequest(name=WEBHOOK), WEBHOOK, {"secret"}, (PAGER,)
    ),
    "RedeliverWebhookDeliveries": Case(
        webhook_pb.RedeliverWebhookDeliveriesRequest(parent=WEBHOOK), WEBHOOK, set(), (PAGER,)
    ),
    "DeleteWebhook": Case(
        webhook_pb.DeleteWebhookRequest(name=WEBHOOK), WEBHOOK, {"secret", "target_uri"}, (PAGER,)
    ),
    "DeleteModel": Case(
        pb.DeleteModelRequest(name=MODEL), MODEL, {"provider_model", "origin", "state"}, (ONE, FAST)
    ),
}


async def entries(service, parent="tenants/-", **asked):
    request = audit_pb.ListAuditEntriesRequest(parent=parent, **asked)
    return list((await service.audit.ListAuditEntries(request)).audit_entries)


def calling(service, request):
    method = type(request).__name__.removesuffix("Request")
    stubs = {
        SERVICE: service.admin,
        CONFIGS: service.configs,
        WEBHOOKS: service.webhooks,
        BUDGETS: service.budgets,
    }
    return getattr(stubs[owner_of(method)], method)(request)


def owner_of(method):
    if "Webhook" in method:
        return WEBHOOKS
    if "Budget" in method:
        return BUDGETS
    return CONFIGS if "ModelConfig" in method else SERVICE


def path_of(method):
    return f"/{owner_of(method)}/{method}"


async def prepared(service, case):
    service.vendor.adapter.lists("gpt-new")
    for request in case.before:
        await calling(service, request)
    return len(await entries(service))

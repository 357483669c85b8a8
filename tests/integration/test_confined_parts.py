"""What each part stores for callers of several tenants, as a user whom row-level security holds."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from google.protobuf import field_mask_pb2

from llm_service.domain.access import CALLER, Caller, Principal, Role
from llm_service.domain.completion import Attribution, ServedBy
from llm_service.domain.usage import OpenedAttempt, Operation
from llm_service.gateway.admin.rewrap import Rewrap
from llm_service.gateway.admin.upkeep import Upkeep
from llm_service.gateway.configuration import Configuration
from llm_service.gateway.leased_ledger import LeasedLedger
from llm_service.gateway.manager import binding
from llm_service.rpc.stubs import audit_service_pb2 as audit_pb
from llm_service.rpc.stubs import audit_service_pb2_grpc as audit_grpc
from llm_service.rpc.stubs import completion_service_pb2_grpc as completion_grpc
from llm_service.rpc.stubs import config_service_pb2 as config_pb
from llm_service.rpc.stubs import config_service_pb2_grpc as config_grpc
from llm_service.rpc.stubs import provider_admin_service_pb2 as admin_pb
from llm_service.rpc.stubs import provider_pb2
from llm_service.rpc.stubs import usage_service_pb2 as usage_pb
from llm_service.rpc.stubs import usage_service_pb2_grpc as usage_grpc
from llm_service.storage.database import Database
from llm_service.vault import Keyring, Scheme, Vault, generate_key
from tests.e2e.service import asking
from tests.integration.samples import NOW, a_credential, a_provider
from tests.rpc.guarded import OTHER, OWN, bearer, guarded, outcome

TARGET = ServedBy("providers/p", "providers/p/models/m")
REQUEST_ID = "0b0ee9a5-3a0c-4f7e-9d0a-0d6a5c0f8f11"
NAME = f"tenants/{OWN}/modelConfigs/mine"


async def configured(service, by) -> None:
    """A tenant makes, changes and destroys a configuration."""
    configs = config_grpc.ConfigServiceStub(service.channel)
    wanted = config_pb.CreateModelConfigRequest(
        model_config_id="mine",
        request_id=REQUEST_ID,
        model_config=config_pb.ModelConfig(selector=config_pb.Selector(agent="a")),
    )
    made = await configs.CreateModelConfig(wanted, metadata=by)
    again = await configs.CreateModelConfig(wanted, metadata=by)
    assert made.model_config.name == again.model_config.name == NAME
    await configs.UpdateModelConfig(
        config_pb.UpdateModelConfigRequest(
            model_config=config_pb.ModelConfig(name=NAME, display_name="Mine"),
            update_mask=field_mask_pb2.FieldMask(paths=["display_name"]),
        ),
        metadata=by,
    )
    await configs.DeleteModelConfig(config_pb.DeleteModelConfigRequest(name=NAME), metadata=by)


async def audited(service, by) -> list[audit_pb.AuditEntry]:
    stub = audit_grpc.AuditServiceStub(service.channel)
    request = audit_pb.ListAuditEntriesRequest(order_by="create_time", page_size=1000)
    return list((await stub.ListAuditEntries(request, metadata=by)).audit_entries)


async def test_a_tenants_changes_refusals_and_usage_are_in_its_own_records(tmp_path, confined_url):
    key = generate_key(Scheme.FERNET_V1)
    environment = {
        "LLM_DATABASE_URL": confined_url,
        "LLM_ENCRYPTION_KEY": key,
        "LLM_LEDGER": "database",
    }
    async with guarded(tmp_path, **environment) as service:
        of = {role: bearer(text) for role, text in service.keys.items()}
        await service.admin.CreateProvider(
            admin_pb.CreateProviderRequest(
                provider_id="echo", provider=provider_pb2.Provider(kind="echo")
            ),
            metadata=bearer(service.operator),
        )
        before = len(await audited(service, of[Role.AUDIT_READ]))
        _, others = await service.new_key(Role.INVOKE, tenant=OTHER)
        completions = completion_grpc.CompletionServiceStub(service.channel)
        for caller in (bearer(others), of[Role.INVOKE]):
            await completions.Complete(asking("echo-1"), metadata=caller)

        await configured(service, of[Role.CONFIG])
        refused = await outcome(
            service.admin.DeleteProvider(
                admin_pb.DeleteProviderRequest(name="providers/echo"), metadata=of[Role.INVOKE]
            )
        )
        report = await usage_grpc.UsageServiceStub(service.channel).QueryUsage(
            usage_pb.QueryUsageRequest(start_time=datetime.now(UTC) - timedelta(hours=1)),
            metadata=of[Role.USAGE_READ],
        )
        entries = (await audited(service, of[Role.AUDIT_READ]))[before:]
        verdicts = [
            verdict
            async for verdict in audit_grpc.AuditServiceStub(service.channel).VerifyAudit(
                audit_pb.VerifyAuditRequest(parent="tenants/-"), metadata=of[Role.AUDIT_READ]
            )
        ]

    assert refused.reason == "PERMISSION_DENIED"
    assert report.total.request_count == 1
    methods = ["CreateModelConfig"] * 2 + ["UpdateModelConfig", "DeleteModelConfig"]
    assert [one.method.rpartition("/")[2] for one in entries] == [*methods, "DeleteProvider"]
    assert {one.request_id for one in entries[:2]} == {REQUEST_ID}
    assert [one.error.reason for one in entries] == ["", "", "", "", "PERMISSION_DENIED"]
    assert [bool(one.changes) for one in entries] == [True, False, True, True, False]
    assert len(verdicts) == 1


async def test_what_the_service_keeps_for_all_it_keeps_whoever_called_last(confined_url):
    first = f"k1 fernet-v1 {generate_key(Scheme.FERNET_V1)}"
    second = f"k2 fernet-v1 {generate_key(Scheme.FERNET_V1)} primary"
    ring = Keyring.from_text(f"{first}\n{second}\n")
    async with Database.open(confined_url) as database:
        vault = Vault(ring, await database.deployment_id())
        old = Vault(Keyring.from_text(first), vault.deployment_id)
        async with database.begin() as tx:
            await tx.keys.register(ring.checks(vault.deployment_id), NOW)
            opened = [
                OpenedAttempt(tenant, "c", Attribution(tenant), TARGET, NOW, Operation.CHAT)
                for tenant in (OWN, OTHER)
            ]
            await tx.open_attempts.add_many("a process that died", opened)
            for tenant in ("", OWN, OTHER):
                provider = a_provider("p", tenant)
                await tx.providers.add(provider)
                one = a_credential(provider)
                one = replace(one, sealed=old.seal("sk-0123456789", binding(provider, one)))
                await tx.credentials.add(one)
                await tx.providers.add(a_provider("gone", tenant, delete_time=NOW, purge_time=NOW))
        rewrapped, left = await Rewrap(database, vault).upto(100)
        purged = await Upkeep(database, lambda: NOW).sweep()
        closed = await LeasedLedger(database, lease=timedelta(0)).reconcile()
        configuration = Configuration(database)
        token = CALLER.set(Caller(Principal("clientKeys/a", OWN, frozenset(Role))))
        try:  # whoever is first has the snapshot of everybody's read
            view = await configuration.view(OWN)
        finally:
            CALLER.reset(token)

    assert (rewrapped.rewrapped, left, len(purged), closed) == (3, 0, 3, 2)
    assert set(view.providers) == {"providers/p", f"tenants/{OWN}/providers/p"}
    assert len([view.credentials[one.uid] for one in view.providers.values()]) == 2

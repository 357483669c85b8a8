"""What every use case stands on, opened in order and closed in the reverse one."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import metadata

from llm_service.bootstrap import parts, snapshots
from llm_service.bootstrap.keys import vault_of
from llm_service.bootstrap.schema import alone
from llm_service.bootstrap.secret_stores import secret_stores
from llm_service.bootstrap.snapshots import Beginning
from llm_service.bootstrap.trouble import CannotStart
from llm_service.gateway.audit.log import AuditLog
from llm_service.gateway.manager import ProviderManager
from llm_service.providers.egress import Egress
from llm_service.rpc.provider_admin import Administration
from llm_service.settings import Settings
from llm_service.storage.database import Database
from llm_service.telemetry import Telemetry
from llm_service.vault import Vault


@dataclass(frozen=True, slots=True)
class Foundation:
    """The database, the secrets and the ways out, with the administration of what is stored."""

    start: Beginning
    database: Database
    vault: Vault
    audit: AuditLog
    telemetry: Telemetry
    egress: Egress
    administration: Administration
    manager: ProviderManager


async def open_foundation(
    settings: Settings, stack: AsyncExitStack, notes: list[str]
) -> Foundation:
    """Open everything; a database that was just made is planted.

    Raises:
        CannotStart: something an operator must mend first.
    """
    stack.enter_context(alone(settings))
    database = await stack.enter_async_context(Database.open(settings.database_url))
    start = await snapshots.beginning(settings, database, notes)
    away = start.deployment if start.last else ""
    vault = await vault_of(settings, database, notes, away)
    audit = parts.audit(database, vault)
    telemetry = telemetry_of(settings)
    stack.push_async_callback(telemetry.shutdown)
    egress = Egress(settings.egress_allow, ca_file=str(settings.egress_ca_file or ""))
    stack.push_async_callback(egress.aclose)
    stores = await stack.enter_async_context(secret_stores(settings))
    administration = parts.administration(settings, database, vault, egress, stores)
    if start.fresh:
        await parts.seeds(settings, database, administration).plant()
    manager = parts.manager(settings, vault, egress, stores)
    stack.push_async_callback(manager.aclose)
    return Foundation(start, database, vault, audit, telemetry, egress, administration, manager)


def telemetry_of(settings: Settings) -> Telemetry:
    """Spans and metrics, sent where the settings say.

    Raises:
        CannotStart: metrics cannot be served where they should be.
    """
    listen = settings.prometheus_listen
    try:
        return Telemetry.start(
            service_version=metadata.version("llm-service"),
            otlp_endpoint=settings.otlp_endpoint,
            sample_ratio=settings.trace_sample_ratio,
            prometheus_listen=str(listen) if listen else "",
            environment=settings.deployment_environment,
        )
    except OSError as error:
        raise CannotStart(f"cannot serve metrics on {listen}: {error.strerror}") from error

"""The parts of the service, each made from the settings."""

from llm_service.gateway.admin.checks import Checks
from llm_service.gateway.admin.credentials import Credentials
from llm_service.gateway.admin.keys import Keys
from llm_service.gateway.admin.model_configs import ModelConfigs
from llm_service.gateway.admin.models import Models
from llm_service.gateway.admin.providers import Providers
from llm_service.gateway.admin.rewrap import Rewrap
from llm_service.gateway.admin.secrets import Secrets
from llm_service.gateway.admin.seeds import Seeds
from llm_service.gateway.audit.log import AuditLog
from llm_service.gateway.configuration import Configuration
from llm_service.gateway.drains import DrainLimits
from llm_service.gateway.embeddings import Embeddings
from llm_service.gateway.manager import ProviderManager
from llm_service.gateway.resolution import DefaultModel
from llm_service.gateway.secret_stores import NO_STORES, SecretStores
from llm_service.gateway.upstream import CallLimits, Upstream
from llm_service.providers.egress import Egress
from llm_service.rpc.convert.audit import render
from llm_service.rpc.provider_admin import Administration
from llm_service.rpc.server import Limits
from llm_service.settings import Settings
from llm_service.storage.database import Database
from llm_service.vault import Vault

# Beyond the calls that are let in: for health and administration, and for calls that wait or are
# being refused.
_SPARE_SHARE, _SPARE_LEAST = 0.1, 10


def manager(
    settings: Settings, vault: Vault, egress: Egress, secret_stores: SecretStores
) -> ProviderManager:
    return ProviderManager(
        vault,
        egress,
        settings.credential_environment,
        workload_identity=settings.allow_workload_identity,
        secret_stores=secret_stores,
    )


def administration(
    settings: Settings,
    database: Database,
    vault: Vault,
    egress: Egress,
    secret_stores: SecretStores = NO_STORES,
) -> Administration:
    lent = settings.allow_workload_identity
    secrets = Secrets(
        vault,
        settings.credential_env_allow,
        workload_identity=lent,
        secret_stores=secret_stores,
    )
    return Administration(
        Providers(database, secrets, egress),
        Credentials(database, secrets),
        Models(database),
        Checks(
            database,
            vault,
            egress,
            settings.credential_environment,
            workload_identity=lent,
            secret_stores=secret_stores,
        ),
        Keys(database, vault),
        Rewrap(database, vault),
    )


def seeds(settings: Settings, database: Database, administration: Administration) -> Seeds:
    return Seeds(
        administration.providers,
        administration.models,
        ModelConfigs(database),
        settings.credential_environment,
        settings.credential_env_allow,
        settings.ollama_url,
    )


def default_model(settings: Settings) -> DefaultModel:
    return DefaultModel(settings.default_model, settings.default_model_variable)


def audit(database: Database, vault: Vault) -> AuditLog:
    """The audit log, from now on witness of whatever changes configuration in this database."""
    log = AuditLog(database, vault, render)
    database.before_commit(log.witness)
    return log


def call_limits(settings: Settings) -> CallLimits:
    return CallLimits(
        settings.max_call_seconds,
        settings.connect_timeout_seconds,
        settings.first_token_timeout_seconds,
        settings.idle_timeout_seconds,
        settings.min_output_tokens_per_second,
        DrainLimits(
            settings.cancel_drain_seconds,
            settings.cancel_drain_max_bytes,
            settings.cancel_drain_max_calls,
            settings.cancel_ask_seconds,
        ),
    )


def embeddings(settings: Settings, configuration: Configuration, upstream: Upstream) -> Embeddings:
    return Embeddings(configuration, upstream, most_bytes=settings.max_message_bytes)


def limits(settings: Settings) -> Limits:
    calls = settings.max_concurrent_calls
    spare = max(_SPARE_LEAST, int(calls * _SPARE_SHARE))
    most = calls + queue_length(settings) + spare
    return Limits(
        receive_bytes=settings.max_message_bytes,
        send_bytes=settings.max_message_bytes,
        streams_per_connection=most,
        concurrent_calls=most,
        longest_call=settings.max_call_seconds,
    )


def queue_length(settings: Settings) -> int:
    """How many calls may wait for a place."""
    return max(1, settings.max_concurrent_calls // 20)

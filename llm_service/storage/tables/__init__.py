"""The tables. Alembic compares `METADATA` with what the migrations make."""

from llm_service.storage.tables.access import client_keys
from llm_service.storage.tables.alerts import alert_monitor, alerts, webhook_deliveries, webhooks
from llm_service.storage.tables.audit import audit_chains, audit_entries
from llm_service.storage.tables.budgets import (
    budget_holders,
    budget_leases,
    budget_windows,
    budgets,
)
from llm_service.storage.tables.circuits import circuits
from llm_service.storage.tables.columns import METADATA, Time
from llm_service.storage.tables.configuration import (
    config_counter,
    config_versions,
    credentials,
    deployment,
    models,
    providers,
)
from llm_service.storage.tables.creations import creations
from llm_service.storage.tables.keys import encryption_keys, keyring_replicas
from llm_service.storage.tables.model_configs import model_configs
from llm_service.storage.tables.usage import (
    attempt_owners,
    open_attempts,
    usage_bounds,
    usage_day_durations,
    usage_day_parts,
    usage_days,
    usage_records,
)

__all__ = [
    "METADATA",
    "Time",
    "alert_monitor",
    "alerts",
    "attempt_owners",
    "audit_chains",
    "audit_entries",
    "budget_holders",
    "budget_leases",
    "budget_windows",
    "budgets",
    "circuits",
    "client_keys",
    "config_counter",
    "config_versions",
    "creations",
    "credentials",
    "deployment",
    "encryption_keys",
    "keyring_replicas",
    "model_configs",
    "models",
    "open_attempts",
    "providers",
    "usage_bounds",
    "usage_day_durations",
    "usage_day_parts",
    "usage_days",
    "usage_records",
    "webhook_deliveries",
    "webhooks",
]

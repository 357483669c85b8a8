"""The tables. Alembic compares `METADATA` with what the migrations make."""

from llm_service.storage.tables.access import client_keys
from llm_service.storage.tables.columns import METADATA, Time
from llm_service.storage.tables.configuration import (
    config_counter,
    config_versions,
    credentials,
    deployment,
    models,
    providers,
)
from llm_service.storage.tables.usage import usage_records

__all__ = [
    "METADATA",
    "Time",
    "client_keys",
    "config_counter",
    "config_versions",
    "credentials",
    "deployment",
    "models",
    "providers",
    "usage_records",
]

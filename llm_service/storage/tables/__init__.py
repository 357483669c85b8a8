"""The tables. Alembic compares `METADATA` with what the migrations make."""

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
from llm_service.storage.tables.usage import usage_records

__all__ = [
    "METADATA",
    "Time",
    "config_counter",
    "config_versions",
    "creations",
    "credentials",
    "deployment",
    "models",
    "providers",
    "usage_records",
]

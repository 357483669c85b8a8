"""The systems that can be imported, by the names a command has for them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llm_service.gateway.admin.imports import agents, interactions, registry, tenants
from llm_service.gateway.admin.imports.steps import Circumstances, Step
from llm_service.storage.imports import read_tables

Tables = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class System:
    """`columns`: by table, those it must have. `key_variable`: where it kept its own Fernet key."""

    columns: Mapping[str, Sequence[str]]
    optional: tuple[str, ...] = ()
    key_variable: str = ""


SYSTEMS = {
    "agent-llm-configs": System(agents.COLUMNS, key_variable="ENCRYPTION_KEY"),
    "llms": System(registry.COLUMNS),
    "llm-providers": System(tenants.COLUMNS, (tenants.USAGE,), "LLM_ENCRYPTION_KEY"),
    "llm-config": System(interactions.COLUMNS, (interactions.USERS,)),
}


async def read(name: str, dsn: str) -> Tables:
    """The tables of a system.

    Raises:
        ForeignDatabaseError, StorageUnavailable: as `storage.imports.read_tables`.
    """
    system = SYSTEMS[name]
    return await read_tables(dsn, system.columns, system.optional)


def steps(name: str, tables: Tables, where: Circumstances) -> Iterator[Step]:
    """What importing these tables wants, in an order in which it can be done."""
    match name:
        case "agent-llm-configs":
            return agents.steps(tables["agent_llm_configs"], where)
        case "llms":
            return registry.steps(tables["llms"], where)
        case "llm-providers":
            return tenants.steps(tables["llm_providers"], tables[tenants.USAGE], where)
        case _:
            return interactions.steps(tables, where)

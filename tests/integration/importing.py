"""Taking over another system's configuration, into a database of the test's own."""

from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from uuid import UUID

from cryptography.fernet import Fernet

from llm_service.gateway.admin.credentials import Credentials
from llm_service.gateway.admin.imports import systems
from llm_service.gateway.admin.imports.importer import Importer
from llm_service.gateway.admin.imports.steps import Circumstances, Entry, Outcome
from llm_service.gateway.admin.model_configs import ModelConfigs
from llm_service.gateway.admin.models import Models
from llm_service.gateway.admin.providers import Providers
from llm_service.gateway.admin.secrets import Secrets
from llm_service.gateway.secret_stores import NO_STORES, SecretStores
from llm_service.providers.egress import Egress
from llm_service.storage.database import Database
from llm_service.vault import Keyring, Scheme, Vault, generate_key
from tests.integration import other_systems as others

ALLOWED = frozenset({"OPENAI_API_KEY", "ANTHROPIC_API_KEY", "FIREWORKS_API_KEY"})
OLD_KEY = Fernet.generate_key().decode()
ONE, TWO, THREE = (str(UUID(int=n)) for n in (1, 2, 3))
ACME = "t-" + TWO
DIALLED = ("127.0.0.1:11434", "127.0.0.1:1234")
CANARY = "sk-canary-0123456789abcdefghij"


def sealed(secret: str, key: str = OLD_KEY) -> str:
    return Fernet(key).encrypt(secret.encode()).decode()


@dataclass
class Importing:
    """One system's tables and where they go."""

    database: Database
    vault: Vault
    egress: Egress
    system: str
    url: str
    where: Circumstances = field(
        default_factory=lambda: Circumstances("", OLD_KEY, "OLD_KEY", allowed=ALLOWED)
    )

    stores: SecretStores = NO_STORES

    async def run(self, database: Database | None = None, **where: object) -> list[Entry]:
        database = database or self.database
        secrets = Secrets(self.vault, ALLOWED, secret_stores=self.stores)
        importer = Importer(
            database,
            Providers(database, secrets, self.egress),
            Credentials(database, secrets),
            Models(database),
            ModelConfigs(database),
        )
        tables = await systems.read(self.system, self.url)
        return await importer.run(systems.steps(self.system, tables, replace(self.where, **where)))

    async def everything(self, tenant: str = ""):
        async with self.database.read() as tx:
            return Everything(
                {one.name: one for one in await tx.providers.of_tenant(tenant)},
                {one.name: one for one in await tx.credentials.of_tenant(tenant)},
                {one.name: one for one in await tx.models.of_tenant(tenant)},
                {one.name: one for one in await tx.model_configs.of_tenant(tenant)},
            )


@dataclass
class Everything:
    providers: dict
    credentials: dict
    models: dict
    configs: dict


def lines(entries: list[Entry], *outcomes: Outcome) -> list[str]:
    return [str(entry) for entry in entries if not outcomes or entry.outcome in outcomes]


@asynccontextmanager
async def opened(database: Database, url: str):
    """`opened(...)(system)`: a database to import from, and one to import into."""
    egress = Egress(DIALLED)
    vault = Vault(Keyring.from_text(generate_key(Scheme.FERNET_V1)), "deployment")
    yield lambda system: Importing(database, vault, egress, system, url)
    await egress.aclose()


def agent_row(id_: int, agent_id: int = 7, **fields):
    return {"id": id_, "agent_id": agent_id, "provider": "openai", "model_name": "gpt-4o", **fields}


async def agents(importing, *rows) -> Importing:
    one = importing("agent-llm-configs")
    ids = sorted({row["agent_id"] for row in rows})
    await others.fill(
        one.url,
        others.AGENT_LLM_CONFIGS,
        agent_configs=[{"id": id_} for id_ in ids],
        agent_llm_configs=rows,
    )
    return one


def llm_row(id_: str, provider: str, model_name: str, **fields):
    name = fields.pop("name", f"{provider} {model_name}")
    return {"id": id_, "name": name, "provider": provider, "model_name": model_name, **fields}


async def registry(importing, *rows) -> Importing:
    one = importing("llms")
    await others.fill(one.url, others.LLMS, llms=rows)
    return one


async def tenants(importing, *rows, usage=()) -> Importing:
    one = importing("llm-providers")
    await others.fill(
        one.url,
        others.LLM_PROVIDERS,
        tenants=[{"id": id_} for id_ in sorted({row["tenant_id"] for row in rows})],
        llm_providers=rows,
        llm_provider_usage=usage,
    )
    return one


def tenant_row(id_: str, provider_type: str, secret: str = CANARY, **fields):
    return {
        "id": id_,
        "tenant_id": TWO,
        "provider_type": provider_type,
        "encrypted_api_key": sealed(secret),
        **fields,
    }


async def interactions(importing, providers, models=(), globals_=(), users=()) -> Importing:
    one = importing("llm-config")
    await others.fill(
        one.url,
        others.LLM_CONFIG,
        llm_providers=providers,
        llm_provider_models=models,
        llm_global_config=globals_,
        llm_user_config=users,
    )
    return one

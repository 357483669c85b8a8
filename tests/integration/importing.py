"""Taking over another system's configuration, into a database of the test's own."""

from dataclasses import dataclass, field, replace

from cryptography.fernet import Fernet

from llm_service.gateway.admin.credentials import Credentials
from llm_service.gateway.admin.imports import systems
from llm_service.gateway.admin.imports.importer import Importer
from llm_service.gateway.admin.imports.steps import Circumstances, Entry, Outcome
from llm_service.gateway.admin.model_configs import ModelConfigs
from llm_service.gateway.admin.models import Models
from llm_service.gateway.admin.providers import Providers
from llm_service.gateway.admin.secrets import Secrets
from llm_service.providers.egress import Egress
from llm_service.storage.database import Database
from llm_service.vault import Vault

ALLOWED = frozenset({"OPENAI_API_KEY", "ANTHROPIC_API_KEY", "FIREWORKS_API_KEY"})
OLD_KEY = Fernet.generate_key().decode()
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

    async def run(self, database: Database | None = None, **where: object) -> list[Entry]:
        database = database or self.database
        secrets = Secrets(self.vault, ALLOWED)
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

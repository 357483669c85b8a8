"""What is kept out of every call because its row was broken: that resource, and nothing else."""

from llm_service import providers as kinds
from llm_service.domain.budget import Budget
from llm_service.domain.model_config import ModelConfig
from llm_service.domain.provider import Credential, Model, Provider
from llm_service.errors import ProviderCredentialUnreadable
from llm_service.gateway.budgets.scope import sound
from llm_service.vault import Vault


def broken(resource: Provider | Credential | Model | ModelConfig | Budget) -> tuple[str, ...]:
    """The fields that keep it out of calls; none: it is sound.

    They cannot be read, or name a kind this build does not have, or hold no sealed text.
    """
    if resource.unreadable:
        return resource.unreadable
    if isinstance(resource, Provider) and resource.kind not in kinds.kinds():
        return ("kind",)
    if isinstance(resource, Credential) and resource.sealed and not _is_sealed(resource.sealed):
        return ("sealed",)
    if isinstance(resource, Budget) and not sound(resource):
        return ("filter",)
    return ()


def _is_sealed(text: str) -> bool:
    try:
        Vault.describe(text)
    except ProviderCredentialUnreadable:
        return False
    return True

"""The first providers of a new service: echo, and a vendor for each key in the environment."""

from collections.abc import Mapping

from llm_service import providers as kinds
from llm_service.domain.provider import SourceType
from llm_service.errors import AlreadyExists
from llm_service.gateway.admin.drafts import CredentialDraft, ProviderDraft, Source
from llm_service.gateway.admin.providers import Providers
from llm_service.gateway.configuration import SHARED

# The variables operators usually have set already, and the kind each one is a key of.
USUAL_KEYS = {
    "OPENAI_API_KEY": "openai",
    "ANTHROPIC_API_KEY": "anthropic",
    "DEEPSEEK_API_KEY": "deepseek",
    "GROK_API_KEY": "xai",
}
ECHO = ProviderDraft(
    kind="echo", display_name="Echo", description="Answers with what it was sent; costs nothing."
)


async def plant(providers: Providers, environment: Mapping[str, str]) -> list[str]:
    """Create what is not there yet; says what was done, line by line. Twice is as once."""
    lines = [await _planted(providers, "echo", ECHO)]
    for variable, kind in USUAL_KEYS.items():
        if variable not in environment:
            continue
        if kind not in kinds.kinds():
            lines.append(f"{variable} is set, but this release has no kind {kind}")
            continue
        source = Source(SourceType.ENVIRONMENT_VARIABLE, reference=variable)
        draft = ProviderDraft(kind=kind, description=f"Uses {variable} of the environment.")
        lines.append(await _planted(providers, kind, draft, source))
    return lines


async def _planted(
    providers: Providers, provider_id: str, draft: ProviderDraft, source: Source | None = None
) -> str:
    credential = (CredentialDraft(), source) if source else None
    try:
        await providers.create(SHARED, provider_id, draft, credential)
    except AlreadyExists:
        return f"providers/{provider_id} is there already"
    return f"created providers/{provider_id}"

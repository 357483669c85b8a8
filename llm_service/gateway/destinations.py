"""Where a provider's credentials are sent, as text that a secret can be bound to."""

from collections.abc import Mapping
from functools import lru_cache

from llm_service import providers as kinds
from llm_service.domain.provider import Credential, Provider, ProviderKind
from llm_service.providers import egress

_NOWHERE = "unknown"
"""No secret is ever bound to it."""


def destination(provider: Provider) -> str:
    """Scheme, host and port of the provider's address, and the settings that decide it.

    Like "https://api.openai.com:443" or "default resource=ours", where the kind finds the address
    by its settings. Never "".
    """
    if provider.kind not in kinds.kinds():
        return _NOWHERE
    return of_account(kinds.provider_kind(provider.kind), provider.base_uri, provider.settings)


def of_account(kind: ProviderKind, base_uri: str, settings: Mapping[str, str]) -> str:
    """As `destination`, of an account that is not a provider yet."""
    origin = _origin(base_uri or kind.default_base_uri)
    decisive = (f"{name}={settings[name]}" for name in kind.address_settings if settings.get(name))
    return " ".join((origin, *decisive))


def is_bound_elsewhere(credential: Credential, provider: Provider) -> bool:
    """Whether it was entered for another address than the provider has now."""
    return bool(credential.origin) and credential.origin != destination(provider)


@lru_cache(maxsize=4096)
def _origin(base_uri: str) -> str:
    if not base_uri:
        return "default"
    try:
        endpoint = egress.parse(base_uri)
    except ValueError:
        return _NOWHERE
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return f"{endpoint.scheme}://{host}:{endpoint.port}"

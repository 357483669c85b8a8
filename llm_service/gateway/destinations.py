"""Where a provider's credentials are sent, as text that a secret can be bound to."""

from functools import cache, lru_cache

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
    kind = _kind(provider.kind)
    if kind is None:
        return _NOWHERE
    origin = _origin(provider.base_uri or kind.default_base_uri)
    if not kind.address_settings:
        return origin
    given = ((name, provider.settings.get(name)) for name in kind.address_settings)
    return " ".join((origin, *(f"{name}={value}" for name, value in given if value)))


def is_bound_elsewhere(credential: Credential, provider: Provider) -> bool:
    """Whether it was entered for another address than the provider has now."""
    return bool(credential.origin) and credential.origin != destination(provider)


@cache
def _kind(name: str) -> ProviderKind | None:
    """Looked up once: this is asked for every call."""
    return kinds.provider_kind(name) if name in kinds.kinds() else None


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

"""Bulkheads: how many attempts one provider, or one tenant, may have on their way at a time."""

from collections.abc import Callable

from llm_service.domain.provider import Provider
from llm_service.errors import Overloaded, ProviderBusy

Shed = Callable[[str], None]
"""Told who had no room: "service", "provider" or "tenant"."""


class Bulkheads:
    """Counts attempts on their way, so that one provider that stalls leaves room for the others.

    Args:
        per_provider, per_tenant: the most at a time.
    """

    def __init__(self, per_provider: int, per_tenant: int, shed: Shed = lambda _: None) -> None:
        self._per_provider = per_provider
        self._per_tenant = per_tenant
        self._shed = shed
        self.of_provider: dict[str, int] = {}
        self.of_tenant: dict[str, int] = {}

    def require(self, provider: Provider, tenant: str) -> None:
        """Raise unless there is room for one more.

        Raises:
            ProviderBusy: another provider may have room.
            Overloaded: the tenant has all it may have.
        """
        if self.of_tenant.get(tenant, 0) >= self._per_tenant:
            self._shed("tenant")
            raise Overloaded("the tenant has as many calls on their way as it may")
        if self.of_provider.get(provider.uid, 0) >= self._per_provider:
            self._shed("provider")
            raise ProviderBusy(f"{provider.name} has as many calls on their way as it may")

    def take(self, provider_uid: str, tenant: str) -> None:
        self.of_provider[provider_uid] = self.of_provider.get(provider_uid, 0) + 1
        self.of_tenant[tenant] = self.of_tenant.get(tenant, 0) + 1

    def leave(self, provider_uid: str, tenant: str) -> None:
        _less(self.of_provider, provider_uid)
        _less(self.of_tenant, tenant)


def _less(counts: dict[str, int], name: str) -> None:
    left = counts[name] - 1
    if left:
        counts[name] = left
    else:
        del counts[name]

"""Providers as rows."""

from datetime import datetime

from llm_service.domain.listing import Listing, Page
from llm_service.domain.provider import Provider


class Providers:
    """The providers of all tenants; each method but `purge_expired` says whose."""

    async def get(
        self,
        tenant: str,
        provider_id: str,
        *,
        show_deleted: bool = False,
        for_update: bool = False,
    ) -> Provider:
        """One provider. `for_update` keeps others from changing it until the transaction ends.

        Raises:
            ResourceNotFound: the tenant has none of that id, or it is deleted.
        """
        raise NotImplementedError

    async def add(self, provider: Provider) -> None:
        """Store a new provider.

        Raises:
            AlreadyExists: the tenant has one of that id, maybe soft-deleted. Nothing was written.
        """
        raise NotImplementedError

    async def update(self, provider: Provider, expected_version: int) -> Provider:
        """Replace the provider of that uid, and give it back with its next version.

        Raises:
            EtagMismatch: it is no longer at `expected_version`.
            ResourceNotFound: it is gone.
        """
        raise NotImplementedError

    async def list(
        self, tenant: str | None, listing: Listing, *, show_deleted: bool = False
    ) -> Page[Provider]:
        """One page of a tenant's own providers ("": the shared ones; None: everybody's).

        Raises:
            InvalidField: `filter`, `order_by` or `page_token` asks for what cannot be.
        """
        raise NotImplementedError

    async def of_tenant(self, tenant: str) -> tuple[Provider, ...]:
        """All of a tenant's own providers that are not deleted, by id."""
        raise NotImplementedError

    async def purge_expired(self, now: datetime) -> int:
        """Destroy soft-deleted providers past their purge time, with all under them. How many."""
        raise NotImplementedError

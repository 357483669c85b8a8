"""Credentials as rows; the secrets in them stay sealed."""

from llm_service.domain.listing import Listing, Page
from llm_service.domain.provider import Credential


class Credentials:
    """The credentials of providers. A provider is named by its uid, which no two tenants share."""

    async def get(
        self, provider_uid: str, credential_id: str, *, for_update: bool = False
    ) -> Credential:
        """One credential.

        Raises:
            ResourceNotFound: the provider has none of that id.
        """
        raise NotImplementedError

    async def add(self, credential: Credential) -> None:
        """Store a new credential.

        Raises:
            AlreadyExists: the provider has one of that id. Nothing was written.
            ResourceNotFound: there is no such provider.
        """
        raise NotImplementedError

    async def update(self, credential: Credential, expected_version: int) -> Credential:
        """Replace the credential of that uid, and give it back with its next version.

        Raises:
            EtagMismatch: it is no longer at `expected_version`.
            ResourceNotFound: it is gone.
        """
        raise NotImplementedError

    async def delete(self, uid: str, expected_version: int | None = None) -> None:
        """Destroy a credential. `expected_version` None: whatever its version.

        Raises:
            EtagMismatch: it is no longer at `expected_version`.
            ResourceNotFound: it is gone.
        """
        raise NotImplementedError

    async def list(self, provider_uid: str, listing: Listing) -> Page[Credential]:
        """One page of a provider's credentials.

        Raises:
            InvalidField: `filter`, `order_by` or `page_token` asks for what cannot be.
        """
        raise NotImplementedError

    async def of_provider(self, provider_uid: str) -> tuple[Credential, ...]:
        """All of a provider's credentials, by id."""
        raise NotImplementedError

    async def of_tenant(self, tenant: str) -> tuple[Credential, ...]:
        """All credentials of a tenant's own providers that are not deleted."""
        raise NotImplementedError

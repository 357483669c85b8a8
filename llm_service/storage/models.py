"""Models as rows."""

from collections.abc import Sequence

from llm_service.domain.listing import Listing, Page
from llm_service.domain.provider import Model


class Models:
    """The models of providers. A provider is named by its uid, which no two tenants share."""

    async def get(self, provider_uid: str, model_id: str, *, for_update: bool = False) -> Model:
        """One model.

        Raises:
            ResourceNotFound: the provider has none of that id.
        """
        raise NotImplementedError

    async def add(self, provider_uid: str, model: Model) -> None:
        """Store a new model.

        Raises:
            AlreadyExists: the provider has one of that id. Nothing was written.
            ResourceNotFound: there is no such provider.
        """
        raise NotImplementedError

    async def update(self, provider_uid: str, model: Model, expected_version: int) -> Model:
        """Replace the provider's model of that id, and give it back with its next version.

        Raises:
            EtagMismatch: it is no longer at `expected_version`.
            ResourceNotFound: it is gone.
        """
        raise NotImplementedError

    async def delete(
        self, provider_uid: str, model_id: str, expected_version: int | None = None
    ) -> None:
        """Destroy a model. `expected_version` None: whatever its version.

        Raises:
            EtagMismatch: it is no longer at `expected_version`.
            ResourceNotFound: it is gone.
        """
        raise NotImplementedError

    async def list(
        self, tenants: Sequence[str], listing: Listing, *, provider_uid: str | None = None
    ) -> Page[Model]:
        """One page of the models of these tenants' own providers ("" is the shared ones).

        `provider_uid` narrows to one provider. Models of deleted providers are left out.

        Raises:
            InvalidField: `filter`, `order_by` or `page_token` asks for what cannot be.
        """
        raise NotImplementedError

    async def of_tenant(self, tenant: str) -> tuple[Model, ...]:
        """All models of a tenant's own providers that are not deleted."""
        raise NotImplementedError

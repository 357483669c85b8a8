"""Whose configuration changed, and in what order."""


class ConfigVersions:
    """One generation counter for all tenants, and the generation of each tenant's last change."""

    async def bump(self, tenant: str) -> int:
        """Mark a tenant's configuration ("": the shared one) as changed by this transaction.

        Others that bump wait until this transaction ends, so generations commit in order: whoever
        has seen generation n has nothing below n left to see.
        """
        raise NotImplementedError

    async def since(self, generation: int) -> tuple[tuple[str, int], ...]:
        """Tenants changed after `generation`, with the generation of their last change, in order."""
        raise NotImplementedError

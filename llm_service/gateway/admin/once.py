"""Creating something once, however often its sender asks under the same request id."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from llm_service.domain.creation import Creation
from llm_service.storage.database import Transaction

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Once(Generic[T]):
    """What a use case does around a creation, inside the creation's own transaction.

    `keep` turns what was created into what a repeated request is answered with, which is stored
    for 24 hours: it must hold no secret. Without a `creation` nobody will repeat the request.
    """

    creation: Creation | None = None
    keep: Callable[[T], bytes] = lambda _: b""

    async def begin(self, tx: Transaction, now: datetime) -> None:
        """Claim the request, before anything is written.

        Raises:
            Repeated: it was served before.
            RequestIdReused: another request was served under its id.
        """
        if self.creation is not None:
            await tx.creations.claim(self.creation, now)

    async def end(self, tx: Transaction, created: T) -> None:
        if self.creation is not None:
            await tx.creations.finish(self.creation, self.keep(created))


NOT_REPEATED: Once[Any] = Once()
"""For a creation whose sender gave no request id."""

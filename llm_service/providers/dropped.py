"""What an adapter leaves out of a request, said to the caller."""

from llm_service.domain.completion import Warning


class Dropped:
    """Gathers warnings; the same thing dropped again and again is said once, where it was first."""

    def __init__(self) -> None:
        self._warnings: dict[tuple[str, str], Warning] = {}

    def parameter(self, name: str, why: str) -> None:
        """`name` is below `params`: "temperature"."""
        self._add("PARAMETER_DROPPED", f"params.{name}", f"{name} was left out: {why}")

    def content(self, path: str, what: str, why: str) -> None:
        self._add("CONTENT_DROPPED", path, f"{what} was left out: {why}")

    def warnings(self) -> tuple[Warning, ...]:
        return tuple(self._warnings.values())

    def _add(self, reason: str, field: str, message: str) -> None:
        self._warnings.setdefault((reason, message), Warning(reason, field, message))

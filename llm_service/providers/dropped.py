"""What an adapter leaves out of a request, said to the caller."""

from llm_service.domain.completion import Warning
from llm_service.errors import CapabilityNotSupported


class Dropped:
    """Gathers warnings; the same thing dropped again and again is said once, where it was first."""

    def __init__(self, strict: bool = False, model: str = "") -> None:  # noqa: FBT001, FBT002
        """`strict`: refuse a parameter rather than leave it out; `model` is named then."""
        self._strict = strict
        self._model = model
        self._warnings: dict[tuple[str, str], Warning] = {}

    def parameter(self, name: str, why: str) -> None:
        """`name` is below `params`: "temperature".

        Raises:
            CapabilityNotSupported: the caller is strict.
        """
        if self._strict:
            field = f"params.{name}"
            raise CapabilityNotSupported(
                f"{field}: {why} (model {self._model})",
                metadata={"field": field, "model": self._model},
            )
        self._add("PARAMETER_DROPPED", f"params.{name}", f"{name} was left out: {why}")

    def content(self, path: str, what: str, why: str) -> None:
        self._add("CONTENT_DROPPED", path, f"{what} was left out: {why}")

    def emulated(self, what: str) -> None:
        """`what` says how the answer's format is brought about."""
        self._add("RESPONSE_FORMAT_EMULATED", "response_format", what)

    def warnings(self) -> tuple[Warning, ...]:
        return tuple(self._warnings.values())

    def _add(self, reason: str, field: str, message: str) -> None:
        self._warnings.setdefault((reason, message), Warning(reason, field, message))

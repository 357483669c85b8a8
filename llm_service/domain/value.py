"""What the domain's values are: frozen to the type checker, and cheap to make."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TypeVar, dataclass_transform

    T = TypeVar("T")

    @dataclass_transform(frozen_default=True, field_specifiers=(field,))
    def value(cls: type[T]) -> type[T]:
        """Make the class a dataclass nobody may change."""
else:
    # A dataclass that Python itself keeps frozen costs five times as much to make, 100 ns a field,
    # and a call makes some forty values: that it is not changed is checked once, not at each of
    # them.
    value = dataclass(slots=True, unsafe_hash=True)

"""Reading what a vendor sent, where any field may be missing or of another type than promised."""

from typing import Any

MOST_TOKENS = 2**31 - 1  # what the contract's int32 holds, and more than any call uses


def text(said: Any) -> str:  # noqa: ANN401 - as it lies on the wire
    """A string, or ""."""
    return said if type(said) is str else ""


def mapping(said: Any) -> dict[str, Any]:  # noqa: ANN401
    """An object, or {}."""
    return said if type(said) is dict else {}


def items(said: Any) -> list[Any]:  # noqa: ANN401
    """A list, or []."""
    return said if type(said) is list else []


def count(said: Any) -> int | None:  # noqa: ANN401
    """A believable number of tokens, or None."""
    if type(said) is float and said.is_integer():
        said = int(said)
    return said if type(said) is int and 0 <= said <= MOST_TOKENS else None


def subset(total: int, said: Any) -> int:  # noqa: ANN401
    """A part of `total`; one larger than the total was not meant."""
    if said is None:
        return 0
    number = count(said) or 0
    return number if number <= total else 0

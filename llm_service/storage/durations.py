"""Durations in steps: counts of them add up over days, which percentiles do not."""

from collections.abc import Iterator

from sqlalchemy import BigInteger, ColumnElement, case, literal_column, null

ACCURACY = 0.05
"""How far a rounded duration may be from the measured one, as a share of it; 50 us at least."""

_DECADES = range(3, 12)  # from a millisecond; a million seconds is the last step
_GRID = ((2, 1), (5, 2), (10, 5))
"""Up to 2 in tenths, up to 5 in fifths, up to 10 in halves: times a power of ten."""


def rounded(microseconds: ColumnElement[int]) -> ColumnElement[int]:
    """The nearest step, halves up; NULL stays so.

    The steps are those of the triggers that sum usage up.
    """
    return case(
        (microseconds.is_(None), null()),
        *(
            (
                microseconds < _number(limit),
                (microseconds + _number(step // 2)) // _number(step) * _number(step),
            )
            for limit, step in steps()
        ),
        else_=_number(10**_DECADES.stop),
    )


def steps() -> Iterator[tuple[int, int]]:
    """Each a limit that durations stay below, and their step, in microseconds."""
    for decade in _DECADES:
        for limit, tenths in _GRID:
            yield limit * 10**decade, tenths * 10 ** (decade - 1)


def _number(value: int) -> ColumnElement[int]:
    # Not bound: there are many, and they are always the same.
    return literal_column(str(value), BigInteger)

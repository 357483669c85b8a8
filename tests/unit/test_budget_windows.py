"""Windows of budgets: calendar lengths in a time zone, whole and without a gap."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.domain.budget import Budget, BudgetPeriod
from llm_service.gateway.budgets.scope import is_in, window_at

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
CALENDAR = [one for one in BudgetPeriod if one is not BudgetPeriod.LIFETIME]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]


def a_budget(period, zone="UTC"):
    return Budget("acme", "b", "u", BEGUN, BEGUN, period=period, time_zone=zone)


def instants(text):
    return [datetime.fromisoformat(f"{one}Z").astimezone(UTC) for one in text.split()]


@pytest.mark.parametrize(
    ("period", "zone", "moment", "window"),
    [
        # Clocks go forward in Berlin on 29 March at 01:00 UTC, back on 25 October at 01:00 UTC.
        ("day", "Europe/Berlin", "2026-03-29T12:00", "2026-03-28T23:00 2026-03-29T22:00"),
        ("day", "Europe/Berlin", "2026-10-25T12:00", "2026-10-24T22:00 2026-10-25T23:00"),
        ("hour", "Europe/Berlin", "2026-03-29T01:30", "2026-03-29T01:00 2026-03-29T02:00"),
        ("hour", "Asia/Kathmandu", "2026-03-29T01:30", "2026-03-29T01:15 2026-03-29T02:15"),
        ("week", "Europe/Berlin", "2026-03-29T12:00", "2026-03-22T23:00 2026-03-29T22:00"),
        ("month", "Europe/Berlin", "2026-03-31T22:00", "2026-03-31T22:00 2026-04-30T22:00"),
        ("month", "Europe/Berlin", "2026-03-31T21:59", "2026-02-28T23:00 2026-03-31T22:00"),
        ("month", "UTC", "2028-02-29T23:59", "2028-02-01T00:00 2028-03-01T00:00"),
        ("day", "Pacific/Apia", "2011-12-30T11:00", "2011-12-30T10:00 2011-12-31T10:00"),
    ],
)
def test_u7_a_window_is_what_the_calendar_says(period, zone, moment, window):
    found = window_at(a_budget(BudgetPeriod(period), zone), instants(moment)[0])

    assert [found.start_time, found.end_time] == instants(window)


@given(
    moment=st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1)),  # noqa: DTZ001 - as hypothesis wants them
    period=st.sampled_from(CALENDAR),
    zone=st.sampled_from(ZONES),
)
def test_u7_every_instant_is_in_one_window_which_the_next_one_follows(moment, period, zone):
    budget, moment = a_budget(period, zone), moment.replace(tzinfo=UTC)

    window = window_at(budget, moment)

    assert is_in(moment, window)
    assert window_at(budget, window.start_time) == window
    assert window_at(budget, window.end_time).start_time == window.end_time
    last = window.end_time - timedelta(microseconds=1)
    assert window_at(budget, last) == window
    assert window_at(budget, window.start_time - timedelta(microseconds=1)).end_time == (
        window.start_time
    )


def test_a_lifetime_begins_with_its_budget_and_never_ends():
    budget = a_budget(BudgetPeriod.LIFETIME)

    assert window_at(budget, BEGUN - timedelta(seconds=1)) is None
    assert window_at(budget, BEGUN + timedelta(days=9_000)).start_time == BEGUN
    assert window_at(budget, BEGUN).end_time is None

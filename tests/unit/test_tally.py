"""What monitors keep between their looks."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from llm_service.domain.monitor import AttemptCounts, Look, ProviderWindow, UnpricedModel
from llm_service.gateway.alerts.tally import Tally

WINDOW = timedelta(minutes=5)
START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
FEW = st.integers(0, 3)
FOUND = st.lists(
    st.builds(
        AttemptCounts,
        provider=st.sampled_from(["p", "q"]),
        model=st.sampled_from(["m", "n"]),
        window_start_time=st.sampled_from([START, START + WINDOW]),
        served=FEW,
        failed=FEW,
        slow=FEW,
        unpriced=FEW,
    )
)


def counts(provider="p", model="m", window=START, **changes):
    numbers = {"served": 0, "failed": 0, "slow": 0, "unpriced": 0, **changes}
    return AttemptCounts(provider, model, window, **numbers)


def look(start=START, end="z"):
    return Look(start, "", end)


@given(st.lists(FOUND, max_size=4))
def test_however_attempts_are_spread_over_looks_they_add_up_to_those_of_one(looks):
    tally = Tally()
    for found in looks:
        tally = tally.with_(found, look())

    assert tally == Tally().with_([one for found in looks for one in found], look(end=tally.cursor))


def test_models_of_a_provider_count_together_and_its_windows_apart():
    found = [counts(served=1, slow=1), counts(model="n", served=2), counts(failed=3)]

    tally = Tally().with_([*found, counts(window=START + WINDOW, served=4)], look())

    assert sorted(tally.windows.values(), key=lambda one: one.window_start_time) == [
        ProviderWindow("p", START, served=3, failed=3, slow=1),
        ProviderWindow("p", START + WINDOW, served=4),
    ]


def test_windows_that_are_over_are_forgotten():
    before = Tally().with_([counts(served=1, unpriced=1)], look(end="x"))

    after = before.with_([counts(window=START + WINDOW, failed=2)], look(START + WINDOW, "y"))

    assert [one.window_start_time for one in after.windows.values()] == [START + WINDOW]
    assert after.unpriced_models() == ()
    assert after.cursor == "y"


def test_a_models_attempts_without_a_price_count_over_both_windows():
    found = [counts(unpriced=2), counts(window=START + WINDOW, unpriced=3), counts("p", "n")]

    assert Tally().with_(found, look()).unpriced_models() == (UnpricedModel("m", 5),)


def test_what_says_nothing_of_a_provider_is_no_window_of_it():
    assert Tally().with_([counts(unpriced=1)], look()).windows == {}

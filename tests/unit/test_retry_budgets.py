"""Who may still be asked after failures: whoever is well, and every tenth time whoever is not."""

from dataclasses import replace

import pytest

from llm_service.errors import ProviderUnavailable
from llm_service.gateway.retries import Retries
from tests.fakes import a_credential, a_model
from tests.unit.test_failover import ONE, THREE, TWO, Journey, a_target


def storm(providers, calls, fails):
    """Attempts of so many calls, of which `fails(provider, call)` fail."""
    retries = Retries(lambda: 0.5)
    attempts, served = [], 0
    for number in range(calls):
        journey = Journey(*map(a_target, providers), retries=retries)
        provider = journey.asks()
        while provider is not None:
            attempts.append((number, provider))
            if not fails(provider, number):
                served += 1
                owner = next(one for one in providers if one.provider_id == provider)
                journey.call.dials += 1
                retries.budgets.succeeded(a_target(owner), further=journey.call.dials > 1)
                break
            provider = journey.then(ProviderUnavailable("x"))
    return attempts, served


@pytest.mark.parametrize("providers", [(ONE,), (ONE, TWO), (ONE, TWO, THREE)], ids=len)
def test_when_everything_fails_attempts_stay_within_115_percent_of_calls(providers):
    attempts, _ = storm(providers, 2000, lambda provider, call: True)

    assert len(attempts) <= 1.15 * 2000


def test_a_provider_that_is_well_takes_every_call_of_one_that_is_not():
    attempts, served = storm((ONE, TWO), 1000, lambda provider, call: provider == "one")

    assert served == 1000
    assert len(attempts) == 2000


def test_a_provider_without_a_budget_does_not_keep_calls_from_the_one_behind_it():
    _, served = storm((ONE, TWO, THREE), 1000, lambda provider, call: provider != "three")

    assert served >= 990


def test_a_provider_that_is_well_again_is_found_within_a_few_calls():
    # Both are out for 500 calls; then the second is well.
    _, served = storm((ONE, TWO), 1000, lambda provider, call: provider == "one" or call < 500)

    assert served >= 490


def test_a_budget_is_restored_by_what_is_served():
    budgets, target = Retries().budgets, a_target(ONE)
    for _ in range(5):
        budgets.failed(target)
    assert not budgets.has_left(target)

    budgets.succeeded(target, further=False)

    assert budgets.has_left(target)
    for _ in range(50):
        budgets.succeeded(target, further=False)
    assert budgets._buckets == {}


def test_a_model_or_a_key_that_fails_takes_nothing_from_its_siblings():
    budgets = Retries().budgets
    bad = a_target(ONE, credential=a_credential(ONE, "bad"))
    for _ in range(10):
        budgets.failed(bad)

    assert budgets.has_left(replace(bad, credential=a_credential(ONE, "good")))
    assert budgets.has_left(replace(bad, model=a_model(ONE, "other")))
    assert not budgets.has_left(bad)


def test_the_budgets_of_names_that_callers_make_up_are_bounded(monkeypatch):
    monkeypatch.setattr("llm_service.gateway.retries.MOST_BUCKETS", 3)
    budgets = Retries().budgets

    for n in range(9):
        budgets.failed(replace(a_target(ONE), model=a_model(ONE, f"m{n}")))

    assert [key.split("/")[-1].strip() for key in budgets._buckets] == ["m6", "m7", "m8"]

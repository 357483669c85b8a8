"""R8: when a circuit opens, for how long, and what closes it; by a clock that the test moves."""

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from llm_service.domain.health import CircuitState
from llm_service.gateway.health.breaker import RULES, Breaker, Change, Outcome
from llm_service.gateway.health.windows import BUCKETS, FORGOTTEN_SECONDS, Average, Window

SERVED, FAILED, SILENT = Outcome.SERVED, Outcome.FAILED, Outcome.SILENT
DEAD = "PROVIDER_UNAVAILABLE"


def never() -> bool:
    return False


def a_breaker(draw=lambda: 0.0) -> Breaker:
    return Breaker(RULES, draw)


def end(breaker, now, outcome, probe=None, epoch=None):
    at = breaker.epoch if epoch is None else epoch
    return breaker.settled(now, outcome, at, probe, DEAD)


def opened(now=100.0, **made) -> Breaker:
    breaker = a_breaker(**made)
    changes = [end(breaker, now, FAILED) for _ in range(RULES.volume)]
    assert changes == [None] * (RULES.volume - 1) + [Change.OPENED]
    return breaker


def test_a_circuit_opens_on_volume_and_rate_and_on_neither_alone():
    few, mixed = a_breaker(), a_breaker()

    for _ in range(RULES.volume - 1):
        end(few, 10, FAILED)
    for outcome in [SERVED, SERVED, SERVED, FAILED, FAILED] * 20:
        end(mixed, 10, outcome)

    assert not few.ejected(10)
    assert not mixed.ejected(10)


def test_failures_older_than_the_window_do_not_count():
    breaker = a_breaker()
    for second in range(RULES.volume - 1):
        end(breaker, second, FAILED)

    end(breaker, RULES.window + RULES.volume, FAILED)

    assert breaker.state(RULES.window + RULES.volume) is CircuitState.CLOSED


def test_what_says_nothing_of_the_target_opens_nothing():
    breaker = a_breaker()

    for _ in range(100):
        end(breaker, 10, SILENT)

    assert not breaker.ejected(10)
    assert breaker.window.total == 0


def test_an_open_circuit_is_tried_by_one_attempt_at_a_time():
    breaker = opened(now=100)
    due = breaker.until(100)

    early = breaker.probe(due - 0.1, never)
    first, second = breaker.probe(due, never), breaker.probe(due, never)

    assert early is None
    assert first is not None
    assert second is None
    assert breaker.ejected(due)
    assert breaker.state(due) is CircuitState.HALF_OPEN


def test_a_probe_that_is_served_closes_the_circuit_and_one_that_fails_opens_it_for_longer():
    breaker = opened(now=100)
    due = breaker.until(100)
    first_length = due - 100

    assert end(breaker, due, FAILED, breaker.probe(due, never)) is Change.OPENED
    again = breaker.until(due)
    assert again - due == pytest.approx(2 * first_length)
    assert end(breaker, again, SERVED, breaker.probe(again, never)) is Change.CLOSED
    assert breaker.state(again) is CircuitState.CLOSED


def test_a_probe_whose_caller_left_makes_room_for_the_next_and_decides_nothing():
    breaker = opened(now=100)
    due = breaker.until(100)

    assert end(breaker, due, SILENT, breaker.probe(due, never)) is None

    assert breaker.state(due) is CircuitState.HALF_OPEN
    assert breaker.probe(due, never) is not None


def test_a_success_that_began_before_the_circuit_opened_does_not_close_it():
    breaker = a_breaker()
    slow = breaker.epoch
    for _ in range(RULES.volume):
        end(breaker, 100, FAILED)

    assert end(breaker, 101, SERVED, epoch=slow) is None
    assert breaker.ejected(101)


def test_a_success_beside_the_probe_does_not_close_the_circuit():
    breaker = opened(now=100)

    assert end(breaker, 101, SERVED) is None

    assert breaker.ejected(101)


def test_a_failure_that_began_before_the_circuit_closed_does_not_count_after():
    breaker = opened(now=100)
    old, due = breaker.epoch, breaker.until(100)
    end(breaker, due, SERVED, breaker.probe(due, never))

    for _ in range(100):
        end(breaker, due, FAILED, epoch=old)

    assert not breaker.ejected(due)


def test_a_long_answer_on_its_way_lets_the_next_one_try_and_closes_only_with_its_end():
    breaker = opened(now=100)
    due = breaker.until(100)
    comes = []
    slow = breaker.probe(due, lambda: bool(comes))
    assert breaker.probe(due + 1, never) is None

    comes.append("content")
    other = breaker.probe(due + 1, never)

    assert other is not None
    assert breaker.opened
    assert end(breaker, due + 2, FAILED, slow) is Change.OPENED  # it broke off after all
    assert end(breaker, due + 3, SERVED, other) is None


def test_a_probe_that_is_never_heard_of_again_does_not_keep_others_out_for_ever():
    breaker = opened(now=100)
    due = breaker.until(100)
    breaker.probe(due, never)

    assert breaker.probe(due + RULES.probe_patience, never) is not None


def test_ejections_grow_up_to_a_bound_with_jitter_and_are_forgiven():
    breaker, now, lengths = opened(now=100, draw=random.Random(7).random), 100.0, []  # noqa: S311
    for _ in range(12):
        until = breaker.until(now)
        lengths.append(until - now)
        now = until
        end(breaker, now, FAILED, breaker.probe(now, never))
    until = breaker.until(now)
    end(breaker, until, SERVED, breaker.probe(until, never))

    later = until + RULES.forgiving
    for _ in range(RULES.volume):
        end(breaker, later, FAILED)

    assert 0.8 * RULES.ejection <= lengths[0] <= RULES.ejection
    assert max(lengths) <= RULES.longest
    assert min(lengths[4:]) >= 0.8 * RULES.longest
    assert len(set(lengths[4:])) > 1
    assert breaker.until(later) - later <= RULES.ejection


@pytest.mark.parametrize("seed", range(20))
def test_a_primary_that_flapped_for_long_is_back_within_thirty_seconds(seed):
    draw = random.Random(seed).random  # noqa: S311
    breaker, now = Breaker(RULES, draw), 1000.0
    recovers = now + 600
    while True:
        now += 0.1
        works = now >= recovers or int(now / 7) % 2 == 0
        if breaker.ejected(now):
            continue
        probe = breaker.probe(now, never) if breaker.opened else None
        end(breaker, now, SERVED if works else FAILED, probe)
        if now >= recovers and not breaker.opened:
            break

    assert now - recovers <= 30


def test_a_target_that_takes_no_more_leaves_until_it_said_so():
    breaker = a_breaker()

    breaker.limit(10, 20)

    assert breaker.ejected(29.9)
    assert breaker.state(29.9) is CircuitState.LIMITED
    assert not breaker.ejected(30)


def test_a_reset_forgets_everything():
    breaker = opened(now=100)
    breaker.limit(100, 50)
    due = breaker.until(100)
    old = breaker.probe(due, never)

    assert breaker.reset(101)
    assert not breaker.ejected(101)
    assert end(breaker, 102, FAILED, old) is None
    assert not breaker.reset(103)


def test_others_are_followed_where_nothing_is_known_and_not_against_what_is_seen_here():
    unknown, well = a_breaker(), a_breaker()
    for _ in range(RULES.volume):
        end(well, 100, SERVED)

    assert unknown.told_open(100, 10, DEAD, 3)
    assert not well.told_open(100, 10, DEAD, 3)
    assert unknown.until(100) == 110
    assert unknown.ejections == 3
    assert not well.ejected(100)


def test_what_others_close_closes_if_they_opened_it_and_is_tried_at_once_if_not():
    heard, seen = a_breaker(), opened(now=100)
    heard.told_open(100, 10, DEAD, 1)

    assert heard.told_closed(101)
    assert not seen.told_closed(101)
    assert not heard.opened
    assert seen.opened
    assert seen.probe(101, never) is not None


def test_a_window_counts_what_it_was_told_within_its_length():
    window = Window(10)
    for second in range(20):
        window.add(float(second), failed=second % 2 == 0)

    assert window.total == BUCKETS
    assert window.ratio == 0.5
    window.turn(1e6)
    assert (window.total, window.failed, window.ratio) == (0, 0, 0.0)


def test_an_average_follows_and_is_forgotten():
    average = Average(0.2)
    assert average.read(0) is None

    average.add(0, 1.0)
    average.add(1, 3.0)

    assert average.read(1) == 2.0
    for second in range(100):
        average.add(second, 10.0)
    assert average.read(99) == pytest.approx(10, abs=0.01)
    assert average.read(100 + FORGOTTEN_SECONDS) is None


class Calls(RuleBasedStateMachine):
    """Attempts at one target, begun and ended in any order, at any time."""

    @initialize()
    def begin(self):
        self.now = 0.0
        self.breaker = Breaker(RULES, random.Random(1).random)  # noqa: S311
        self.running: list[tuple[int, object]] = []
        self.probes: set[int] = set()

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds):
        self.now += seconds

    @rule(forced=st.booleans())
    def start(self, forced):
        breaker = self.breaker
        if breaker.ejected(self.now) and not forced:
            return
        probe = breaker.probe(self.now, never)
        if probe is not None:
            living = [
                p
                for _, p in self.running
                if p is not None
                and p.epoch == breaker.epoch
                and self.now - p.since < RULES.probe_patience
            ]
            assert living == []
        self.running.append((breaker.epoch, probe))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome))
    def finish(self, data, outcome):
        place = data.draw(st.integers(0, len(self.running) - 1))
        epoch, probe = self.running.pop(place)
        was_open, was_epoch = self.breaker.opened, self.breaker.epoch
        change = self.breaker.settled(self.now, outcome, epoch, probe, DEAD)
        if change is Change.CLOSED:
            assert probe is not None
            assert probe.epoch == was_epoch
            assert outcome is SERVED
        if change is Change.OPENED:
            assert outcome is FAILED
            assert epoch == was_epoch
        if change is None:
            assert self.breaker.opened is was_open

    @rule()
    def reset(self):
        self.breaker.reset(self.now)
        assert not self.breaker.ejected(self.now)

    @rule(seconds=st.floats(0.1, 60))
    def hear(self, seconds):
        self.breaker.told_open(self.now, seconds, DEAD, 1)

    @rule()
    def hear_of_its_end(self):
        self.breaker.told_closed(self.now)

    @invariant()
    def never_left_alone_for_longer_than_the_bound(self):
        until = self.breaker.until(self.now) if hasattr(self, "breaker") else None
        assert until is None or until - self.now <= RULES.longest + 1e-6

    @invariant()
    def always_tried_again_in_the_end(self):
        later = self.now + RULES.longest + RULES.probe_patience + 1 if hasattr(self, "now") else 0.0
        assert not hasattr(self, "breaker") or not self.breaker.ejected(later)


TestCalls = Calls.TestCase
TestCalls.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

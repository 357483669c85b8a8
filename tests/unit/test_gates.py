"""What lets attempts through before they are dialled."""

import pytest

from llm_service.domain.usage import UsageRecord
from llm_service.errors import Overloaded, ProviderUnavailable
from llm_service.gateway.gates import Admission
from tests.fakes import FakeAdapter, an_answer
from tests.unit.two_providers import World


class Turnstile:
    """Lets `room` attempts through at a time."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.seen: list[Admission] = []
        self.ended: list[UsageRecord] = []

    async def enter(self, admission: Admission) -> "Turnstile":
        self.seen.append(admission)
        if self.room == 0:
            raise Overloaded("no room")
        self.room -= 1
        return self

    def settled(self, record: UsageRecord) -> None:
        self.room += 1
        self.ended.append(record)


async def test_a_gate_lets_each_attempt_through_and_hears_how_it_ended():
    gate = Turnstile(room=1)
    world = World(FakeAdapter(ProviderUnavailable("x")), FakeAdapter(an_answer()), gates=[gate])

    await world.complete()

    assert [r.error_reason for r in gate.ended] == ["PROVIDER_UNAVAILABLE", ""]
    assert [a.attempt_id for a in gate.seen] == [r.attempt_id for r in gate.ended]
    assert gate.seen[0].most_output_tokens == 100
    assert gate.room == 1


async def test_an_attempt_refused_by_a_gate_is_not_dialled_and_gives_back_what_others_held():
    first, second = Turnstile(room=1), Turnstile(room=0)
    adapter = FakeAdapter(an_answer())
    world = World(adapter, gates=[first, second])

    with pytest.raises(Overloaded):
        await world.complete()

    assert adapter.calls == []
    assert first.room == 1
    assert world.ledger.records[0].attempt.usage is None


async def test_a_place_is_given_back_even_where_the_record_cannot_be_taken(monkeypatch):
    gate = Turnstile(room=1)
    world = World(FakeAdapter(an_answer()), gates=[gate])

    def broken(record):
        raise RuntimeError("a bug")

    monkeypatch.setattr(world.ledger, "record", broken)

    with pytest.raises(RuntimeError):
        await world.complete()

    assert gate.room == 1

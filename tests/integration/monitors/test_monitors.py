"""S3.23: what usage records say of providers becomes one alert a window, however many look."""

import asyncio
import math
import random
from dataclasses import replace
from datetime import timedelta

import pytest

from llm_service.domain.alert import AlertKind, AlertUnit
from llm_service.domain.completion import Cost
from llm_service.domain.listing import Listing
from llm_service.domain.monitor import Thresholds
from llm_service.gateway.alerts.monitors import LOOKS
from llm_service.storage.database import Database
from tests.integration.monitoring import OWN, START, THRESHOLDS, monitors


async def test_an_error_rate_is_an_alert_of_the_provider_once_a_window(here, records, clock):
    await records.add(9)
    await records.add(2, "PROVIDER_RATE_LIMITED")
    [alert] = await here.look()
    await records.add(5, "PROVIDER_UNAVAILABLE")
    again = await here.look()
    clock.pass_(minutes=5)
    await records.add(10, "PROVIDER_TIMEOUT", at=START + timedelta(minutes=6))
    await records.add(1, at=START + timedelta(minutes=6))
    [later] = await here.look()

    assert (alert.kind, alert.subject, alert.tenant) == (AlertKind.ERROR_RATE, "providers/p", "")
    assert (alert.observed, alert.limit, alert.unit) == (18, 10, AlertUnit.PERCENT)
    assert alert.window_start_time == START
    assert again == ()
    assert later.window_start_time == START + timedelta(minutes=5)


async def test_what_callers_broke_off_or_asked_wrongly_is_no_failure_of_the_provider(here, records):
    await records.add(10)
    for reason in ("CANCELLED", "DEADLINE_EXCEEDED", "CONTEXT_LENGTH_EXCEEDED", "ABANDONED"):
        await records.add(20, reason)

    assert await here.look() == ()


async def test_few_attempts_say_nothing_of_a_rate(here, records):
    await records.add(7)
    await records.add(2, "PROVIDER_UNAVAILABLE")

    assert await here.look() == ()


async def test_a_provider_that_serves_nothing_is_unavailable(here, records):
    await records.add(3, "PROVIDER_UNREACHABLE", provider=OWN)
    await records.add(3, "PROVIDER_UNREACHABLE")
    await records.add(1)

    [alert] = await here.look()

    assert alert.kind is AlertKind.PROVIDER_UNAVAILABLE
    assert (alert.subject, alert.tenant) == (OWN, "acme")
    assert (alert.observed, alert.limit, alert.unit) == (3, 3, AlertUnit.ATTEMPTS)


@pytest.mark.parametrize(("slow", "told"), [(1, False), (2, True)])
async def test_responses_are_slow_when_more_than_one_in_twenty_is(here, records, slow, told):
    await records.add(20 - slow, seconds=0.5)
    await records.add(slow, seconds=2.5)

    alerts = await here.look()

    assert [one.kind for one in alerts] == [AlertKind.SLOW_RESPONSES] * told
    for one in alerts:
        assert (one.observed, one.limit, one.unit) == (2500, 2000, AlertUnit.MILLISECONDS)


@pytest.mark.parametrize("seed", range(10))
async def test_what_is_told_of_slow_responses_is_their_95th_percentile(here, records, seed):
    chance = random.Random(seed)  # noqa: S311 - the same each time
    some, many = (0.5, 1.999999, 2.0, 2.000001, 3.5), chance.randint(10, 60)
    waited = sorted(chance.choices(some, weights=(80, 10, 4, 3, 3), k=many))
    for seconds in set(waited):
        await records.add(waited.count(seconds), seconds=seconds)
    await records.add(4, seconds=9.0, provider=OWN)  # too few to tell of
    await records.add(1, "CANCELLED", seconds=9.0)
    expected = waited[math.ceil(len(waited) * 0.95) - 1]

    told = [(one.subject, one.observed) for one in await here.look()]

    assert told == [("providers/p", round(expected * 1000))] * (expected >= 2)


async def test_an_answer_that_came_whole_is_as_slow_as_all_of_it(here, records):
    await records.add(10, seconds=None)  # the samples' attempts take 1.25 seconds

    assert await here.look() == ()
    faster = monitors(records.database, here._now, replace(THRESHOLDS, slow_seconds=1.25))
    assert [one.kind for one in await faster.look()] == [AlertKind.SLOW_RESPONSES]


async def test_a_model_without_a_whole_price_is_an_alert_once_a_day(here, records, clock):
    await records.add(2, cost=Cost(0, incomplete=True))
    await records.add(2, provider=OWN, cost=Cost(5))
    [alert] = await here.look()
    clock.pass_(hours=3)
    await records.add(1, cost=Cost(5, incomplete=True), at=clock.now)
    same_day = await here.look()
    clock.pass_(hours=12)
    await records.add(1, cost=Cost(5, incomplete=True), at=clock.now)
    next_day = await here.look()

    assert (alert.kind, alert.subject) == (AlertKind.UNPRICED, "providers/p/models/m")
    assert alert.window_start_time == START.replace(hour=0)
    assert alert.observed == 2
    assert same_day == ()
    assert len(next_day) == 1


async def test_what_is_switched_off_is_no_alert(records, clock):
    off = Thresholds(error_rate_percent=0, slow_seconds=0, unavailable_attempts=0, unpriced=False)
    await records.add(30, "PROVIDER_UNAVAILABLE", seconds=60)
    await records.add(30, provider=OWN, seconds=60, cost=Cost(0, incomplete=True))

    assert await monitors(records.database, clock, off).look() == ()


async def test_a_window_is_looked_at_once_more_after_its_end(here, records, clock):
    clock.pass_(minutes=4)
    await records.add(3, "PROVIDER_UNAVAILABLE")  # of the window before, and late

    [alert] = await here.look()

    assert alert.window_start_time == START


async def test_u8_three_replicas_that_see_the_same_raise_one_alert(
    database, database_url, records, clock
):
    await records.add(3, "PROVIDER_UNAVAILABLE")

    async def replica():
        async with Database.open(database_url) as one:
            return await monitors(one, clock).look()

    raised = await asyncio.gather(*(replica() for _ in range(3)))

    async with database.read() as tx:
        stored = (await tx.alerts.list(None, Listing(10))).items
    assert len(stored) == 1
    assert [one for alerts in raised for one in alerts] == list(stored)


async def test_of_several_replicas_one_looks_at_a_time(database_url, records, clock):
    await records.add(3, "PROVIDER_UNAVAILABLE")
    looks = []

    async def replica():
        async with Database.open(database_url) as one:
            mine = monitors(one, clock)
            look = mine.look

            async def noted():
                looks.append(clock.now)
                return await look()

            mine.look = noted
            return await mine.take_turn()

    raised = await asyncio.gather(*(replica() for _ in range(3)))
    await replica()
    at_once = list(looks)
    clock.now += THRESHOLDS.window / LOOKS
    await replica()

    assert len(at_once) == 1
    assert len(looks) == 2
    assert sum(map(len, raised)) == 1

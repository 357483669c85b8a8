"""One answer for one request id, whichever replica it is sent to and whatever becomes of that."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from sqlalchemy import event, update

from llm_service.domain.completion import Cost
from llm_service.domain.creation import Creation, Repeated
from llm_service.errors import (
    AlreadyExists,
    RequestIdReused,
    RequestInProgress,
    StorageUnavailable,
)
from llm_service.gateway import repeatable_calls
from llm_service.gateway.repeatable_calls import LEASE, RepeatableCalls
from llm_service.storage.call_claims import CallClaims
from llm_service.storage.database import Database
from llm_service.storage.tables import creations
from llm_service.vault import Keyring, Vault
from tests.integration.samples import NOW, a_record, an_attempt

CALL = Creation("acme", "Complete", "0199d2a8-7d2e-7c0a-8f4e-0000000000ab", "digest")
KEY = "k1 fernet-v1 " + "A" * 43 + "="


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Nobody waits for records that do not come."""
    monkeypatch.setattr(repeatable_calls, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(repeatable_calls, "_RECORDS_SECONDS", 0.5)


@pytest.fixture
async def replicas(database_url):
    """Two processes on one database; answers of acme are kept."""
    async with AsyncExitStack() as stack:
        databases = [await stack.enter_async_context(Database.open(database_url)) for _ in range(2)]
        both = [
            RepeatableCalls(one, Vault(Keyring.from_text(KEY), "d"), ("acme",)) for one in databases
        ]
        for one in both:
            stack.push_async_callback(one.aclose)
        yield both


async def lapse(database) -> None:
    """As after half a minute in which nobody renewed anything."""
    async with database.begin() as tx:
        await tx.call_claims._connection.execute(update(creations).values(lease_time=NOW))


async def outcome(calls, call=CALL):
    """ "claimed", or how the claim was refused."""
    try:
        return (await calls.claim(call)).completion_id and "claimed"
    except Repeated as repeated:
        return repeated.answer
    except (AlreadyExists, RequestInProgress, RequestIdReused) as error:
        return error.reason


async def test_of_many_at_once_one_is_served(replicas):
    told = await asyncio.gather(*(outcome(replicas[n % 2]) for n in range(8)))

    assert sorted(told) == ["REQUEST_IN_PROGRESS"] * 7 + ["claimed"]


async def test_a_call_that_was_served_is_answered_as_before_from_every_replica(replicas):
    claim = await replicas[0].claim(CALL)

    await claim.served(b"the answer")

    assert claim.keeps
    assert [await outcome(one) for one in replicas] == [b"the answer"] * 2


@pytest.mark.parametrize("keep", [True, False])
async def test_an_answer_is_kept_only_of_who_wants_that(replicas, keep):
    call = replace(CALL, tenant="acme" if not keep else "other")
    claim = await replicas[0].claim(call, keep=keep)

    await claim.served(b"the answer")

    assert not claim.keeps
    assert await outcome(replicas[1], call) == "ALREADY_EXISTS"


async def test_who_repeats_a_call_whose_answer_is_gone_is_told_what_it_cost(replicas, database):
    claim = await replicas[0].claim(CALL, keep=False)
    await claim.served(b"")
    asking = asyncio.create_task(replicas[1].claim(CALL))
    attempt = an_attempt(cost=Cost(1_234, price_version="v1"))
    record = a_record(1, completion_id=claim.completion_id, attempt=attempt)
    async with database.begin() as tx:  # it comes a moment later
        await tx.usage.add_many([record])

    with pytest.raises(AlreadyExists) as repeated:
        await asking

    failure = repeated.value.failure
    assert failure.id == claim.completion_id
    assert failure.usage == record.attempt.usage
    assert failure.cost.total_nano_usd == 1_234


async def test_a_call_that_failed_may_be_made_again(replicas):
    claim = await replicas[0].claim(CALL)

    claim.left()
    await replicas[0].aclose()

    assert await outcome(replicas[1]) == "claimed"


async def test_another_call_under_that_id_is_refused_and_another_tenants_is_not(replicas):
    await replicas[0].claim(CALL)

    assert await outcome(replicas[1], replace(CALL, body_digest="other")) == "REQUEST_ID_REUSED"
    assert await outcome(replicas[1], replace(CALL, tenant="other")) == "claimed"
    assert await outcome(replicas[1], replace(CALL, method="Embed")) == "claimed"


async def test_a_call_of_a_process_that_died_is_made_again_once_its_lease_has_lapsed(
    replicas, database
):
    former = await replicas[0].claim(CALL)
    assert await outcome(replicas[1]) == "REQUEST_IN_PROGRESS"

    await lapse(database)
    heir = await replicas[1].claim(CALL)
    await former.served(b"late")
    former.left()
    await replicas[0].aclose()

    assert await outcome(replicas[0]) == "REQUEST_IN_PROGRESS"
    await heir.served(b"in time")
    assert await outcome(replicas[0]) == b"in time"


async def test_a_call_that_was_settled_by_a_process_that_died_is_not_made_again(replicas, database):
    former = await replicas[0].claim(CALL)
    async with database.begin() as tx:
        served = a_record(1, completion_id=former.completion_id, attempt=an_attempt(error=None))
        await tx.usage.add_many([served])
    await lapse(database)

    assert await outcome(replicas[1]) == "ALREADY_EXISTS"


async def test_whoever_works_on_a_call_keeps_it(replicas, database, monkeypatch):
    renewed = asyncio.Event()

    async def noted(claims, completion_ids, lease, renew=CallClaims.renew):
        await renew(claims, completion_ids, lease)
        renewed.set()

    monkeypatch.setattr(CallClaims, "renew", noted)
    await replicas[0].claim(CALL)
    await lapse(database)
    monkeypatch.setattr(repeatable_calls, "_RENEW_SECONDS", 0)
    renewing = asyncio.create_task(replicas[0].run())

    await renewed.wait()
    renewing.cancel()
    await asyncio.wait({renewing})

    assert await outcome(replicas[1]) == "REQUEST_IN_PROGRESS"


async def test_a_claim_is_renewed_without_a_look_at_the_calls_of_others(postgresql_url):
    said = []
    async with Database.open(postgresql_url) as one:
        engine = one._writer.sync_engine
        event.listen(engine, "before_cursor_execute", lambda *call: said.append(call[2:4]))
        async with one.begin() as tx:
            await tx.call_claims.renew({f"0199d2a8-{n:027}": CALL for n in range(3)}, LEASE)
            [(statement, values)] = [each for each in said if each[0].startswith("UPDATE")]
            ask = tx.call_claims._connection.exec_driver_sql
            await ask("SET LOCAL enable_seqscan = off")
            plan = "\n".join((await ask(f"EXPLAIN {statement}", values)).scalars())

    assert "Index" in plan
    assert "Seq Scan on creations" not in plan


async def test_a_call_that_was_served_is_not_made_again_where_its_caller_left_at_that_moment(
    replicas,
):
    claim = await replicas[0].claim(CALL)
    telling = asyncio.create_task(claim.served(b"the answer"))
    await asyncio.sleep(0)  # it has begun

    telling.cancel()
    await asyncio.wait({telling})
    claim.left()
    await replicas[0].aclose()

    assert await outcome(replicas[1]) == b"the answer"


async def test_a_key_behind_kept_answers_is_still_needed(replicas, database):
    claim = await replicas[0].claim(CALL)
    await claim.served(b"the answer")

    async with database.read() as tx:
        assert await tx.sealed.references() == {"k1": 1}


async def test_an_answer_opens_in_its_own_place_only(replicas, database):
    claim = await replicas[0].claim(CALL)
    await claim.served(b"the answer")
    async with database.begin() as tx:
        await tx.call_claims._connection.execute(
            update(creations).values(tenant="other", body_digest="digest")
        )

    assert await outcome(replicas[1], replace(CALL, tenant="other")) == "ALREADY_EXISTS"


async def test_without_a_database_nobody_can_say_and_nobody_is_served(replicas, monkeypatch):
    def down(self):
        raise StorageUnavailable("down")

    monkeypatch.setattr(Database, "begin", down)

    with pytest.raises(StorageUnavailable):
        await replicas[0].claim(CALL)

from dataclasses import replace
from datetime import timedelta

import pytest

from llm_service.domain.completion import Attribution, Cost, CostItem, ServedBy, TokenUsage
from llm_service.domain.listing import Comparison, Listing, Operator, Order
from tests.integration.samples import NOW, a_full_record, a_record, an_attempt


async def stored(database, *records):
    async with database.begin() as tx:
        await tx.usage.add_many(records)
    return records


async def test_a_record_comes_back_as_it_was_stored(database):
    full, plain = await stored(database, a_full_record(), a_record(2))

    async with database.read() as tx:
        page = await tx.usage.list("acme", Listing(5))

    assert page.items == (full, plain)


async def test_a_record_delivered_twice_counts_once_and_stays_as_it_was(database):
    first = a_record(1)
    await stored(database, first)

    await stored(database, replace(first, trace_id="changed"), a_record(2), a_record(2))

    async with database.read() as tx:
        assert (await tx.usage.list("acme", Listing(5))).items == (first, a_record(2))


async def test_more_records_than_one_batch_are_all_stored(database):
    await stored(database, *(a_record(number) for number in range(1_203)))

    async with database.read() as tx:
        records = await tx.usage.since("", "acme", 2_000)

    assert len(records) == 1_203


@pytest.mark.parametrize(
    "cost",
    [
        pytest.param(None, id="nothing-billed"),
        pytest.param(Cost(0), id="free"),
        pytest.param(Cost(0, incomplete=True), id="unknown"),
        pytest.param(Cost(5, incomplete=True), id="partly-known"),
        pytest.param(Cost(2**62), id="large"),
    ],
)
async def test_free_and_unknown_and_unbilled_stay_apart(database, cost):
    (record,) = await stored(database, a_record(1, attempt=an_attempt(cost=cost)))

    async with database.read() as tx:
        assert (await tx.usage.list("acme", Listing(1))).items == (record,)


async def test_what_is_too_long_or_cannot_be_stored_is_cut_and_the_record_kept(database):
    target = ServedBy("providers/p", "providers/p/models/m", provider_request_id="r" * 999)
    who = Attribution("acme", agent="a\0b\ud800", labels={"k\0": "v\0"})
    cost = Cost(1, (CostItem("in\0put", 1, 1),))
    attempt = an_attempt(target=target, usage=TokenUsage(input_tokens=2**70), cost=cost)

    await stored(database, a_record(1, attempt=attempt, attribution=who))

    async with database.read() as tx:
        (record,) = (await tx.usage.list("acme", Listing(1))).items
    assert record.attempt.target.provider_request_id == "r" * 256
    assert record.attribution == Attribution("acme", agent="ab?", labels={"k": "v"})
    assert record.attempt.usage == TokenUsage(input_tokens=2**63 - 1)
    assert record.attempt.cost == Cost(1, (CostItem("input", 1, 1),))


async def test_a_tenant_sees_its_own_records_only(database):
    mine, theirs = await stored(database, a_record(1, "acme"), a_record(2, "rival"))

    async with database.read() as tx:
        assert (await tx.usage.list("acme", Listing(5))).items == (mine,)
        assert (await tx.usage.list(None, Listing(5))).items == (mine, theirs)
        assert await tx.usage.since("", "rival", 5) == (theirs,)
        assert await tx.usage.latest("acme") == mine.record_id
        assert await tx.usage.latest(None) == theirs.record_id
        assert await tx.usage.latest("nobody") == ""


async def test_an_export_goes_on_after_the_last_record_it_had(database):
    records = await stored(database, *(a_record(number) for number in range(5)))

    async with database.read() as tx:
        first = await tx.usage.since("", "acme", 3)
        rest = await tx.usage.since(first[-1].record_id, "acme", 3)

    assert (*first, *rest) == records


FULL_ONLY = [
    Comparison("completion_id", Operator.EQ, "completion-1"),
    Comparison("record_id", Operator.EQ, "acme-000001"),
    Comparison("create_time", Operator.LE, NOW + timedelta(seconds=1)),
    Comparison("finish_reason", Operator.EQ, "FINISH_REASON_MAX_OUTPUT_TOKENS"),
    Comparison("error_reason", Operator.NE, ""),
    Comparison("trace_id", Operator.EQ, "0123456789abcdef0123456789abcdef"),
    Comparison("attribution.agent", Operator.EQ, "agent"),
    Comparison("attribution.labels.team", Operator.EQ, "x"),
    Comparison("attempt.target.model", Operator.EQ, "providers/p/models/m"),
    Comparison("attempt.cost.total_nano_usd", Operator.GT, 1_000),
]


async def test_records_are_found_by_what_they_say(database):
    full, _ = await stored(database, a_full_record(), a_record(2))

    async with database.read() as tx:
        found = [await tx.usage.list("acme", Listing(5, condition)) for condition in FULL_ONLY]

    assert [page.items for page in found] == [(full,)] * len(FULL_ONLY)


async def test_records_page_from_the_newest(database):
    records = await stored(database, *(a_record(n, create_time=NOW) for n in range(5)))
    listing = Listing(3, order_by=(Order("create_time", descending=True),))

    async with database.read() as tx:
        first = await tx.usage.list("acme", listing)
        rest = await tx.usage.list("acme", replace(listing, after=first.after))

    assert (*first.items, *rest.items) == tuple(reversed(records))

"""Filters, orders and pages, held against the same asked of a list in memory."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_service.domain.listing import And, Comparison, Listing, Not, Operator, Or, Order, Search
from llm_service.errors import InvalidField
from tests.integration.samples import NOW, NUMBERS, a_provider

on_a_database = settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
TEXTS = st.sampled_from(["", "a", "B", "ab", "ä", "Ä", "zz", "%", "a_b", "\\", "'", "猫", "*x"])
KEYS = st.sampled_from(["team", "a.b", 'q"uote', "$"])
TIMES = st.integers(0, 3).map(lambda days: NOW + timedelta(days=days))
NUMBER = st.integers(99, 101) | st.sampled_from([-(2**63), 2**63 - 1])
ORDERED = [Operator.LT, Operator.LE, Operator.GT, Operator.GE, Operator.EQ, Operator.NE]
LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


def comparisons():
    def of(field, operators, values):
        return st.builds(Comparison, st.just(field), st.sampled_from(operators), values)

    return st.one_of(
        of("display_name", list(Operator), TEXTS),
        of("priority", ORDERED, NUMBER),
        of("disabled", [Operator.EQ, Operator.NE], st.booleans()),
        of("create_time", ORDERED, TIMES),
        of("delete_time", ORDERED, TIMES),
        of("labels", [Operator.HAS], KEYS),
        st.builds(Comparison, KEYS.map("labels.{}".format), st.sampled_from(list(Operator)), TEXTS),
        st.builds(Search, TEXTS | st.sampled_from(["P00", "1"])),
    )


FILTERS = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        st.builds(And, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Not, inner),
    ),
    max_leaves=6,
)
ROWS = st.fixed_dictionaries(
    {
        "display_name": TEXTS,
        "description": TEXTS,
        "priority": st.none() | NUMBER,
        "disabled": st.booleans(),
        "create_time": TIMES,
        "delete_time": st.none() | TIMES,
        "labels": st.dictionaries(KEYS, TEXTS, max_size=2),
    }
)
ORDERS = st.lists(
    st.builds(
        Order,
        st.sampled_from(["display_name", "priority", "disabled", "create_time", "provider_id"]),
        st.booleans(),
    ),
    max_size=3,
).map(tuple)


def value_of(provider, field):
    if field.startswith("labels."):
        return provider.labels.get(field.removeprefix("labels."))
    if field == "priority":
        return 100 if provider.priority is None else provider.priority
    return getattr(provider, field)


def holds(condition, provider) -> bool:
    match condition:
        case And(terms):
            return all(holds(term, provider) for term in terms)
        case Or(terms):
            return any(holds(term, provider) for term in terms)
        case Not(term):
            return not holds(term, provider)
        case Search(text):
            texts = (provider.provider_id, provider.display_name, provider.description)
            return any(compares(one, Operator.HAS, text) for one in texts)
        case Comparison(field, operator, expected):
            return compares(value_of(provider, field), operator, expected)


def compares(value, operator, expected) -> bool:
    match operator:
        case Operator.HAS if isinstance(value, dict):
            return expected in value
        case Operator.HAS:
            return value is not None and expected.translate(LOWER) in value.translate(LOWER)
        case Operator.NE:
            return value != expected
    if value is None:
        return False
    return {
        Operator.EQ: value == expected,
        Operator.LT: value < expected,
        Operator.LE: value <= expected,
        Operator.GT: value > expected,
        Operator.GE: value >= expected,
    }[operator]


def in_order(providers, order_by):
    """Python's sort is stable: the last key first, and the table's own key before all."""
    found = sorted(
        providers, key=lambda p: p.provider_id, reverse=bool(order_by and order_by[-1].descending)
    )
    for order in reversed(order_by):
        found.sort(key=lambda p, o=order: value_of(p, o.field), reverse=order.descending)
    return [provider.provider_id for provider in found]


async def stored(database, rows):
    tenant = f"tenant-{next(NUMBERS)}"
    providers = [
        replace(a_provider(f"p{number:03}", tenant), **row) for number, row in enumerate(rows)
    ]
    async with database.begin() as tx:
        for provider in providers:
            await tx.providers.add(provider)
    return tenant, providers


async def pages(database, tenant, listing):
    found = []
    async with database.read() as tx:
        while True:
            page = await tx.providers.list(tenant, listing, show_deleted=True)
            assert len(page.items) <= listing.limit
            found += [provider.provider_id for provider in page.items]
            if page.after is None:
                return found
            assert len(page.items) == listing.limit
            listing = replace(listing, after=page.after)


@given(rows=st.lists(ROWS, max_size=6), condition=FILTERS)
@on_a_database
async def test_a_filter_finds_what_it_describes(database, rows, condition):
    tenant, providers = await stored(database, rows)

    found = await pages(database, tenant, Listing(100, condition))

    assert found == [p.provider_id for p in providers if holds(condition, p)]


@given(rows=st.lists(ROWS, max_size=8), order_by=ORDERS, limit=st.integers(1, 4))
@on_a_database
async def test_pages_make_up_the_whole_list_in_order(database, rows, order_by, limit):
    tenant, providers = await stored(database, rows)

    found = await pages(database, tenant, Listing(limit, order_by=order_by))

    assert found == in_order(providers, order_by)


async def test_rows_that_arrive_between_pages_shift_no_other_row(database):
    times = [{"create_time": NOW + timedelta(hours=hour)} for hour in range(6)]
    tenant, _ = await stored(database, times)
    listing = Listing(2, order_by=(Order("create_time", descending=True),))
    async with database.read() as tx:
        first = await tx.providers.list(tenant, listing)

    async with database.begin() as tx:
        await tx.providers.add(a_provider("newest", tenant, create_time=NOW + timedelta(days=9)))
        await tx.providers.add(a_provider("oldest", tenant, create_time=NOW - timedelta(days=9)))
    rest = await pages(database, tenant, replace(listing, after=first.after))

    assert [p.provider_id for p in first.items] == ["p005", "p004"]
    assert rest == ["p003", "p002", "p001", "p000", "oldest"]


async def test_a_time_may_be_written_as_text_in_any_zone(database):
    tenant, _ = await stored(database, [{"create_time": datetime(2026, 1, 1, tzinfo=UTC)}])

    same = Comparison("create_time", Operator.EQ, "2026-01-01T02:00:00+02:00")

    assert await pages(database, tenant, Listing(5, same)) == ["p000"]


async def test_a_star_asks_for_presence(database):
    tenant, _ = await stored(database, [{"labels": {"team": ""}}, {"display_name": "x"}])

    named = await pages(database, tenant, Listing(5, Comparison("display_name", Operator.HAS, "*")))
    owned = await pages(database, tenant, Listing(5, Comparison("labels.team", Operator.HAS, "*")))

    assert (owned, named) == (["p000"], ["p001"])


@pytest.mark.parametrize(
    ("text", "found"), [("UST", ["p000"]), ("ma%", []), ("É", ["p001"]), ("é", [])]
)
async def test_a_colon_finds_a_part_whatever_the_case_of_latin_letters(database, text, found):
    tenant, _ = await stored(database, [{"display_name": "Mustermann"}, {"display_name": "École"}])

    condition = Comparison("display_name", Operator.HAS, text)

    assert await pages(database, tenant, Listing(5, condition)) == found


HAS, EQ, LT = Operator.HAS, Operator.EQ, Operator.LT
DEEP = Comparison("kind", EQ, "echo")
for _ in range(40):
    DEEP = Not(DEEP)


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        pytest.param(Comparison("secret", EQ, "x"), "create_time", id="unknown-field"),
        pytest.param(Comparison("labels.", EQ, "x"), "labels.{key}", id="no-label"),
        pytest.param(Comparison("labels", EQ, "x"), "labels takes only :", id="map-equality"),
        pytest.param(
            Comparison("disabled", LT, value=True), "disabled takes only", id="order-of-truth"
        ),
        pytest.param(Comparison("disabled", EQ, "true"), "true or false", id="text-for-truth"),
        pytest.param(Comparison("priority", EQ, 2**63), "64 bits", id="too-large"),
        pytest.param(Comparison("priority", EQ, value=True), "whole number", id="truth-for-number"),
        pytest.param(Comparison("priority", EQ, 1.5), "whole number", id="fraction"),
        pytest.param(Comparison("kind", EQ, 1), "text", id="number-for-text"),
        pytest.param(Comparison("kind", EQ, "a\0"), "text", id="nul"),
        pytest.param(Comparison("labels.a\0", EQ, "a"), "text", id="nul-in-key"),
        pytest.param(Comparison("create_time", EQ, "soon"), "a time", id="not-a-time"),
        pytest.param(Comparison("create_time", EQ, "2026-01-01"), "a time", id="no-zone"),
        pytest.param(DEEP, "deeper", id="too-deep"),
    ],
)
async def test_a_filter_that_makes_no_sense_says_why(any_database, condition, words):
    async with any_database.read() as tx:
        with pytest.raises(InvalidField) as failure:
            await tx.providers.list("acme", Listing(5, condition))

    (violation,) = failure.value.violations
    assert violation.field == "filter"
    assert words in violation.description


@pytest.mark.parametrize("field", ["nothing", "labels", "delete_time"])
async def test_an_order_that_cannot_be_names_those_that_can(any_database, field):
    async with any_database.read() as tx:
        with pytest.raises(InvalidField, match=r"order_by: .*update_time"):
            await tx.providers.list("acme", Listing(5, order_by=(Order(field),)))


@pytest.mark.parametrize("after", [(), ("a",), (1, "b"), ("a", None), ("a", "b", "c")])
async def test_a_place_from_another_list_is_refused(any_database, after):
    async with any_database.read() as tx:
        with pytest.raises(InvalidField, match="page_token"):
            await tx.providers.list("acme", Listing(5, after=after))

"""A bare word finds providers by their own texts and by those of their models."""

import pytest

from llm_service.domain.listing import And, Comparison, Listing, Not, Operator, Search
from llm_service.errors import InvalidField
from tests.integration.samples import a_model, a_provider


@pytest.fixture
async def stored(database):
    """A database of three providers, of which one has a model."""
    named = a_provider("named", display_name="Budget gateway", description="100% for tests")
    serving = a_provider("serving")
    model = a_model(
        serving,
        "fast",
        provider_model="Qwen_3-Coder",
        aliases=("cheap/best", "quick"),
        display_name="Quick one",
        description="For code",
    )
    async with database.begin() as tx:
        for provider in (named, serving, a_provider("other")):
            await tx.providers.add(provider)
        await tx.models.add(serving.uid, model)
    return database


async def found(database, condition):
    async with database.read() as tx:
        page = await tx.providers.list("acme", Listing(10, condition))
    return [provider.provider_id for provider in page.items]


FOUND = [
    ("NAMED", ["named"]),
    ("budget", ["named"]),
    ("0% FOR", ["named"]),
    ("fast", ["serving"]),
    ("qwen_3", ["serving"]),
    ("BEST", ["serving"]),
    ("quick one", ["serving"]),
    ("for code", ["serving"]),
    ("e", ["named", "other", "serving"]),
    ("qwen%3", []),
    ("qwen.3", []),
    ('cheap/best", "quick', []),
    ("' OR 1=1 --", []),
    ("nothing", []),
]


async def test_a_word_is_looked_for_as_it_is_written(stored):
    assert [(text, await found(stored, Search(text))) for text, _ in FOUND] == FOUND


async def test_words_join_other_conditions(stored):
    enabled = Comparison("disabled", Operator.EQ, value=False)

    assert await found(stored, And((Search("e"), Not(Search("qwen")), enabled))) == [
        "named",
        "other",
    ]


async def test_a_word_that_no_text_can_hold_is_refused(stored):
    with pytest.raises(InvalidField):
        await found(stored, Search("\0"))


async def test_what_is_not_searched_says_so(database):
    async with database.read() as tx:
        with pytest.raises(InvalidField) as refused:
            await tx.usage.list(None, Listing(5, Search("x")))

    assert refused.value.violations[0].field == "filter"

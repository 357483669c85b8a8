"""A tenant has no more webhooks and budgets than it may, however many are made at once."""

import asyncio

import pytest

from llm_service.domain.listing import Listing
from llm_service.errors import Quota, RateLimited
from llm_service.gateway.admin import budgets as budgets_
from llm_service.gateway.admin.budgets import BudgetDraft, Budgets
from llm_service.gateway.alerts import webhooks as webhooks_
from llm_service.gateway.alerts.webhooks import WebhookDraft, Webhooks
from llm_service.providers.egress import Egress
from llm_service.storage.database import Database
from llm_service.vault import Keyring, Scheme, Vault, generate_key

PLACES = 2
TARGET = WebhookDraft("https://receiver.example/alerts")


@pytest.fixture
async def replicas(database_url):
    async with Database.open(database_url) as one, Database.open(database_url) as other:
        yield [one, other]


async def made(creating):
    """How many were, and what the others were told."""

    async def outcome(one):
        try:
            await one
        except RateLimited as refused:
            return refused

    found = await asyncio.gather(*map(outcome, creating))
    return found.count(None), [one for one in found if one is not None]


async def test_webhooks_made_at_once_are_no_more_than_a_tenant_may_have(replicas, monkeypatch):
    monkeypatch.setattr(webhooks_, "MAX_WEBHOOKS", PLACES)
    egress = Egress()
    vault = Vault(Keyring.from_text(generate_key(Scheme.FERNET_V1)), "deployment")
    sides = [Webhooks(one, vault, egress) for one in replicas]

    count, refused = await made(
        sides[n % 2].create(tenant, f"w{n}", TARGET) for n in range(6) for tenant in ("acme", "")
    )

    await egress.aclose()
    assert count == 2 * PLACES
    assert {one.quota for one in refused} == {
        Quota("tenants/acme", "webhooks", PLACES),
        Quota("the deployment", "webhooks", PLACES),
    }
    async with replicas[0].read() as tx:
        assert len((await tx.webhooks.list("acme", Listing(9))).items) == PLACES


async def test_budgets_made_at_once_are_no_more_than_a_tenant_may_have(replicas, monkeypatch):
    monkeypatch.setattr(budgets_, "MAX_BUDGETS", PLACES)
    sides = [Budgets(one) for one in replicas]
    draft = BudgetDraft(limit=1)

    count, refused = await made(
        sides[n % 2].create(tenant, f"b{n}", draft) for n in range(6) for tenant in ("acme", "")
    )

    assert count == 2 * PLACES
    assert {one.quota for one in refused} == {
        Quota("tenants/acme", "budgets", PLACES),
        Quota("the deployment", "budgets", PLACES),
    }
    assert not any(one.retriable for one in refused)
    async with replicas[0].read() as tx:
        assert len((await tx.budgets.list("acme", Listing(9))).items) == PLACES


async def test_a_budget_that_is_deleted_makes_room_for_another(replicas, monkeypatch):
    monkeypatch.setattr(budgets_, "MAX_BUDGETS", 1)
    side = Budgets(replicas[0])
    await side.create("acme", "one", BudgetDraft(limit=1))

    with pytest.raises(RateLimited, match="may have 1 budgets"):
        await side.create("acme", "two", BudgetDraft(limit=1))
    await side.delete("acme", "one")

    assert (await side.create("acme", "two", BudgetDraft(limit=1)))[0].budget_id == "two"

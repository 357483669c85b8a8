"""What metrics tell of alerts."""

import pytest

from llm_service.domain.alert import AlertAction
from llm_service.domain.budget import BudgetRule
from llm_service.gateway.alerts.alarm import Alarm
from llm_service.gateway.alerts.delivery import Deliverer
from llm_service.gateway.alerts.webhooks import WebhookDraft, Webhooks
from llm_service.gateway.budgets.accounting import Accounting
from llm_service.providers.egress import Egress
from llm_service.storage.deliveries import TRIED
from tests.integration.alerting import Clock, an_alert
from tests.integration.budgeting import a_budget, a_use
from tests.unit.key_store import a_vault
from tests.unit.test_telemetry import Collected


@pytest.fixture
async def egress():
    one = Egress(["127.0.0.1"])
    yield one
    await one.aclose()


async def test_alerts_are_counted_by_kind_and_deliveries_by_outcome(any_database, egress):
    collected, clock, vault = Collected(), Clock(), a_vault()
    webhooks = Webhooks(any_database, vault, egress, clock)
    deliverer = Deliverer(any_database, vault, egress, collected.telemetry, now=clock)
    alarm = Alarm(any_database, collected.telemetry)
    await webhooks.create("acme", "pager", WebhookDraft("http://127.0.0.1:1"))

    await alarm.sound([an_alert(1), an_alert(1), an_alert(2, "rival")])
    clock.now = an_alert(1).create_time
    clock.pass_(seconds=90)
    await deliverer.round()
    waiting = collected.metrics()
    clock.pass_(seconds=TRIED.total_seconds())
    await deliverer.round()
    await deliverer.round()
    done = collected.metrics()

    [alerts] = waiting["llm_service.alerts"]
    assert (alerts.value, dict(alerts.attributes)) == (
        2,
        {"llm_service.alert.kind": "budget_threshold"},
    )
    [age] = waiting["llm_service.webhook.undelivered_age"]
    assert age.value == 90
    outcomes = {
        point.attributes["llm_service.webhook.outcome"]: point.value
        for point in done["llm_service.webhook.deliveries"]
    }
    assert outcomes == {"unreachable": 1, "given_up": 1}
    [age] = done["llm_service.webhook.undelivered_age"]
    assert age.value == 0


async def test_alerts_of_what_is_spent_are_counted_and_logged_like_any_other(database, caplog):
    collected = Collected()
    Alarm(database, collected.telemetry)
    await a_budget(database, 100, BudgetRule(80, AlertAction.ALERT))
    accounting = Accounting(daily_cost_nano_usd=50)

    with caplog.at_level("WARNING", "llm_service"):
        for _ in range(2):
            async with database.begin() as tx:
                await accounting.store(tx, [a_use(90)])

    counted = {
        point.attributes["llm_service.alert.kind"]: point.value
        for point in collected.metrics()["llm_service.alerts"]
    }
    assert counted == {"budget_threshold": 1, "cost_threshold": 1}
    assert "budget_threshold of tenants/acme/budgets/b is at 90 of 100" in caplog.text
    assert "cost_threshold of tenants/acme is at 90 of 50" in caplog.text


async def test_an_alert_that_was_not_stored_in_the_end_is_not_counted(any_database):
    collected = Collected()
    Alarm(any_database, collected.telemetry)

    async def fail() -> None:
        async with any_database.begin() as tx:
            assert await tx.alerts.add_once(an_alert(1))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()

    assert "llm_service.alerts" not in collected.metrics()


async def test_the_log_names_what_an_alert_is_about_but_not_in_a_callers_words(
    any_database, caplog
):
    alarm = Alarm(any_database, Collected().telemetry)
    said = "providers/p/models/tell me\nabout canaries"
    listed = "providers/p/models/meta-llama/Llama-3.1-70B:free"

    with caplog.at_level("WARNING", "llm_service"):
        await alarm.sound([an_alert(1, subject=said), an_alert(2, subject=listed)])

    assert "canaries" not in caplog.text
    assert f"of {listed} is at" in caplog.text

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy.exc import DBAPIError

from llm_service.domain.access import CALLER, Caller, Principal
from llm_service.domain.alert import AlertKind
from llm_service.domain.listing import Comparison, Listing, Operator
from llm_service.domain.webhook import Webhook
from llm_service.gateway.admin.upkeep import Upkeep
from llm_service.storage import alerts
from llm_service.storage.alerts import KEPT
from llm_service.storage.database import Database
from tests.integration.alerting import an_alert, stored
from tests.integration.samples import NOW
from tests.integration.test_storage_migrations import execute


async def test_an_alert_comes_back_as_it_was_stored(database):
    await stored(database, an_alert())

    async with database.read() as tx:
        assert (await tx.alerts.list("acme", Listing(5))).items == (an_alert(),)
        assert await tx.alerts.since("", "acme", 5) == (an_alert(),)


async def test_of_one_subject_window_and_threshold_there_is_one_alert(database):
    first = an_alert()
    again = replace(first, alert_id=an_alert(2).alert_id, observed=7)
    others = [
        replace(again, tenant="rival", alert_id=an_alert(3).alert_id),
        replace(again, kind=AlertKind.COST_THRESHOLD, alert_id=an_alert(4).alert_id),
        replace(again, subject="providers/p", alert_id=an_alert(5).alert_id),
        replace(again, window_start_time=NOW + timedelta(1), alert_id=an_alert(6).alert_id),
        replace(again, threshold_percent=100, alert_id=an_alert(7).alert_id),
    ]

    assert await stored(database, first) == [True]
    assert await stored(database, again, *others) == [False, *[True] * 5]

    async with database.read() as tx:
        assert await tx.alerts.since("", None, 10) == (first, *others)


async def test_several_replicas_at_once_store_one(database, database_url):
    async def replica(number):
        async with Database.open(database_url) as one:
            return await stored(one, replace(an_alert(), alert_id=f"{number:036}"))

    outcomes = await asyncio.gather(*map(replica, range(3)))

    assert sorted(outcomes) == [[False], [False], [True]]
    async with database.read() as tx:
        assert len(await tx.alerts.since("", None, 10)) == 1


async def test_a_feed_goes_on_where_it_was_and_may_be_narrowed(database):
    alerts = [an_alert(number) for number in range(1, 6)]
    slow = an_alert(6, kind=AlertKind.SLOW_RESPONSES, subject="providers/p")
    await stored(database, *alerts, slow, an_alert(7, "rival"))

    async with database.read() as tx:
        first = await tx.alerts.since("", "acme", 3)
        rest = await tx.alerts.since(first[-1].alert_id, "acme", 9)
        of_kind = await tx.alerts.since("", None, 9, kinds=[AlertKind.SLOW_RESPONSES])
        of_subject = await tx.alerts.since("", None, 9, subject=alerts[1].subject)

    assert (*first, *rest) == (*alerts, slow)
    assert of_kind == (slow,)
    assert of_subject == (alerts[1],)


async def test_alerts_page_and_are_found_by_what_they_say(database):
    alerts = [an_alert(number) for number in range(1, 5)]
    slow = an_alert(5, kind=AlertKind.SLOW_RESPONSES, subject="providers/p")
    await stored(database, *alerts, slow)
    kind = Comparison("kind", Operator.EQ, "ALERT_KIND_SLOW_RESPONSES")
    subject = Comparison("subject", Operator.EQ, alerts[2].subject)

    async with database.read() as tx:
        first = await tx.alerts.list("acme", Listing(3))
        rest = await tx.alerts.list("acme", Listing(3, after=first.after))
        assert (await tx.alerts.list("acme", Listing(3, kind))).items == (slow,)
        assert (await tx.alerts.list("acme", Listing(3, subject))).items == (alerts[2],)
        assert (await tx.alerts.list("rival", Listing(3))).items == ()

    assert (*first.items, *rest.items) == (*alerts, slow)


async def test_a_kind_of_a_later_release_is_passed_over(database, database_url):
    await stored(database, an_alert(1), an_alert(2))
    execute(database_url, "UPDATE alerts SET kind = 'new' WHERE subject LIKE '%/1'")

    async with database.read() as tx:
        assert await tx.alerts.since("", None, 5) == (an_alert(2),)
        assert (await tx.alerts.list(None, Listing(5))).items == (an_alert(2),)


async def test_row_level_security_keeps_alerts_apart(confined_url):
    async with Database.open(confined_url) as database:
        await stored(database, an_alert(1), an_alert(2, ""))
        token = CALLER.set(Caller(Principal("clientKeys/a", "rival")))
        try:
            async with database.read() as tx:
                assert await tx.alerts.since("", None, 5) == ()
            with pytest.raises(DBAPIError, match="row-level security"):
                await stored(database, an_alert(3, ""))
        finally:
            CALLER.reset(token)


def a_webhook():
    uid = "0199d2a8-7d2e-7c0a-8f4e-0000000000aa"
    return Webhook("acme", "pager", uid, "https://hooks.example.com", NOW, NOW, sealed="sealed")


async def test_an_alert_is_forgotten_after_400_days_with_its_deliveries(database):
    async with database.begin() as tx:
        await tx.webhooks.add(a_webhook())
    await stored(database, an_alert(1), an_alert(2))
    now = an_alert(1).create_time + KEPT

    assert await Upkeep(database, lambda: now).sweep() == ()

    async with database.read() as tx:
        assert await tx.alerts.since("", None, 10) == (an_alert(2),)
        left = await tx.deliveries.list(a_webhook().uid, Listing(10))
    assert [one.alert for one in left.items] == [an_alert(2).name]


async def test_alerts_are_forgotten_a_thousand_at_once(database, monkeypatch):
    monkeypatch.setattr(alerts, "FORGOTTEN_AT_ONCE", 2)
    await stored(database, *map(an_alert, range(1, 4)))
    now = an_alert(3).create_time + KEPT

    async with database.begin() as tx:
        assert [await tx.alerts.forget(now) for _ in range(3)] == [2, 1, 0]


@pytest.mark.parametrize("broken", ["5", "true", '"error_rate"', "{}"])
async def test_kinds_that_cannot_be_read_keep_no_alert_from_being_stored(database, broken):
    async with database.begin() as tx:
        await tx.webhooks.add(a_webhook())
        kinds = f"UPDATE webhooks SET alert_kinds = '{broken}'"  # noqa: S608 - ours
        await tx.webhooks._connection.exec_driver_sql(kinds)

    assert await stored(database, an_alert()) == [True]

    async with database.read() as tx:
        assert len((await tx.deliveries.list(a_webhook().uid, Listing(10))).items) == 1

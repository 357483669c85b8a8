"""S5: an administrative change and its audit entry are stored together, or not at all."""

import grpc
import pytest
from sqlalchemy import create_engine, make_url, text

from llm_service.rpc.stubs import provider_admin_service_pb2 as pb
from llm_service.storage import tables
from tests.rpc.administered import refusal
from tests.rpc.audit_cases import CASES, calling, entries, prepared

NO_TABLE = (
    "ALTER TABLE audit_entries RENAME TO elsewhere",
    "ALTER TABLE elsewhere RENAME TO audit_entries",
)
NO_INSERT = (
    """CREATE TRIGGER no_more BEFORE INSERT ON audit_entries
    BEGIN SELECT RAISE(ABORT, 'disk full'); END""",
    "DROP TRIGGER no_more",
)
NO_CHAIN = (
    "ALTER TABLE audit_chains RENAME TO elsewhere",
    "ALTER TABLE elsewhere RENAME TO audit_chains",
)
# A check changes nothing by itself, and there is nothing here to rewrap or to deliver again.
MUTATIONS = sorted(CASES.keys() - {"CheckProvider", "RewrapSecrets", "RedeliverWebhookDeliveries"})
AUDIT = {"audit_entries", "audit_chains"}


def run(url, *statements):
    engine = create_engine(make_url(url).set(drivername="sqlite"))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def configuration(url):
    """Every row of every table but the audit's own."""
    engine = create_engine(make_url(url).set(drivername="sqlite"))
    with engine.begin() as connection:
        rows = {
            name: connection.execute(text(f"SELECT * FROM {name}")).all()  # noqa: S608 - our tables
            for name in sorted(set(tables.METADATA.tables) - AUDIT)
        }
    engine.dispose()
    return rows


@pytest.mark.parametrize("method", MUTATIONS)
async def test_s5_a_change_that_cannot_be_audited_is_not_made(service, database_url, method):
    known = await prepared(service, CASES[method])
    before = configuration(database_url)

    for fail, mend in (NO_TABLE, NO_INSERT, NO_CHAIN):
        run(database_url, fail)
        refused = await refusal(calling(service, CASES[method].request))
        run(database_url, mend)

        assert refused.code is grpc.StatusCode.UNAVAILABLE
        assert refused.reason == "STORAGE_UNAVAILABLE"
        assert "disk full" not in refused.text
        assert configuration(database_url) == before

    await calling(service, CASES[method].request)

    assert configuration(database_url) != before
    found = await entries(service)
    assert len(found) == known + 1
    assert found[0].changes


async def test_s5_a_refusal_stands_when_it_cannot_be_audited(service, database_url, caplog):
    run(database_url, NO_TABLE[0])

    refused = await refusal(calling(service, type(CASES["DeleteProvider"].request)()))

    assert refused.reason == "INVALID_FIELD"
    assert "not audited" in caplog.text


async def test_s5_reads_do_not_need_the_audit(service, database_url):
    await prepared(service, CASES["DeleteModel"])
    run(database_url, NO_TABLE[0])

    listed = await service.admin.ListProviders(pb.ListProvidersRequest(parent="tenants/acme"))

    assert len(listed.providers) == 1

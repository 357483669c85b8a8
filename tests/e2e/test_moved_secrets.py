"""A ciphertext that is moved in the database opens nowhere else, and no vendor hears of it."""

import sqlite3
from contextlib import closing

from tests.e2e.rotations import Answers
from tests.e2e.service import asking, running
from tests.rpc.administered import refusal

MOVES = {
    "row": "sealed = (SELECT sealed FROM of WHERE provider_id = 'other')",
    "provider": "provider_uid = (SELECT uid FROM providers WHERE provider_id = 'empty')",
    "version": "secret_version = 2",
}
OF = "WITH of AS (SELECT c.sealed, c.uid, p.provider_id FROM credentials c JOIN providers p"
OF += " ON p.uid = c.provider_uid) "
CALLED = {"row": "row", "provider": "empty", "version": "version"}


async def test_s2_a_moved_ciphertext_is_refused_and_no_vendor_is_called(tmp_path, vendor):
    vendor.replies = Answers()
    async with running(tmp_path) as service:
        for number, name in enumerate((*MOVES, "other")):
            await service.add_provider(name, vendor.base_uri, key=f"sk-canary-{number:016}")
        await service.add_provider("empty", vendor.base_uri, key="")
        with closing(sqlite3.connect(tmp_path / "llm-service.db")) as database:
            for name, change in MOVES.items():
                which = "WHERE uid = (SELECT uid FROM of WHERE provider_id = ?)"
                database.execute(f"{OF} UPDATE credentials SET {change} {which}", [name])  # noqa: S608 - ours
            assert database.total_changes == len(MOVES)
            database.commit()
        await service.add_provider("last", vendor.base_uri, key="")  # all is read again

        failures = {
            name: await refusal(
                service.completions.Complete(asking(f"providers/{called}/models/m"), timeout=20)
            )
            for name, called in CALLED.items()
        }

    assert {name: failed.reason for name, failed in failures.items()} == dict.fromkeys(
        MOVES, "PROVIDER_CREDENTIAL_UNREADABLE"
    )
    assert not any("canary" in failed.text for failed in failures.values())
    assert vendor.asked == []

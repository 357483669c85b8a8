"""Keys are rotated while the service is called and changed, and the rotation is killed."""

import os
import random
import time

import pytest

from llm_service.vault import Scheme, generate_key
from tests.e2e.rotations import loaded

KILLS = int(os.environ.get("KILLS", "1"))
KILLS_IN_ROTATION = 4
SECRETS = int(os.environ.get("SECRETS", "200"))
SCHEMES = (Scheme.AES256GCM_V1, Scheme.FERNET_V1)


async def distributed(service, key_id: str, scheme: Scheme) -> None:
    added = await service.command("keys", "add", stdin=f"{key_id} {scheme} {generate_key(scheme)}")
    assert added.exit_code == 0, added.output
    await service.settled(key_id)


async def promoted(service, key_id: str) -> None:
    ran = await service.command("keys", "promote", key_id)
    assert ran.exit_code == 0, ran.output
    await service.settled(key_id, primary=True)


async def rewrapped_and_retired(service, key_id: str) -> None:
    ran = await service.command("keys", "rewrap", "--rate", "2000")
    assert ran.exit_code == 0, ran.output
    ran = await service.command("keys", "retire", key_id)
    assert ran.exit_code == 0, ran.output


@pytest.mark.timeout(120 + 20 * KILLS)
async def test_s3_a_rotation_that_is_killed_loses_no_call_and_no_secret(tmp_path, database_url):
    seed = time.time_ns()
    chance = random.Random(seed)  # noqa: S311 - to be repeated
    first = f"k0 fernet-v1 {generate_key(Scheme.FERNET_V1)}"
    kills = rotations = 0

    async with loaded(tmp_path, database_url, first, chance, count=SECRETS) as service:
        while kills < KILLS:
            old, new = f"k{rotations}", f"k{rotations + 1}"
            await distributed(service, new, SCHEMES[rotations % 2])
            await promoted(service, new)
            for _ in range(min(KILLS_IN_ROTATION, KILLS - kills)):
                await service.kill_a_rewrap(chance)
                kills += 1
            refused = await service.command("keys", "retire", new)
            await rewrapped_and_retired(service, old)
            rotations += 1
    secrets, titles, key_ids = await service.stored()

    print(f"{kills} kills, {rotations} rotations, {service.calls} calls, {service.changes} changes")  # noqa: T201
    assert refused.exit_code == 1
    assert service.failures == [], seed
    assert service.stale == [], seed
    assert (service.calls > 0, service.changes > 0) == (True, True)
    assert secrets == service.secrets, seed
    assert titles == service.titles, seed
    assert key_ids == {f"k{rotations}"}
    assert f"k{rotations - 1} " not in service.ring.read_text()

"""A credential's secret replaced by another, at once or with a time in which both serve."""

import pytest

from llm_service.rpc.stubs.provider_pb2 import Credential
from tests.rpc.administered import refusal
from tests.rpc.credential_calls import (
    KEY,
    NAME,
    OTHER_KEY,
    admin_of_one_provider,
    created,
    got,
    rotated,
    stored_secrets,
)


@pytest.fixture
async def admin(service):
    return await admin_of_one_provider(service)


async def test_rotation_replaces_the_secret_at_once(service, admin):
    before = await created(admin)

    after = await rotated(admin, api_key=OTHER_KEY)

    assert after.obfuscated_secret == "sk-proj-...next"
    assert after.uid == before.uid
    assert after.etag != before.etag
    assert await stored_secrets(service) == {"main": OTHER_KEY}


async def test_rotation_with_a_grace_period_keeps_the_old_secret_beside_it(service, admin):
    await created(admin)

    await rotated(admin, grace=3600, api_key=OTHER_KEY)

    previous = await got(admin, f"{NAME}-previous")
    assert await stored_secrets(service) == {"main": OTHER_KEY, "main-previous": KEY}
    assert previous.state == Credential.STATE_ACTIVE
    assert previous.expire_time.seconds - previous.create_time.seconds == 3600


async def test_a_second_rotation_drops_the_secret_before_last(service, admin):
    await created(admin)
    await rotated(admin, grace=60, api_key=OTHER_KEY)

    await rotated(admin, grace=60, api_key="sk-third-canary-0123456789")

    assert await stored_secrets(service) == {
        "main": "sk-third-canary-0123456789",
        "main-previous": OTHER_KEY,
    }


async def test_rotation_may_change_the_source(service, admin):
    await created(admin)

    after = await rotated(admin, environment_variable="OPENAI_API_KEY")

    assert after.environment_variable == "OPENAI_API_KEY"
    assert not after.secret_set
    assert await stored_secrets(service) == {}


@pytest.mark.parametrize("grace", [-1, 31 * 86_400])
async def test_a_bad_grace_period_is_refused(admin, grace):
    await created(admin)

    assert (await refusal(rotated(admin, grace=grace, api_key=OTHER_KEY))).fields == (
        "grace_period",
    )

"""Tokens of Microsoft Entra: when they are fetched anew, and what it means when none comes."""

import asyncio
import json

import pytest
from vendor_server import Reply, vendor_server

from llm_service import errors
from llm_service.providers import entra_token
from llm_service.providers.egress import Egress
from llm_service.providers.vendor import Outgoing

SECRET = "s3cret~value"


@pytest.fixture
async def vendor():
    async with vendor_server() as vendor:
        yield vendor


@pytest.fixture
async def egress():
    egress = Egress(allow=("127.0.0.1",))
    yield egress
    await egress.aclose()


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when a test says so."""
    passed = [0.0]
    real = asyncio.get_running_loop
    monkeypatch.setattr(entra_token, "_now", lambda: real().time() + passed[0])
    return passed


@pytest.fixture
def application(vendor, egress):
    where = entra_token.authority(f"http://127.0.0.1:{vendor.port}/cloud", egress)
    return entra_token.ClientSecret(where, "a/b", ("app", SECRET), "scope", egress)


async def header(application, seconds=10.0) -> str:
    loop = asyncio.get_running_loop()
    outgoing = Outgoing("POST", application._endpoint, "/responses", (), b"")
    ((name, value),) = await application.headers(outgoing, loop.time() + seconds)
    assert name == "authorization"
    return value


def token(text, life=3600) -> Reply:
    said = {"access_token": text, "expires_in": life}
    return Reply(200, {}, [json.dumps(said).encode()])


async def test_a_token_serves_until_shortly_before_its_end(vendor, application, clock):
    vendor.replies += [token("one"), token("two", "3600")]
    seen = []

    for moment in (0, 3000, 3299, 3301, 6000):
        clock[0] = moment
        seen.append(await header(application))

    assert seen == ["Bearer one"] * 3 + ["Bearer two"] * 2
    assert [asked.path for asked in vendor.asked] == ["/cloud/a%2Fb/oauth2/v2.0/token"] * 2


async def test_a_short_token_serves_half_its_life(vendor, application, clock):
    vendor.replies += [token("one", 100), token("two", 100)]
    await header(application)
    clock[0] = 51.0

    assert await header(application) == "Bearer two"


async def test_a_token_still_good_serves_when_no_new_one_can_be_had(vendor, application, clock):
    vendor.replies += [token("one"), Reply(503), Reply(503)]
    await header(application)

    clock[0] = 3400.0
    assert await header(application) == "Bearer one"
    clock[0] = 3601.0
    with pytest.raises(errors.ProviderUnavailable):
        await header(application)


@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        (Reply(401, {}, [b'{"error": "invalid_client"}']), errors.ProviderCredentialRejected),
        (Reply(400, {}, [b'{"error": "unauthorized_client"}']), errors.ProviderCredentialRejected),
        (Reply(429, {"retry-after": "3"}), errors.ProviderRateLimited),
        (Reply(500), errors.ProviderUnavailable),
        (Reply(200, {}, [b"<html>"]), errors.ProviderProtocolError),
        (Reply(200, {}, [b'{"access_token": ""}']), errors.ProviderProtocolError),
        (Reply(200, {}, [b'{"access_token": "a\\r\\nb"}']), errors.ProviderProtocolError),
        (
            Reply(200, {}, [b'{"access_token": "a", "expires_in": "soon"}']),
            errors.ProviderProtocolError,
        ),
    ],
)
async def test_no_token_is_a_failure_that_cost_nothing(vendor, application, reply, failure):
    vendor.replies.append(reply)

    with pytest.raises(failure) as raised:
        await header(application)

    assert type(raised.value) is failure
    assert not raised.value.may_have_cost
    assert SECRET not in str(raised.value)
    if failure is errors.ProviderRateLimited:
        assert raised.value.retry_delay == 3.0


async def test_a_token_that_does_not_come_in_time_is_a_timeout(vendor, application):
    vendor.replies.append(Reply(200, held=True))

    with pytest.raises(errors.ProviderTimeout):
        await header(application, 0.1)


async def test_who_waits_for_anothers_fetch_waits_no_longer_than_it_may(vendor, application):
    vendor.replies.append(Reply(200, held=True))
    first = asyncio.create_task(header(application, 5.0))
    await vendor.heard.wait()

    with pytest.raises(errors.ProviderTimeout):
        await header(application, 0.05)

    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first


@pytest.mark.parametrize("host", ["login.microsoftonline.us", "login.partner.microsoftonline.cn"])
async def test_the_clouds_own_addresses_are_taken(egress, host):
    assert entra_token.authority(f"https://{host}", egress).host == host


async def test_the_public_cloud_is_meant_when_none_is_named(egress):
    assert entra_token.authority("", egress).host == "login.microsoftonline.com"


@pytest.mark.parametrize("uri", ["https://evil.example", "ftp://a", "https://1.2.3.4", "nonsense"])
async def test_a_secret_goes_to_no_other_address(egress, uri):
    with pytest.raises(errors.InvalidField) as failure:
        entra_token.authority(uri, egress)

    assert failure.value.violations[0].field == "provider.settings.authority"

"""An issuer's keys, fetched through the guarded client."""

import json

import pytest

from llm_service.errors import EgressDenied
from llm_service.gateway.access.key_sets import KeySet, from_address
from llm_service.providers.egress import Egress
from tests.contract.vendor_server import vendor_server

DOCUMENT = json.dumps({"keys": [{"kid": "one", "kty": "RSA"}]}).encode()


@pytest.fixture
async def issuer():
    async with vendor_server() as server:
        yield server


@pytest.fixture
async def egress():
    guarded = Egress(["127.0.0.1"])
    yield guarded
    await guarded.aclose()


async def test_keys_are_read_from_the_issuers_address(issuer, egress):
    issuer.say(DOCUMENT, content_type="application/json")
    keys = KeySet(from_address(f"{issuer.base_uri}/keys", egress))

    found = await keys.get("one")

    assert found == {"kid": "one", "kty": "RSA"}
    assert [(asked.method, asked.path) for asked in issuer.asked] == [("GET", "/v1/keys")]
    assert "authorization" not in issuer.asked[0].headers


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_an_issuer_that_fails_or_points_elsewhere_gives_no_keys(issuer, egress, status):
    issuer.say(DOCUMENT, status=status, location=f"{issuer.base_uri}/elsewhere")
    keys = KeySet(from_address(f"{issuer.base_uri}/keys", egress))

    assert await keys.get("one") is None
    assert len(issuer.asked) == 1


async def test_more_than_a_key_set_can_be_is_not_read(issuer, egress):
    issuer.say(DOCUMENT + b" " * (1 << 20))
    keys = KeySet(from_address(f"{issuer.base_uri}/keys", egress))

    assert await keys.get("one") is None


@pytest.mark.parametrize("address", ["https://169.254.169.254/keys", "https://10.0.0.1/keys"])
def test_an_address_inside_is_refused_at_once(address):
    with pytest.raises(EgressDenied):
        from_address(address, Egress())

"""Opening an account with Bedrock: regions, credentials, signatures."""

import asyncio
import json
import logging
import subprocess
import sys

import pytest
from bedrock_vendor import AWS_KEY, bedrock, events_of
from bedrock_wire import EVENT_STREAM
from botocore.exceptions import CredentialRetrievalError
from calls import SECOND, call, user
from fakes import converse
from fakes.said import Said

from llm_service import errors, providers
from llm_service.domain.provider import SourceType
from llm_service.providers import aws
from llm_service.providers.base import Account
from llm_service.providers.egress import Egress

KEY = aws.Key("AKIDEXAMPLE", "secret/key", "token/with+signs=")
ARN = "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-6-v1:0"


@pytest.fixture
async def egress():
    egress = Egress()
    yield egress
    await egress.aclose()


def temporary(**more) -> str:
    return json.dumps(
        {
            "access_key_id": KEY.access_key_id,
            "secret_access_key": KEY.secret_access_key,
            "session_token": KEY.session_token,
        }
        | more
    )


async def asked_by(model="some-model", **account):
    """The one request of a call, streamed."""
    async with bedrock(**account) as (vendor, adapter):
        vendor.replies.append(lambda request: converse.stream(Said(text="Hi"), request))
        await events_of(adapter, call(model=model))
        return vendor.asked[0]


def where(adapter) -> str:
    endpoint = adapter._endpoint
    return f"{endpoint.scheme}://{endpoint.host}"


@pytest.mark.parametrize("model", ["anthropic.claude-v2:1", ARN, "some model/ä"])
async def test_a_request_is_signed_as_the_vendor_checks_it(model):
    asked = await asked_by(model, region="eu-central-1")

    converse.check_authorization(asked)
    assert "/eu-central-1/bedrock/aws4_request" in asked.headers["authorization"]
    assert asked.headers["accept"] == EVENT_STREAM
    assert ":" not in asked.path
    assert asked.path.count("/") == 3


async def test_a_temporary_key_sends_its_token_and_signs_it():
    asked = await asked_by(secret=temporary())

    converse.check_authorization(asked)
    assert asked.headers["x-amz-security-token"] == KEY.session_token
    assert "x-amz-security-token" in asked.headers["authorization"]


async def test_a_large_body_is_signed_like_a_small_one():
    async with bedrock() as (vendor, adapter):
        vendor.replies.append(lambda request: converse.answer(Said(text="Hi"), request))
        await adapter.complete(call(user("x" * 300_000), model="some-model"))

        converse.check(vendor.asked[0])


async def test_a_key_from_elsewhere_is_known_by_its_form():
    asked = await asked_by(secret=AWS_KEY, source=SourceType.SECRET_REFERENCE)

    converse.check_authorization(asked)


@pytest.mark.parametrize("source", [SourceType.API_KEY, SourceType.ENVIRONMENT_VARIABLE])
async def test_a_key_of_bedrocks_own_goes_as_it_is(source):
    asked = await asked_by(secret="bedrock-api-key-x", source=source)

    assert asked.headers["authorization"] == "Bearer bedrock-api-key-x"
    assert "x-amz-date" not in asked.headers


async def test_a_call_without_a_credential_is_not_dialled():
    async with bedrock(secret="", source=SourceType.API_KEY) as (vendor, adapter):
        with pytest.raises(errors.ProviderCredentialMissing):
            await adapter.complete(call(model="some-model"))

        assert not vendor.asked


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "[]",
        "{}",
        '{"access_key_id":"","secret_access_key":"x"}',
        '{"access_key_id":"AKID","secret_access_key":""}',
        '{"access_key_id":"AK ID","secret_access_key":"x"}',
        '{"access_key_id":"AKID","secret_access_key":"x","session_token":"a\\nb"}',
        '{"access_key_id":"AKÏD","secret_access_key":"x"}',
    ],
)
async def test_a_key_that_is_none_is_refused_without_showing_it(egress, secret):
    account = Account("", {"region": "eu-west-1"}, secret, SourceType.AWS_KEY)

    with pytest.raises(errors.ProviderCredentialRejected) as failure:
        providers.connect("bedrock", account, egress)

    assert "AK" not in str(failure.value).replace("AWS key", "")


def test_a_key_does_not_show_its_secrets():
    assert "secret/key" not in repr(KEY)
    assert "token" not in repr(KEY).replace("session_token", "")


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-central-1", "bedrock-runtime.eu-central-1.amazonaws.com"),
        ("cn-north-1", "bedrock-runtime.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "bedrock-runtime.us-gov-west-1.amazonaws.com"),
    ],
)
async def test_a_region_is_where_the_account_is(egress, region, host):
    adapter = providers.connect("bedrock", Account("", {"region": region}), egress)

    assert where(adapter) == f"https://{host}"
    assert adapter._api._control.host == host.replace("bedrock-runtime", "bedrock")


@pytest.mark.parametrize("settings", [{}, {"region": "nowhere"}, {"region": "a.evil.example/"}])
async def test_an_account_is_somewhere(egress, settings):
    with pytest.raises(errors.InvalidField) as failure:
        providers.connect("bedrock", Account("", settings), egress)

    assert failure.value.violations[0].field == "provider.settings.region"


@pytest.mark.parametrize(
    ("base_uri", "region", "control"),
    [
        (
            "https://bedrock-runtime-fips.us-west-2.amazonaws.com",
            "us-west-2",
            "bedrock-fips.us-west-2.amazonaws.com",
        ),
        (
            "https://bedrock-runtime.us-west-2.amazonaws.com",
            "us-west-2",
            "bedrock.us-west-2.amazonaws.com",
        ),
        (
            "https://vpce-1.bedrock-runtime.eu-west-1.vpce.amazonaws.com",
            "eu-west-1",
            None,
        ),
        ("https://bedrock-runtime.eu-west-1.proxy.example", "eu-west-1", None),
        ("https://proxy.example/bedrock", "us-east-1", None),
    ],
)
async def test_an_address_tells_its_region_and_where_models_are_listed(
    egress, base_uri, region, control
):
    account = Account(base_uri, {}, AWS_KEY, SourceType.AWS_KEY)

    adapter = providers.connect("bedrock", account, egress)

    assert adapter._authenticator._region == region
    assert (adapter._api._control and adapter._api._control.host) == control


class Chain:
    """botocore's session, as far as it is used."""

    found: object = None

    def get_credentials(self):
        return self.found


class Credentials:
    """botocore's credentials, which renew themselves when they are asked for."""

    def __init__(self, failure=None):
        self.asked = 0
        self.failure = failure
        self.access_key, self.secret_key, self.token = "AKIDEXAMPLE", "secret/key", None

    def get_frozen_credentials(self):
        self.asked += 1
        if self.failure:
            raise self.failure
        return self


@pytest.fixture
def chain(monkeypatch):
    def found(credentials):
        monkeypatch.setattr(Chain, "found", credentials)
        monkeypatch.setattr("botocore.session.Session", Chain)
        return credentials

    return found


async def test_what_the_machine_is_signs_its_requests_and_is_asked_each_time(chain):
    credentials = chain(Credentials())

    async with bedrock("", SourceType.WORKLOAD_IDENTITY) as (vendor, adapter):
        for _ in range(2):
            vendor.replies.append(lambda request: converse.answer(Said(text="Hi"), request))
            await adapter.complete(call(model="some-model"))
            converse.check(vendor.asked[-1])

    assert credentials.asked == 2


@pytest.mark.parametrize(
    ("credentials", "expected"),
    [
        (None, errors.ProviderCredentialMissing),
        (
            Credentials(CredentialRetrievalError(provider="x", error_msg="y")),
            errors.ProviderUnreachable,
        ),
        (Credentials(OSError()), errors.ProviderUnreachable),
    ],
)
async def test_a_machine_that_is_nobody_cannot_call(chain, credentials, expected):
    chain(credentials)

    async with bedrock("", SourceType.WORKLOAD_IDENTITY) as (vendor, adapter):
        with pytest.raises(expected):
            await adapter.complete(call(model="some-model"))

        assert not vendor.asked


async def test_credentials_that_do_not_come_in_time_are_a_timeout():
    keys = aws.DefaultChain()

    async with keys._lock:
        with pytest.raises(errors.ProviderTimeout):
            await keys.key(asyncio.get_running_loop().time() + 0.01)


async def test_the_signer_logs_nothing_of_what_it_signs(caplog):
    caplog.set_level(logging.DEBUG)

    await asked_by(secret=temporary())

    assert KEY.session_token not in caplog.text


def test_the_signer_is_imported_by_who_signs_and_by_nobody_else():
    program = (
        "import sys\n"
        "from llm_service import providers\n"
        "from llm_service.providers.base import Account\n"
        "from llm_service.providers.egress import Egress\n"
        "account = Account('https://bedrock-runtime.eu-west-1.amazonaws.com', {}, 'key')\n"
        "providers.connect('bedrock', account, Egress())\n"
        "sys.exit('botocore' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)

    assert done.returncode == 0, done.stderr


async def test_a_call_may_be_counted_by_the_vendor():
    async with bedrock() as (vendor, adapter):
        vendor.say(b'{"inputTokens": 12}')

        counted = await adapter.count_tokens(call(model="us.anthropic.claude-sonnet-4-6"))

        assert (counted.input_tokens, counted.estimated) == (12, False)
        assert vendor.asked[0].path == "/model/anthropic.claude-sonnet-4-6/count-tokens"
        assert vendor.asked[0].json["input"]["converse"].keys() == {"messages"}
        converse.check_authorization(vendor.asked[0])


@pytest.mark.parametrize("model", ["amazon.nova-pro-v1:0", "some-model", ARN + "x/y"])
async def test_a_call_to_a_model_the_vendor_does_not_count_for_is_estimated(model):
    async with bedrock() as (vendor, adapter):
        if "claude" in model:
            vendor.say(b'{"message":"no"}', status=400)

        counted = await adapter.count_tokens(call(model=model))

    assert counted.estimated
    assert counted.input_tokens > 0


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"inputTokens":-1}'])
async def test_a_count_that_is_none_is_a_protocol_error(body):
    async with bedrock() as (vendor, adapter):
        vendor.say(body)

        with pytest.raises(errors.ProviderProtocolError):
            await adapter.count_tokens(call(model="anthropic.claude-sonnet-4-6", deadlines=SECOND))

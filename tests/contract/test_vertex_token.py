"""A service account's token: the assertion it is had by, when it is fetched, what may go wrong."""

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from functools import cache
from urllib.parse import parse_qs

import pytest
from calls import call
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from fakes import gemini
from fakes.said import Said
from vendor_server import Reply, vendor_server

from llm_service import errors, providers
from llm_service.domain.provider import SourceType
from llm_service.providers.base import Account
from llm_service.providers.egress import Egress

MODEL = "gemini-3.8-flash"


@cache
def key():
    return rsa.generate_private_key(65537, 2048)


def pem(private_key) -> str:
    return private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def file(**more) -> dict:
    return {
        "type": "service_account",
        "project_id": "its-own",
        "private_key_id": "k-1",
        "private_key": pem(key()),
        "client_email": "robot@its-own.iam.gserviceaccount.com",
        **more,
    }


def account(said: dict, base_uri="", settings=None) -> Account:
    secret = json.dumps(said)
    return Account(base_uri, settings or {}, secret, SourceType.SERVICE_ACCOUNT_JSON)


@asynccontextmanager
async def vertex(settings=None):
    """Google on one port: the token endpoint and the API."""
    async with vendor_server() as vendor:
        egress = Egress(allow=("127.0.0.1",))
        token_uri = f"http://127.0.0.1:{vendor.port}/token"
        given = account(file(token_uri=token_uri), vendor.base_uri, settings)
        try:
            yield vendor, providers.connect("google", given, egress)
        finally:
            await egress.aclose()


def token(text="ya29.token", seconds=3600) -> Reply:
    said = {"access_token": text, "expires_in": seconds, "token_type": "Bearer"}
    return Reply(200, {}, [json.dumps(said).encode()])


def hello(request) -> Reply:
    return gemini.answer(Said(text="Hello"), request)


def claims(assertion: str) -> tuple[dict, dict]:
    """Header and claims of an assertion whose signature is good."""
    signed, _, signature = assertion.rpartition(".")
    key().public_key().verify(decoded(signature), signed.encode(), PKCS1v15(), SHA256())
    header, _, body = signed.partition(".")
    return json.loads(decoded(header)), json.loads(decoded(body))


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def test_a_call_is_made_with_a_token_had_by_a_signed_assertion():
    async with vertex() as (vendor, adapter):
        vendor.replies += [token(), hello]

        await adapter.complete(call(model=MODEL))

    asked, served = vendor.asked
    form = parse_qs(asked.body.decode())
    header, said = claims(form["assertion"][0])
    assert (asked.method, asked.path) == ("POST", "/token")
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    assert header == {"alg": "RS256", "typ": "JWT", "kid": "k-1"}
    assert said["iss"] == "robot@its-own.iam.gserviceaccount.com"
    assert said["scope"] == "https://www.googleapis.com/auth/cloud-platform"
    assert said["aud"] == f"http://127.0.0.1:{vendor.port}/token"
    assert said["exp"] - said["iat"] == 3600
    assert served.headers["authorization"] == "Bearer ya29.token"
    assert served.path.startswith("/v1/projects/its-own/locations/global/publishers/google/")
    gemini.check(served)


async def test_a_project_of_the_settings_comes_before_the_accounts_own():
    async with vertex({"project": "other", "location": "europe-west4"}) as (vendor, adapter):
        vendor.replies += [token(), hello]

        await adapter.complete(call(model=MODEL))

    assert vendor.asked[1].path.startswith("/v1/projects/other/locations/europe-west4/")


async def test_a_token_serves_until_shortly_before_its_end():
    async with vertex() as (vendor, adapter):
        vendor.replies += [token("first"), hello, hello]

        await adapter.complete(call(model=MODEL))
        await adapter.complete(call(model=MODEL))

    assert [request.path for request in vendor.asked].count("/token") == 1


async def test_a_token_that_has_ended_is_replaced():
    async with vertex() as (vendor, adapter):
        vendor.replies += [token("first", seconds=0), hello, token("second"), hello]

        await adapter.complete(call(model=MODEL))
        await adapter.complete(call(model=MODEL))

    bearers = [request.headers.get("authorization") for request in vendor.asked]
    assert bearers == [None, "Bearer first", None, "Bearer second"]


async def test_calls_at_once_wait_for_one_fetch():
    async with vertex() as (vendor, adapter):
        vendor.replies += [token(), hello, hello, hello]

        await asyncio.gather(*(adapter.complete(call(model=MODEL)) for _ in range(3)))

    assert [request.path for request in vendor.asked].count("/token") == 1


async def test_a_caller_who_leaves_does_not_keep_the_others_from_a_token():
    async with vertex() as (vendor, adapter):
        vendor.replies.append(Reply(200, {}, (), held=True))
        first = asyncio.create_task(adapter.complete(call(model=MODEL)))
        await vendor.heard.wait()
        vendor.replies += [token(), hello]
        second = asyncio.create_task(adapter.complete(call(model=MODEL)))
        first.cancel()

        answer = await second

    assert answer.parts
    assert first.cancelled()


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(400, {}, [b'{"error": "invalid_grant"}']), errors.ProviderCredentialRejected),
        (Reply(401, {}, []), errors.ProviderCredentialRejected),
        (Reply(429, {}, []), errors.ProviderRateLimited),
        (Reply(503, {}, [b"<html>"]), errors.ProviderUnavailable),
        (Reply(200, {}, [b"<html>"]), errors.ProviderProtocolError),
        (Reply(200, {}, [b'{"access_token": "a\\nb"}']), errors.ProviderProtocolError),
        (Reply(200, {}, [b'{"id_token": "x"}']), errors.ProviderProtocolError),
    ],
)
async def test_without_a_token_there_is_no_call(reply, kind):
    async with vertex() as (vendor, adapter):
        vendor.replies.append(reply)

        with pytest.raises(kind) as failure:
            await adapter.complete(call(model=MODEL))

    assert len(vendor.asked) == 1
    assert "PRIVATE" not in str(failure.value)


@pytest.mark.parametrize(
    "said",
    [
        file(private_key="not a key"),
        file(private_key=pem(ec.generate_private_key(ec.SECP256R1()))),
        file(type="authorized_user"),
        {"type": "service_account"},
        file(token_uri="https://evil.example/token"),
        file(token_uri="https://googleapis.com.evil.example/token"),
        file(token_uri="http://oauth2.googleapis.com/token"),
        file(token_uri="http://127.0.0.1:9/token"),
        file(token_uri="https://169.254.169.254/token"),
        file(token_uri="nonsense"),
    ],
)
async def test_a_file_that_is_not_googles_is_rejected_when_it_is_opened(said):
    with pytest.raises(errors.ProviderCredentialRejected) as failure:
        providers.connect("google", account(said), Egress())

    assert "PRIVATE" not in str(failure.value)


async def test_a_file_without_a_project_needs_one_in_the_settings():
    with pytest.raises(errors.InvalidField):
        providers.connect("google", account(file(project_id="")), Egress())


async def test_a_file_from_the_environment_is_known_by_its_form():
    given = Account("", {}, json.dumps(file()), SourceType.ENVIRONMENT_VARIABLE)

    adapter = providers.connect("google", given, Egress())

    assert adapter._endpoint.host == "aiplatform.googleapis.com"


async def test_what_is_no_json_is_no_service_account():
    given = Account("", {}, "AIzaKey", SourceType.SERVICE_ACCOUNT_JSON)

    with pytest.raises(errors.ProviderCredentialRejected):
        providers.connect("google", given, Egress())

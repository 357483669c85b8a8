"""Credentials, through the wire: secrets go in, and never come out."""

import json

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from llm_service.rpc.stubs import provider_admin_service_pb2 as pb
from llm_service.rpc.stubs.provider_pb2 import (
    AwsKey,
    Credential,
    Provider,
    RateLimits,
    SecretReference,
    WorkloadIdentity,
)
from tests.rpc.administered import as_text, refusal
from tests.rpc.credential_calls import (
    KEY,
    NAME,
    OTHER_KEY,
    admin_of_one_provider,
    created,
    got,
    rotated,
    stored_secrets,
    updated,
)

CODE = grpc.StatusCode


@pytest.fixture
async def admin(service):
    return await admin_of_one_provider(service)


async def test_a_created_credential_is_read_back_whole(admin):
    credential = await created(
        admin, api_key=KEY, weight=2, rate_limits=RateLimits(tokens_per_minute=5)
    )

    assert credential.name == NAME
    assert await got(admin) == credential
    assert credential.weight == 2
    assert credential.rate_limits.tokens_per_minute == 5


async def test_a_created_credential_shows_its_ends_only(service, admin):
    credential = await created(admin)

    assert credential.secret_set
    assert credential.obfuscated_secret == "sk-proj-...tail"
    assert credential.source_type == Credential.SOURCE_TYPE_API_KEY
    assert credential.state == Credential.STATE_ACTIVE
    assert credential.WhichOneof("source") is None
    assert await stored_secrets(service) == {"main": KEY}


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("short-key-of-19-chars", "...hars"),
        ("exactly-19-chars-xx", ""),
        ("k", ""),
        ("gsk_canary0123456789abcd", "gsk_...abcd"),
    ],
)
async def test_a_short_key_is_not_shown_at_all(admin, key, shown):
    assert (await created(admin, api_key=key)).obfuscated_secret == shown


async def test_no_answer_shows_a_secret_by_any_path(service, admin):
    shown = [
        await created(admin),
        await got(admin),
        await admin.ListCredentials(pb.ListCredentialsRequest(parent="tenants/acme/providers/one")),
        await rotated(admin, grace=60, api_key=OTHER_KEY),
        await updated(admin, Credential(name=NAME, display_name="x")),
        await admin.CheckProvider(pb.CheckProviderRequest(name="tenants/acme/providers/one")),
    ]

    assert "canary" not in "".join(map(as_text, shown))


@pytest.mark.parametrize(
    ("source", "named"),
    [
        pytest.param({}, "credential", id="none"),
        pytest.param({"api_key": ""}, "credential.api_key", id="empty"),
        pytest.param({"api_key": KEY + "\n"}, "credential.api_key", id="line-break"),
        pytest.param({"api_key": KEY + " "}, "credential.api_key", id="space"),
        pytest.param({"api_key": KEY + "é"}, "credential.api_key", id="non-ascii"),
        pytest.param({"api_key": KEY + "\x00"}, "credential.api_key", id="control"),
        pytest.param({"api_key": KEY * 200}, "credential.api_key", id="long"),
        pytest.param(
            {"aws_key": AwsKey(access_key_id="AKIAcanary", secret_access_key="canary")},
            "credential.aws_key",
            id="kind-takes-no-aws-key",
        ),
        pytest.param(
            {"service_account_json": '{"canary": 1}'},
            "credential.service_account_json",
            id="kind-takes-no-service-account",
        ),
        pytest.param(
            {"environment_variable": "HOME"}, "credential.environment_variable", id="forbidden"
        ),
        pytest.param(
            {"environment_variable": "NOT_THERE"}, "credential.environment_variable", id="unknown"
        ),
        pytest.param(
            {"secret_reference": SecretReference(store="vault", path="p")},
            "credential.secret_reference",
            id="no-store",
        ),
        pytest.param(
            {"workload_identity": WorkloadIdentity(audience="a")},
            "credential.workload_identity",
            id="no-workload-identity",
        ),
        pytest.param({"api_key": KEY, "weight": -1}, "credential.weight", id="weight"),
    ],
)
async def test_a_bad_credential_is_refused_without_a_word_of_it(admin, source, named):
    request = pb.CreateCredentialRequest(
        parent="tenants/acme/providers/one",
        credential_id="main",
        credential=Credential(**source),
    )

    refused = await refusal(admin.CreateCredential(request))

    assert refused.code is CODE.INVALID_ARGUMENT
    assert refused.fields == (named,)
    assert "canary" not in refused.text
    assert (await refusal(got(admin))).code is CODE.NOT_FOUND


async def test_an_unknown_and_a_forbidden_variable_are_refused_alike(admin):
    texts = [
        (await refusal(created(admin, environment_variable=name))).text
        for name in ("PATH", "NOT_THERE")
    ]

    assert "allow-list" in texts[0]
    assert "PATH" not in texts[0]


async def test_an_allowed_variable_is_named_and_its_value_is_not(service, admin):
    credential = await created(admin, environment_variable="OPENAI_API_KEY")

    assert credential.environment_variable == "OPENAI_API_KEY"
    assert credential.source_type == Credential.SOURCE_TYPE_ENVIRONMENT_VARIABLE
    assert not credential.secret_set
    assert credential.obfuscated_secret == ""
    assert "canary" not in as_text(credential)


async def test_a_keyless_kind_takes_no_credential(service):
    await service.admin.CreateProvider(
        pb.CreateProviderRequest(provider_id="echo", provider=Provider(kind="echo"))
    )

    refused = await refusal(
        service.admin.CreateCredential(
            pb.CreateCredentialRequest(
                parent="providers/echo", credential_id="main", credential=Credential(api_key=KEY)
            )
        )
    )

    assert refused.fields == ("credential.api_key",)


async def test_validating_only_keeps_no_secret(service, admin):
    shown = await created(admin, validate_only=True)

    assert shown.obfuscated_secret
    assert await stored_secrets(service) == {}


async def test_an_id_is_taken_once(admin):
    await created(admin)

    assert (await refusal(created(admin))).code is CODE.ALREADY_EXISTS
    assert (await refusal(created(admin, validate_only=True))).code is CODE.ALREADY_EXISTS


async def test_another_tenant_sees_no_credential(admin):
    await created(admin)

    refused = await refusal(got(admin, NAME.replace("acme", "other")))

    assert refused.code is CODE.NOT_FOUND
    assert refused.reason == "RESOURCE_NOT_FOUND"


async def test_an_update_leaves_the_secret_alone(service, admin):
    await created(admin)

    changed = await updated(
        admin, Credential(name=NAME, disabled=True, display_name="x"), "disabled"
    )

    assert changed.state == Credential.STATE_DISABLED
    assert changed.display_name == ""
    assert await stored_secrets(service) == {"main": KEY}


@pytest.mark.parametrize("paths", [(), ("api_key",), ("*",)])
async def test_an_update_does_not_take_a_secret(admin, paths):
    await created(admin)

    refused = await refusal(updated(admin, Credential(name=NAME, api_key=OTHER_KEY), *paths))

    assert refused.fields == ("credential.api_key",)
    assert "canary" not in refused.text


async def test_what_was_read_can_be_written_back(admin):
    credential = await created(admin, environment_variable="OPENAI_API_KEY")
    credential.display_name = "new"

    assert (await updated(admin, credential)).display_name == "new"

    credential.environment_variable = "OTHER"
    credential.etag = ""
    refused = await refusal(updated(admin, credential))
    assert refused.fields == ("credential.environment_variable",)


async def test_a_stale_etag_is_refused_everywhere(service, admin):
    etag = (await created(admin)).etag
    await updated(admin, Credential(name=NAME, display_name="theirs"))

    refusals = [
        await refusal(updated(admin, Credential(name=NAME, display_name="mine", etag=etag))),
        await refusal(rotated(admin, etag=etag, api_key=OTHER_KEY)),
        await refusal(admin.DeleteCredential(pb.DeleteCredentialRequest(name=NAME, etag=etag))),
    ]

    assert {(one.code, one.reason) for one in refusals} == {(CODE.ABORTED, "ETAG_MISMATCH")}
    assert await stored_secrets(service) == {"main": KEY}


async def test_an_expired_credential_says_so(admin):
    credential = await created(admin, api_key=KEY, expire_time=Timestamp(seconds=1_000_000))

    assert credential.state == Credential.STATE_EXPIRED


async def test_an_impossible_time_is_refused(admin):
    refused = await refusal(
        created(admin, api_key=KEY, expire_time=Timestamp(seconds=400_000_000_000))
    )

    assert refused.fields == ("credential.expire_time",)


async def test_deleting_destroys_at_once_and_clears_the_default(service, admin):
    await created(admin)
    await admin.UpdateProvider(
        pb.UpdateProviderRequest(
            provider=Provider(name="tenants/acme/providers/one", default_credential=NAME)
        )
    )

    await admin.DeleteCredential(pb.DeleteCredentialRequest(name=NAME))

    provider = await admin.GetProvider(pb.GetProviderRequest(name="tenants/acme/providers/one"))
    assert (await refusal(got(admin))).code is CODE.NOT_FOUND
    assert provider.provider.default_credential == ""
    assert await stored_secrets(service) == {}


async def test_deleting_what_is_missing_may_be_allowed(admin):
    request = pb.DeleteCredentialRequest(name=NAME)
    refused = await refusal(admin.DeleteCredential(request))
    request.allow_missing = True

    assert refused.code is CODE.NOT_FOUND
    assert await admin.DeleteCredential(request) == pb.DeleteCredentialResponse()


async def test_credentials_are_listed_in_pages_and_filtered(admin):
    for credential_id in ("a", "b", "c"):
        await created(admin, credential_id, api_key=KEY, disabled=credential_id == "b")
    request = pb.ListCredentialsRequest(
        parent="tenants/acme/providers/one",
        page_size=1,
        filter="disabled = false AND source_type = SOURCE_TYPE_API_KEY",
    )

    first = await admin.ListCredentials(request)
    request.page_token = first.next_page_token
    second = await admin.ListCredentials(request)

    names = [one.name.rpartition("/")[2] for one in (*first.credentials, *second.credentials)]
    assert names == ["a", "c"]
    assert second.next_page_token == ""


def test_an_aws_key_is_kept_as_one_text():
    from llm_service.rpc.convert.provider import to_source

    message = Credential(aws_key=AwsKey(access_key_id="AKIA1", secret_access_key="s"))

    source = to_source(message, "credential")

    assert json.loads(source.secret) == {
        "access_key_id": "AKIA1",
        "secret_access_key": "s",
        "session_token": "",
    }
    assert "AKIA1" not in repr(source)

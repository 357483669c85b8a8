"""A creation repeated under its request id has the first one's answer, and creates nothing more."""

from datetime import UTC, datetime, timedelta

import grpc
import pytest
from sqlalchemy import text

from llm_service.rpc.stubs import provider_admin_service_pb2 as pb
from llm_service.rpc.stubs.model_pb2 import Model
from llm_service.rpc.stubs.provider_pb2 import Credential, Provider
from tests.rpc.administered import refusal
from tests.rpc.provider_calls import KEY, created, credentials_of, got, updated

ID = "0199d2a8-7d2e-7c0a-8f4e-0000000000ab"
OTHER_ID = "0199d2a8-7d2e-7c0a-8f4e-0000000000ff"
CODE = grpc.StatusCode


def a_provider(provider_id="two", *, request_id=ID, key=KEY, parent=""):
    return pb.CreateProviderRequest(
        parent=parent,
        provider_id=provider_id,
        provider=Provider(kind="openai", labels={"b": "1", "a": "2"}),
        credential=Credential(api_key=key),
        request_id=request_id,
    )


def a_credential(**fields):
    return pb.CreateCredentialRequest(
        parent="providers/one",
        credential_id="main",
        credential=Credential(**(fields or {"api_key": KEY})),
        request_id=ID,
    )


def a_model(upstream="gpt-new"):
    return pb.CreateModelRequest(
        parent="providers/one",
        model_id="new",
        model=Model(provider_model=upstream),
        request_id=ID,
    )


CREATIONS = {
    "CreateProvider": (a_provider(), a_provider("three")),
    "CreateCredential": (a_credential(), a_credential(api_key=KEY + "-other")),
    "CreateModel": (a_model(), a_model("gpt-other")),
}


@pytest.mark.parametrize("method", CREATIONS)
async def test_the_same_request_again_has_the_same_answer(service, method):
    await created(service, kind="openai")
    request, _ = CREATIONS[method]

    first = await getattr(service.admin, method)(request)
    again = await getattr(service.admin, method)(request)

    assert again == first


@pytest.mark.parametrize("method", CREATIONS)
async def test_another_request_under_the_same_id_is_refused(service, method):
    await created(service, kind="openai")
    request, other = CREATIONS[method]
    await getattr(service.admin, method)(request)

    refused = await refusal(getattr(service.admin, method)(other))

    assert refused.code is CODE.INVALID_ARGUMENT
    assert refused.reason == "REQUEST_ID_REUSED"
    assert "canary" not in refused.text


async def test_an_answer_is_the_first_ones_even_if_the_resource_has_changed_or_gone(service):
    first = (await service.admin.CreateProvider(a_provider())).provider
    await updated(service, Provider(name=first.name, display_name="Other"))
    await service.admin.DeleteProvider(pb.DeleteProviderRequest(name=first.name))

    again = (await service.admin.CreateProvider(a_provider())).provider

    assert again == first
    assert (await got(service, first.name)).state == Provider.STATE_DELETED


async def test_a_request_id_is_one_tenants_and_one_methods(service):
    await service.admin.CreateProvider(a_provider("one"))

    other_tenant = await service.admin.CreateProvider(a_provider("one", parent="tenants/acme"))
    other_method = await service.admin.CreateCredential(a_credential())

    assert other_tenant.provider.name == "tenants/acme/providers/one"
    assert other_method.credential.name == "providers/one/credentials/main"


async def test_a_request_id_may_be_spelled_in_either_case(service):
    first = await service.admin.CreateProvider(a_provider())

    assert await service.admin.CreateProvider(a_provider(request_id=ID.upper())) == first


async def test_the_same_resource_under_another_request_id_exists_already(service):
    await service.admin.CreateProvider(a_provider())

    refused = await refusal(service.admin.CreateProvider(a_provider(request_id=OTHER_ID)))

    assert refused.reason == "ALREADY_EXISTS"


async def test_a_failed_creation_leaves_its_request_id_free(service):
    refused = await refusal(service.admin.CreateCredential(a_credential()))
    await created(service, kind="openai")

    answer = await service.admin.CreateCredential(a_credential())

    assert refused.reason == "RESOURCE_NOT_FOUND"
    assert answer.credential.state == Credential.STATE_ACTIVE


async def test_what_is_only_validated_does_not_use_the_request_id_up(service):
    request = a_provider()
    request.validate_only = True
    await service.admin.CreateProvider(request)

    await service.admin.CreateProvider(a_provider())

    assert len(await credentials_of(service, "providers/two")) == 1


async def test_a_request_id_is_a_uuid(service):
    zeros = "00000000-0000-0000-0000-000000000000"
    for method, (request, _) in CREATIONS.items():
        for request_id in ("once", ID.replace("-", ""), zeros, "{" + ID):
            wrong = type(request)()
            wrong.CopyFrom(request)
            wrong.request_id = request_id

            refused = await refusal(getattr(service.admin, method)(wrong))

            assert refused.reason == "INVALID_FIELD", request_id
            assert "request_id" in refused.fields


async def test_a_request_id_is_free_again_after_a_day(service):
    await service.admin.CreateProvider(a_provider())
    yesterday = datetime.now(UTC) - timedelta(hours=24, seconds=1)
    async with service.database.begin() as tx:
        await tx.creations._connection.execute(
            text("UPDATE creations SET create_time = :then"),
            {"then": yesterday.replace(tzinfo=None)},
        )

    answer = await service.admin.CreateProvider(a_provider("three"))

    assert answer.provider.name == "providers/three"


async def test_nothing_that_is_kept_of_a_request_holds_its_secret(service):
    await service.admin.CreateProvider(a_provider())

    async with service.database.read() as tx:
        found = await tx.creations._connection.execute(text("SELECT * FROM creations"))
        rows = found.all()

    assert len(rows) == 1
    assert "canary" not in str(rows)

"""A request id on the wire: what is kept for a repeat, and what tells two requests apart."""

import pytest

from llm_service.domain.creation import Repeated
from llm_service.rpc import repeats
from llm_service.rpc.stubs import provider_admin_service_pb2 as pb
from llm_service.rpc.stubs.provider_pb2 import Credential, Provider

ID = "0199d2a8-7d2e-7c0a-8f4e-0000000000ab"


def request(**fields):
    credential = Credential(api_key=fields.pop("key", "sk-canary"))
    return pb.CreateProviderRequest(
        **{"provider_id": "one", "request_id": ID, "credential": credential, **fields}
    )


async def creation_of(asked, tenant="acme"):
    seen = []

    async def create(once):
        seen.append(once)
        return "created"

    await repeats.answer_once(
        asked, tenant, pb.CreateProviderResponse, create=create, answer=answered
    )
    return seen[0].creation


def answered(created):
    return pb.CreateProviderResponse(provider=Provider(name=created, description="secret once"))


async def test_a_repeat_is_answered_with_what_was_kept_and_the_first_with_all_of_it():
    kept = []

    def named(created):
        return pb.CreateProviderResponse(provider=Provider(name=created))

    async def create(once):
        if kept:
            raise Repeated(kept[0])
        kept.append(once.keep("providers/one"))
        return "providers/one"

    answers = [
        await repeats.answer_once(
            request(),
            "acme",
            pb.CreateProviderResponse,
            create=create,
            answer=answered,
            keep=named,
        )
        for _ in range(2)
    ]

    assert answers == [answered("providers/one"), named("providers/one")]
    assert b"secret once" not in kept[0]


async def test_a_request_is_told_by_its_body_and_not_by_how_its_id_is_spelled():
    first = await creation_of(request())

    assert await creation_of(request(request_id=ID.upper())) == first
    for other in (request(provider_id="two"), request(key="sk-other")):
        assert (await creation_of(other)).body_digest != first.body_digest


async def test_equal_bodies_of_two_requests_have_nothing_in_common_to_compare():
    first = await creation_of(request())

    other_id = await creation_of(request(request_id=ID.replace("ab", "ff")))
    other_tenant = await creation_of(request(), tenant="other")

    assert len({one.body_digest for one in (first, other_id, other_tenant)}) == 3


@pytest.mark.parametrize("asked", [request(request_id=""), request(validate_only=True)])
async def test_without_an_id_or_a_creation_nothing_is_claimed(asked):
    assert await creation_of(asked) is None

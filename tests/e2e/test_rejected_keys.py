"""A key its vendor refuses gives way to another, is marked, and comes back when it works."""

import asyncio
import json

from llm_service.rpc.stubs import provider_admin_service_pb2 as admin_pb
from llm_service.rpc.stubs import provider_pb2
from tests.contract.vendor_server import Asked, Reply
from tests.e2e.service import asking

GOOD, BAD = "sk-good-0123456789abcdefghij", "sk-bad-0123456789abcdefghijk"
STATE = provider_pb2.Credential.State


def by_key(accepted: set[str]):
    def reply(asked: Asked) -> Reply:
        if asked.headers["authorization"].removeprefix("Bearer ") not in accepted:
            error = {"message": "no", "type": "invalid_request_error", "code": "invalid_api_key"}
            return Reply(401, {}, [json.dumps({"error": error}).encode()])
        answer = {
            "id": "c",
            "model": "m",
            "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1},
        }
        return Reply(pieces=[json.dumps(answer).encode()])

    return reply


async def state(service, name: str) -> STATE.ValueType:
    found = await service.admin.GetCredential(admin_pb.GetCredentialRequest(name=name))
    return found.credential.state


async def becomes(service, name: str, wanted: STATE.ValueType) -> None:
    async with asyncio.timeout(20):
        while await state(service, name) != wanted:
            pass


async def until_keys_are(service, ask, wanted: list[str]) -> None:
    """Calls read a snapshot, which follows the database at a short distance."""
    async with asyncio.timeout(20):
        while True:
            completion = (await service.completions.Complete(ask, timeout=20)).completion
            if [attempt.target.credential for attempt in completion.attempts] == wanted:
                return


async def test_a_refused_key_gives_way_and_is_marked_until_it_works_again(service, vendor):
    await service.add_provider("pool", vendor.base_uri, key=BAD)
    bad, good = (f"providers/pool/credentials/{name}" for name in ("default", "spare"))
    await service.admin.CreateCredential(
        admin_pb.CreateCredentialRequest(
            parent="providers/pool",
            credential_id="spare",
            credential=provider_pb2.Credential(api_key=GOOD, weight=0),
        )
    )
    ask = asking("providers/pool/models/m", "hi")
    vendor.replies += [by_key({GOOD})] * 1000

    first = (await service.completions.Complete(ask, timeout=20)).completion
    await becomes(service, bad, STATE.STATE_REJECTED)

    assert [a.target.credential for a in first.attempts] == [bad, good]
    await until_keys_are(service, ask, [good])

    # The only key that is left is tried although it is marked, and the mark goes when it works.
    await service.admin.DeleteCredential(admin_pb.DeleteCredentialRequest(name=good))
    vendor.replies[:] = [by_key({GOOD, BAD})] * 1000
    await until_keys_are(service, ask, [bad])
    await becomes(service, bad, STATE.STATE_ACTIVE)

"""Every kind as an operator sets it up and a backend calls it: over gRPC, to its vendor's wire."""

import sys
from pathlib import Path

import pytest

from llm_service.rpc.stubs import completion_pb2 as pb
from llm_service.rpc.stubs import provider_admin_service_pb2 as admin_pb
from llm_service.rpc.stubs import provider_pb2
from tests.e2e.service import asking

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
from every_vendor import AWS_KEY, KINDS
from fakes.said import Said
from vendor_server import vendor_server

SAID = Said(text="Góðan daginn 👋")


def credential_of(kind):
    if kind.secret == AWS_KEY:
        return provider_pb2.Credential(
            aws_key=provider_pb2.AwsKey(access_key_id="AKIDEXAMPLE", secret_access_key="secret/key")
        )
    return provider_pb2.Credential(api_key=kind.secret)


async def created(service, kind, vendor) -> str:
    provider_id = f"kind-{kind.label}".replace(" ", "-").lower()
    await service.admin.CreateProvider(
        admin_pb.CreateProviderRequest(
            provider_id=provider_id,
            provider=provider_pb2.Provider(
                kind=kind.name,
                base_uri=f"http://127.0.0.1:{vendor.port}{kind.path}",
                settings=kind.settings,
            ),
            credential=credential_of(kind),
        )
    )
    return f"providers/{provider_id}/models/{kind.model}"


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
async def test_a_kind_answers_whole_and_streamed_and_leaves_its_rows(service, kind):
    async with vendor_server() as vendor:
        model = await created(service, kind, vendor)
        vendor.replies.append(lambda asked: kind.fake.answer(SAID, asked))
        vendor.replies.append(lambda asked: kind.fake.stream(SAID, asked))

        whole = (await service.completions.Complete(asking(model), timeout=20)).completion
        call = service.completions.StreamComplete(asking(model), timeout=20)
        events = [event async for event in call]

        for request in vendor.asked:
            kind.fake.check(request)
    streamed = "".join(event.part_delta.text for event in events)
    finished = events[-1].finished
    assert [part.text for part in whole.message.parts] == [SAID.text] == [streamed]
    assert whole.finish_reason == finished.finish_reason == pb.FINISH_REASON_STOP
    assert whole.usage == finished.usage
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (11, 7)
    rows = [*await service.records(whole.id), *await service.records(events[0].started.id)]
    assert [row.attempt.usage for row in rows] == [whole.usage, whole.usage]
    assert {row.attempt.target.model for row in rows} == {whole.served_by.model}

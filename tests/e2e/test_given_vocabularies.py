"""Streams that break off are counted by the vocabularies an operator gives."""

import json

import grpc
import pytest

from llm_service import bootstrap
from llm_service.rpc.stubs import usage_service_pb2 as pb
from tests.contract.recordings import sse
from tests.contract.vendor_server import Reply
from tests.e2e.process import serving
from tests.e2e.service import asking, settings_in
from tests.e2e.test_told import the_row
from tests.vocabulary_files import given_in

MODEL = "providers/own/models/Qwen/Qwen3-32B"
WORDS = ["warm", " light", " fell", " on", " every", " old", " house"]
TOKENS = 2 + 2 + 2 + 1 + 2 + 1 + 2  # of three letters at most; OpenAI's vocabulary has seven


def says(word: str) -> bytes:
    chunk = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": word}}]}
    return json.dumps(chunk).encode()


async def test_a_stream_that_the_vendor_cuts_is_settled_by_the_vocabulary_given(tmp_path, vendor):
    file = given_in(tmp_path, "*/Qwen/*")
    pieces = [sse([says(word)], done=False) for word in WORDS]
    vendor.replies.append(Reply(200, {"content-type": "text/event-stream"}, pieces, cut=True))
    async with serving(tmp_path, LLM_VOCABULARIES_FILE=str(file)) as running:
        await running.service.add_provider("own", vendor.base_uri)
        with pytest.raises(grpc.aio.AioRpcError):
            async for _ in running.service.completions.StreamComplete(asking(MODEL)):
                pass

        row = await the_row(running.service)

    assert row.attempt.usage.output_tokens == TOKENS
    assert row.usage_source == pb.UsageRecord.USAGE_SOURCE_ESTIMATE


@pytest.mark.parametrize(
    ("patterns", "why"),
    [
        (["qwen3*"], r"LLM_VOCABULARIES_FILE: .*\"qwen3\*\" begins with no kind of provider"),
        ([], "LLM_VOCABULARIES_FILE: .*No such file"),
    ],
)
async def test_vocabularies_that_cannot_be_used_keep_the_service_from_starting(
    data_folder, tmp_path, patterns, why
):
    file = given_in(tmp_path, *patterns) if patterns else tmp_path / "away.json"

    with pytest.raises(bootstrap.CannotStart, match=why):
        async with bootstrap.application(
            settings_in(data_folder, {"LLM_VOCABULARIES_FILE": str(file)})
        ):
            pass

"""Messages and parts keep everything they hold on their way in and out; bad ones are named."""

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from llm_service.domain.content import (
    AlternativeToken,
    CacheControl,
    Citation,
    Media,
    Message,
    Modality,
    Part,
    ProviderState,
    Refusal,
    Resolution,
    Role,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    ToolResult,
)
from llm_service.rpc.convert.checks import Checks
from llm_service.rpc.convert.content import fill_message, from_part, to_message, to_part
from llm_service.rpc.stubs import content_pb2 as pb
from tests.unit.refused import refused

KINDS_OF_MEDIA = ("image", "audio", "video", "document")
SMALL = st.text(max_size=8)
FILLED = st.text(min_size=1, max_size=8)
NAMES = st.from_regex(r"[A-Za-z0-9_.-]{1,16}", fullmatch=True)
SOURCES = st.one_of(
    st.builds(lambda data: {"data": data}, st.binary(min_size=1, max_size=8)),
    st.builds(lambda host: {"uri": f"https://{host}"}, NAMES),
    st.builds(lambda file_id: {"file_id": file_id}, FILLED),
)
MEDIA = st.builds(
    lambda kind, source, name, resolution: Media(
        Modality(kind),
        **source,
        mime_type="image/png",
        display_name=name,
        resolution=resolution,
    ),
    st.sampled_from(KINDS_OF_MEDIA),
    SOURCES,
    SMALL,
    st.none() | st.sampled_from(Resolution),
)
PLAIN = (
    st.builds(Text, SMALL)
    | st.builds(Refusal, SMALL)
    | st.builds(Thinking, SMALL, st.booleans())
    | MEDIA
)
CITATIONS = st.builds(
    Citation, SMALL, SMALL, SMALL, st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1)
)


def parts(contents):
    return st.builds(
        Part,
        contents,
        st.none() | st.builds(CacheControl, st.none() | st.integers(1, 86_400).map(float)),
        st.none() | st.builds(ProviderState, SMALL, st.binary(max_size=8)),
        st.lists(CITATIONS, max_size=2).map(tuple),
    )


CALLS = st.builds(ToolCall, FILLED, NAMES, SMALL, st.booleans())
RESULTS = st.builds(
    ToolResult, FILLED, SMALL, st.lists(parts(PLAIN), max_size=2).map(tuple), st.booleans()
)
PARTS = parts(PLAIN | CALLS | RESULTS)
MESSAGES = st.builds(
    Message, st.sampled_from(Role), st.lists(PARTS, min_size=1, max_size=3).map(tuple), SMALL
)


@given(MESSAGES)
def test_a_message_comes_back_from_its_message(message):
    checks = Checks()

    sent = pb.Message()
    fill_message(sent, message)
    back = to_message(sent, "messages[0]", checks)

    assert back == message
    assert refused(checks) == {}


def test_an_empty_part_of_each_kind_keeps_its_kind():
    for content in (Text(""), Refusal(""), Thinking("")):
        assert to_part(from_part(Part(content)), "p", Checks()) == Part(content)


def test_a_cache_mark_without_a_length_is_not_a_missing_one():
    marked = from_part(Part(Text("a"), CacheControl()))

    assert marked.HasField("cache_control")
    assert not marked.cache_control.HasField("ttl")
    assert not from_part(Part(Text("a"))).HasField("cache_control")


def test_log_probabilities_go_out_with_their_alternatives():
    other = AlternativeToken("ho", -2.5, b"ho")
    part = Part(Text("hi"), logprobs=(TokenLogprob("hi", -0.5, b"hi", (other,)),))

    message = from_part(part)

    assert list(message.logprobs) == [
        pb.TokenLogprob(
            token="hi",
            logprob=-0.5,
            token_bytes=b"hi",
            alternatives=[pb.AlternativeToken(token="ho", logprob=-2.5, token_bytes=b"ho")],
        )
    ]


def test_log_probabilities_sent_back_in_are_left_out():
    message = pb.ContentPart(text="hi", logprobs=[pb.TokenLogprob(token="hi")])

    assert to_part(message, "p", Checks()) == Part(Text("hi"))


@pytest.mark.parametrize("kind", KINDS_OF_MEDIA)
def test_each_kind_of_media_has_its_own_field(kind):
    message = from_part(Part(Media(Modality(kind), file_id="f-1")))

    assert message.WhichOneof("part") == kind
    assert getattr(message, kind).file_id == "f-1"


def test_media_without_a_source_go_out_without_one():
    audio = from_part(Part(Media(Modality.AUDIO, mime_type="audio/wav"))).audio

    assert audio.WhichOneof("source") is None
    assert audio.mime_type == "audio/wav"


def test_a_role_nobody_knows_and_a_message_without_parts_are_refused():
    checks = Checks()

    to_message(pb.Message(role=99), "messages[3]", checks)

    assert list(refused(checks)) == ["messages[3].role", "messages[3].parts"]


@pytest.mark.parametrize(
    ("part", "path"),
    [
        pytest.param(pb.ContentPart(), "p", id="nothing"),
        pytest.param(pb.ContentPart(image=pb.Media()), "p.image", id="no source"),
        pytest.param(
            pb.ContentPart(image=pb.Media(data=b"", mime_type="image/png")),
            "p.image.data",
            id="empty data",
        ),
        pytest.param(pb.ContentPart(audio=pb.Media(uri="")), "p.audio.uri", id="empty uri"),
        pytest.param(
            pb.ContentPart(video=pb.Media(file_id="")), "p.video.file_id", id="empty file id"
        ),
        pytest.param(
            pb.ContentPart(image=pb.Media(data=b"x")), "p.image.mime_type", id="no media type"
        ),
        pytest.param(
            pb.ContentPart(image=pb.Media(data=b"x", mime_type="png")),
            "p.image.mime_type",
            id="half a media type",
        ),
        pytest.param(
            pb.ContentPart(document=pb.Media(uri="file:///etc/passwd")),
            "p.document.uri",
            id="a scheme that is not taken",
        ),
        pytest.param(
            pb.ContentPart(image=pb.Media(uri="https://a b")), "p.image.uri", id="a space"
        ),
        pytest.param(
            pb.ContentPart(image=pb.Media(file_id="f", resolution=99)),
            "p.image.resolution",
            id="resolution",
        ),
        pytest.param(
            pb.ContentPart(tool_call=pb.ToolCall(name="f")), "p.tool_call.id", id="call without id"
        ),
        pytest.param(
            pb.ContentPart(tool_call=pb.ToolCall(id="1", name="no spaces")),
            "p.tool_call.name",
            id="call with a bad name",
        ),
        pytest.param(
            pb.ContentPart(tool_result=pb.ToolResult()),
            "p.tool_result.tool_call_id",
            id="result of nothing",
        ),
        pytest.param(
            pb.ContentPart(
                tool_result=pb.ToolResult(
                    tool_call_id="1",
                    content=[
                        pb.ContentPart(text="fine"),
                        pb.ContentPart(tool_call=pb.ToolCall(id="2", name="f")),
                    ],
                )
            ),
            "p.tool_result.content[1]",
            id="a call in a result",
        ),
        pytest.param(
            pb.ContentPart(
                tool_result=pb.ToolResult(
                    tool_call_id="1",
                    content=[pb.ContentPart(tool_result=pb.ToolResult(tool_call_id="2"))],
                )
            ),
            "p.tool_result.content[0]",
            id="a result in a result",
        ),
        pytest.param(
            pb.ContentPart(
                tool_result=pb.ToolResult(
                    tool_call_id="1", content=[pb.ContentPart(image=pb.Media())]
                )
            ),
            "p.tool_result.content[0].image",
            id="a bad part in a result",
        ),
        pytest.param(
            pb.ContentPart(text="a", cache_control=pb.CacheControl(ttl=Duration())),
            "p.cache_control.ttl",
            id="cached for no time",
        ),
        pytest.param(
            pb.ContentPart(text="a", cache_control=pb.CacheControl(ttl=Duration(seconds=86_401))),
            "p.cache_control.ttl",
            id="cached for too long",
        ),
    ],
)
def test_a_bad_part_is_named(part, path):
    checks = Checks()

    to_part(part, "p", checks)

    assert list(refused(checks)) == [path]

"""Conversations the contract can express, as hypothesis draws them."""

from hypothesis import strategies as st

from llm_service.domain.content import (
    CacheControl,
    Citation,
    Media,
    Message,
    Modality,
    Part,
    ProviderState,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)

WORDS = st.text(min_size=1, max_size=20)
PICTURES = st.sampled_from(
    [
        Media(Modality.IMAGE, data=b"\x89PNG\r\n", mime_type="image/png"),
        Media(Modality.IMAGE, uri="https://images.example/a.png", mime_type="image/png"),
        Media(Modality.IMAGE, file_id="file-1"),
        Media(
            Modality.DOCUMENT, data=b"%PDF-1.7", mime_type="application/pdf", display_name="a.pdf"
        ),
        Media(
            Modality.DOCUMENT, uri="https://documents.example/a.pdf", mime_type="application/pdf"
        ),
        Media(Modality.AUDIO, data=b"RIFF", mime_type="audio/wav"),
        Media(Modality.VIDEO, data=b"\x00\x00", mime_type="video/mp4"),
        Media(Modality.VIDEO, uri="https://films.example/a.mp4", mime_type="video/mp4"),
    ]
)
STATES = st.one_of(
    st.none(),
    st.builds(
        ProviderState,
        st.sampled_from(["anthropic", "google", "openai", "bedrock", "nobody"]),
        st.sampled_from([b"", b"not json", b"{}", b"[]", b'{"signature":"c2ln"}', b'{"item":{}}']),
    ),
)
MARKS = st.one_of(st.none(), st.builds(CacheControl, st.sampled_from([None, 300.0, 3600.0])))
ARGUMENTS = st.sampled_from(
    ["", "{}", '{"a": 1}', '{"a": "é\\n"}', '{"a": [1, {"b": null}]', "no json", "[]"]
)
NAMES = st.sampled_from(["weather", "time", "look_up-2"])
IDS = st.one_of(
    st.uuids().map(str),
    st.integers(0, 10**9).map(lambda n: f"call_{n}"),
    st.just("toolu/weird id!"),
)


def texts():
    return st.builds(
        Part,
        st.builds(Text, st.one_of(WORDS, st.sampled_from(["", " ", "\n"]))),
        cache_control=MARKS,
        citations=st.sampled_from([(), (Citation(uri="https://a.example", cited_text="a"),)]),
    )


@st.composite
def conversations(draw):
    """Turns in any order, where every tool result answers a call of the turn before."""
    messages = []
    used = set()
    if draw(st.booleans()):
        messages.append(
            Message(Role.SYSTEM, tuple(draw(st.lists(texts(), min_size=1, max_size=2))))
        )
    for _ in range(draw(st.integers(1, 4))):
        speaker = draw(st.sampled_from(["user", "assistant", "calls", "system"]))
        if speaker == "calls":
            messages += draw(_calls_and_results(used))
        elif speaker == "assistant":
            messages.append(draw(_assistant()))
        elif speaker == "system":
            messages.append(Message(Role.SYSTEM, (draw(texts()),)))
        else:
            messages.append(draw(_user()))
    if draw(st.booleans()):
        messages.append(draw(_user()))
    return tuple(messages)


@st.composite
def _user(draw):
    pictures = st.builds(Part, PICTURES, cache_control=MARKS)
    parts = draw(st.lists(st.one_of(texts(), texts(), pictures), min_size=1, max_size=3))
    return Message(Role.USER, tuple(parts), draw(st.sampled_from(["", "", "Ada"])))


@st.composite
def _assistant(draw):
    said = st.one_of(
        texts(),
        st.builds(Part, st.builds(Thinking, WORDS, st.booleans()), provider_state=STATES),
        st.builds(Part, st.builds(Refusal, WORDS)),
        st.builds(Part, st.just(Text("")), provider_state=STATES),
        st.builds(
            Part,
            st.builds(
                ToolCall, IDS, st.just("web_search"), ARGUMENTS, server_side=st.just(value=True)
            ),
            provider_state=STATES,
        ),
    )
    return Message(Role.ASSISTANT, tuple(draw(st.lists(said, min_size=1, max_size=3))))


@st.composite
def _calls_and_results(draw, used: set):
    ids = draw(st.lists(IDS.filter(lambda i: i not in used), min_size=1, max_size=3, unique=True))
    used.update(ids)
    calls = [ToolCall(call_id, draw(NAMES), draw(ARGUMENTS)) for call_id in ids]
    before = draw(st.lists(texts(), max_size=1))
    content = st.lists(
        st.one_of(
            texts(), st.builds(Part, PICTURES.filter(lambda p: p.modality is Modality.IMAGE))
        ),
        max_size=2,
    )
    results = [
        Part(
            ToolResult(
                call.id,
                draw(st.sampled_from([call.name, ""])),
                tuple(draw(content)),
                draw(st.booleans()),
            )
        )
        for call in calls
    ]
    asked = Message(
        Role.ASSISTANT, (*before, *(Part(call, provider_state=draw(STATES)) for call in calls))
    )
    if draw(st.booleans()):
        return [asked, Message(Role.TOOL, tuple(results))]
    return [asked, *(Message(Role.TOOL, (result,)) for result in results)]

"""However a stream is cut into events, it folds to the parts it spells."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.domain.assembly import Assembly
from llm_service.domain.completion import (
    AudioDelta,
    CitationDelta,
    DeltaKind,
    PartDelta,
    PartFinished,
    PartStarted,
)
from llm_service.domain.content import (
    Citation,
    Media,
    Modality,
    Part,
    ProviderState,
    Refusal,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    ToolResult,
)

GROWING = [
    pytest.param(Text, DeltaKind.TEXT, id="text"),
    pytest.param(Refusal, DeltaKind.REFUSAL, id="refusal"),
    pytest.param(lambda text: Thinking(text, redacted=True), DeltaKind.THINKING, id="thinking"),
    pytest.param(
        lambda text: ToolCall("t-1", "weather", text, server_side=True),
        DeltaKind.ARGUMENTS_JSON,
        id="tool call",
    ),
]


def folded(*events) -> tuple[Part, ...]:
    assembly = Assembly()
    for event in events:
        assembly.add(event)
    return assembly.parts()


def pieces(whole, cuts):
    """`whole` cut at the given places, in order."""
    places = sorted(min(cut, len(whole)) for cut in cuts)
    return [whole[a:b] for a, b in itertools.pairwise([0, *places, len(whole)])]


CUTS = st.lists(st.integers(0, 40), max_size=6)


@pytest.mark.parametrize(("content", "kind"), GROWING)
@given(text=st.text(max_size=40), cuts=CUTS)
def test_any_split_of_a_text_folds_to_the_same_part(content, kind, text, cuts):
    first, *rest = pieces(text, cuts)

    found = folded(
        PartStarted(0, Part(content(first))),
        *(PartDelta(0, kind, piece) for piece in rest),
        PartFinished(0),
    )

    assert found == (Part(content(text)),)


@given(data=st.binary(max_size=40), cuts=CUTS)
def test_any_split_of_a_sound_folds_to_the_same_part(data, cuts):
    first, *rest = pieces(data, cuts)
    begun = Media(Modality.AUDIO, first, mime_type="audio/wav")

    found = folded(PartStarted(0, Part(begun)), *(AudioDelta(0, piece) for piece in rest))

    assert found == (Part(Media(Modality.AUDIO, data, mime_type="audio/wav")),)


def test_a_sound_that_begins_with_nothing_grows_all_the_same():
    begun = Part(Media(Modality.AUDIO))

    (part,) = folded(PartStarted(0, begun), AudioDelta(0, b"a"), AudioDelta(0, b"b"))

    assert part.content.data == b"ab"


@given(st.permutations(range(4)), st.text(max_size=20))
def test_parts_stand_in_the_order_of_their_indexes(order, text):
    starts = [PartStarted(index, Part(Text(f"{index}:"))) for index in order]
    deltas = [PartDelta(index, DeltaKind.TEXT, c) for c in text for index in order]

    found = folded(*starts, *deltas)

    assert found == tuple(Part(Text(f"{index}:{text}")) for index in range(4))


def test_log_probabilities_and_citations_add_up_in_order():
    logprobs = [TokenLogprob(str(n), -n) for n in range(3)]
    citations = [Citation(str(n)) for n in range(3)]
    begun = Part(Text(""), citations=(citations[0],), logprobs=(logprobs[0],))

    (part,) = folded(
        PartStarted(0, begun),
        PartDelta(0, DeltaKind.TEXT, "a", (logprobs[1],)),
        CitationDelta(0, citations[1]),
        PartDelta(0, DeltaKind.TEXT, "b", (logprobs[2],)),
        CitationDelta(0, citations[2]),
    )

    assert part == Part(Text("ab"), citations=tuple(citations), logprobs=tuple(logprobs))


@pytest.mark.parametrize(
    ("begun", "ended", "expected"),
    [(None, None, None), (b"a", None, b"a"), (None, b"b", b"b"), (b"a", b"b", b"b")],
)
def test_the_last_provider_state_stands(begun, ended, expected):
    def state(data):
        return None if data is None else ProviderState("openai", data)

    (part,) = folded(
        PartStarted(0, Part(Text("a"), provider_state=state(begun))), PartFinished(0, state(ended))
    )

    assert part.provider_state == state(expected)


def test_a_part_that_comes_whole_stays_as_it_is():
    result = ToolResult("t-1", "search", (Part(Text("found")),))

    assert folded(PartStarted(0, Part(result)), PartFinished(0)) == (Part(result),)


def test_nothing_folds_to_nothing():
    assert folded() == ()


def test_what_is_there_so_far_can_be_read_before_the_end():
    assembly = Assembly()
    assembly.add(PartStarted(0, Part(Text("a"))))
    before = assembly.parts()

    assembly.add(PartDelta(0, DeltaKind.TEXT, "b"))

    assert before == (Part(Text("a")),)
    assert assembly.parts() == (Part(Text("ab")),)

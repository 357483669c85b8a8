"""Usage in streams of Chat Completions: what of it is believed."""

import pytest
from chunks import TEXT, finish, usage
from reading import decoder, read_chunks
from recordings import sse

from llm_service.domain.completion import ModalityTokens, TokenUsage, UsageUpdate
from llm_service.domain.content import Modality


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        pytest.param(
            [
                usage(prompt_tokens=1, completion_tokens=1),
                usage(prompt_tokens=7, completion_tokens=9),
            ],
            TokenUsage(7, 9),
            id="the last count stands, nothing is added",
        ),
        pytest.param(
            [
                usage(prompt_tokens=7, completion_tokens=9),
                usage(prompt_tokens=-1, completion_tokens=3),
            ],
            TokenUsage(7, 9),
            id="a negative count was not said",
        ),
        pytest.param([usage(prompt_tokens=1.5, completion_tokens=3)], None, id="a broken count"),
        pytest.param([usage(prompt_tokens=2**31, completion_tokens=3)], None, id="an absurd count"),
        pytest.param([usage(prompt_tokens="7", completion_tokens=3)], None, id="no number"),
        pytest.param([usage(prompt_tokens=True, completion_tokens=3)], None, id="a truth value"),
        pytest.param([usage(prompt_tokens=7)], None, id="half of it"),
        pytest.param([usage(prompt_tokens=7.0, completion_tokens=3)], TokenUsage(7, 3), id="7.0"),
        pytest.param(
            [usage(prompt_tokens=7, completion_tokens=3, prompt_cache_hit_tokens=4)],
            TokenUsage(7, 3, cache_read_input_tokens=4),
            id="DeepSeek's cache",
        ),
        pytest.param(
            [
                usage(
                    prompt_tokens=7,
                    completion_tokens=3,
                    prompt_tokens_details={"cached_tokens": 9, "audio_tokens": 2},
                    completion_tokens_details={"reasoning_tokens": -4, "audio_tokens": 1},
                )
            ],
            TokenUsage(7, 3, modality_tokens=(ModalityTokens(Modality.AUDIO, 2, 1),)),
            id="a subset is no larger than the whole",
        ),
        pytest.param(
            [
                usage(
                    prompt_tokens=7,
                    completion_tokens=3,
                    total_tokens=30,
                    completion_tokens_details={"reasoning_tokens": 20},
                )
            ],
            TokenUsage(7, 23, reasoning_output_tokens=20),
            id="totals include reasoning also where the vendor's do not",
        ),
        pytest.param(
            [finish("stop", usage={"prompt_tokens": 7, "completion_tokens": 3})],
            TokenUsage(7, 3),
            id="inside the choice",
        ),
        pytest.param(
            [b'{"choices":[],"x_groq":{"usage":{"prompt_tokens":7,"completion_tokens":3}}}'],
            TokenUsage(7, 3),
            id="inside x_groq",
        ),
    ],
)
def test_usage_is_what_the_vendor_said_last_and_believably(chunks, expected):
    assert read_chunks(TEXT, finish(), *chunks).usage == expected


def test_usage_is_known_before_the_end_should_there_be_none():
    reader = decoder()

    events = reader.feed(sse([TEXT, usage(prompt_tokens=7, completion_tokens=3)], done=False))

    assert events[-1] == UsageUpdate(TokenUsage(7, 3))

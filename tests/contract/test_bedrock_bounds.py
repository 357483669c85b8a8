"""What Converse takes only so much of, and signatures in very many pieces."""

import json

import pytest
from bedrock_bodies import asked, body, warnings
from bedrock_wire import delta, ended, read, stop
from growth import in_linear_time

from llm_service.domain.completion import GenerationParams, Reasoning
from llm_service.domain.content import CacheControl, Message, Part, Role, Text
from llm_service.providers.fold import fold

SONNET_37 = "anthropic.claude-3-7-sonnet-20250219-v1:0"


def test_a_fifth_cache_point_is_left_out_and_said():
    parts = tuple(Part(Text(f"{number}"), cache_control=CacheControl()) for number in range(5))
    made = asked(Message(Role.SYSTEM, parts[:2]), Message(Role.USER, parts[2:]))

    sent = body(made)

    points = [b for b in (*sent["system"], *sent["messages"][0]["content"]) if "cachePoint" in b]
    assert len(points) == 4
    assert warnings(made) == [("CONTENT_DROPPED", "messages[1].parts[2]")]


@pytest.mark.parametrize(("budget", "sent"), [(100, 1024), (9000, 3999)])
def test_a_budget_out_of_bounds_is_the_nearest_that_is_taken_and_that_is_said(budget, sent):
    params = GenerationParams(reasoning=Reasoning(budget_tokens=budget), max_output_tokens=4000)
    made = asked(model=SONNET_37, params=params)

    fields = body(made)["additionalModelRequestFields"]

    assert fields["thinking"] == {"type": "enabled", "budget_tokens": sent}
    assert warnings(made) == [("PARAMETER_DROPPED", "params.reasoning.budget_tokens")]


def test_a_budget_without_room_for_the_least_is_dropped():
    params = GenerationParams(reasoning=Reasoning(budget_tokens=2000), max_output_tokens=1000)
    made = asked(model=SONNET_37, params=params)

    assert "additionalModelRequestFields" not in body(made)
    assert warnings(made) == [("PARAMETER_DROPPED", "params.reasoning.budget_tokens")]


def test_a_signature_in_very_many_pieces_is_whole_and_takes_linear_time():
    piece = delta(0, reasoningContent={"signature": "x" * 200})

    def stream(count: int) -> list[bytes]:
        return [
            delta(0, reasoningContent={"text": "Hm"}),
            *[piece] * count,
            stop(0),
            *ended(),
        ]

    [part] = in_linear_time(stream, lambda pieces: fold(read(pieces)), 3000).parts

    said = json.loads(part.provider_state.data)
    assert said["thinking"]["signature"] == "x" * 2_400_000

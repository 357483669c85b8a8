"""Checks collect every violation and raise them as one."""

import re

import pytest
from google.protobuf.duration_pb2 import Duration

from llm_service.errors import InvalidField
from llm_service.rpc.convert.checks import Checks, given
from llm_service.rpc.convert.times import to_duration
from llm_service.rpc.stubs import generation_pb2
from tests.unit.refused import refused


def test_nothing_refused_raises_nothing():
    checks = Checks()

    checks.between("a", 1, 0, 1)
    checks.at_most("b", [1, 2], 2)
    checks.matches("c", "ab", re.compile("[ab]+"))
    checks.json("d", "{}")
    checks.json("e", "[1]", list)

    checks.done()


def test_everything_refused_is_named_at_once_under_the_prefix():
    checks = Checks("completion.")
    checks.refuse("a", "is wrong")
    checks.refuse("b", "is wrong too")

    with pytest.raises(InvalidField) as failure:
        checks.done()

    assert [v.field for v in failure.value.violations] == ["completion.a", "completion.b"]
    assert str(failure.value) == "completion.a: is wrong; completion.b: is wrong too"


@pytest.mark.parametrize("value", [-0.001, 2.001, float("nan"), float("inf"), float("-inf")])
def test_a_number_outside_its_range_is_refused(value):
    checks = Checks()

    checks.between("temperature", value, 0, 2)

    assert refused(checks) == {"temperature": "must be between 0 and 2"}


def test_too_many_entries_are_counted():
    checks = Checks()

    checks.at_most("tools", [1, 2, 3], 2)

    assert refused(checks) == {"tools": "has 3 entries; at most 2 are taken"}


def test_a_pattern_holds_for_the_whole_text():
    checks = Checks()

    checks.matches("id", "ab\n", re.compile("[ab]+"))

    assert list(refused(checks)) == ["id"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("{", id="unfinished"),
        pytest.param("{'a': 1}", id="python"),
        pytest.param('{"a": NaN}', id="nan"),
        pytest.param('{"a": -Infinity}', id="infinity"),
        pytest.param('{"a":' * 100_000, id="deeper than any stack"),
    ],
)
def test_text_that_is_not_json_is_refused_without_repeating_it(text):
    checks = Checks()

    checks.json("schema_json", text)

    assert refused(checks) == {"schema_json": "is not valid JSON"}


@pytest.mark.parametrize("text", ["[]", "1", '"a"', "null", "true"])
def test_json_of_another_kind_is_refused(text):
    checks = Checks()

    checks.json("schema_json", text)

    assert refused(checks) == {"schema_json": "must be a JSON object"}


@pytest.mark.parametrize("seconds", [0.000001, 1, 600])
def test_a_duration_within_its_limit_is_seconds(seconds):
    checks = Checks()

    found = checks.positive_duration("timeout", to_duration(seconds), 600)

    assert found == pytest.approx(seconds)
    checks.done()


@pytest.mark.parametrize(
    "duration", [Duration(), Duration(seconds=-1), Duration(seconds=600, nanos=1)]
)
def test_a_duration_beyond_its_limit_is_refused(duration):
    checks = Checks()

    checks.positive_duration("timeout", duration, 600)

    assert refused(checks) == {"timeout": "must be above 0s and at most 600s"}


def test_a_field_that_is_set_to_zero_is_given_and_an_unset_one_is_not():
    message = generation_pb2.GenerationParams(seed=0)

    assert given(message, "seed") == 0
    assert given(message, "top_k") is None

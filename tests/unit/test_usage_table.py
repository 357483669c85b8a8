import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.commands.usage_table import Metric, Shape, bar, cost, count, table
from llm_service.rpc.stubs import usage_service_pb2 as pb

NANO = 1_000_000_000


def drawn(rows, width, bucket="day", *, short=True):
    from io import StringIO

    from rich.console import Console

    request = pb.QueryUsageRequest(time_zone="UTC", group_by=["model"])
    out = StringIO()
    shape = Shape(Metric.COST, width, short)
    total = pb.UsageMetrics(request_count=2)
    Console(file=out, width=width).print(table(rows, total, request, bucket, shape))
    return out.getvalue().splitlines()


def a_row(model, nano):
    row = pb.UsageRow(dimensions={"model": model}, metrics=pb.UsageMetrics(cost_nano_usd=nano))
    row.bucket_start_time.FromJsonString("2026-11-20T00:00:00Z")
    return row


@pytest.mark.parametrize(
    ("nano", "unpriced", "said"),
    [
        (0, 0, "$0.00"),
        (0, 1, "unknown"),
        (12_345, 0, "$0.000012"),
        (9_999_999, 0, "$0.0099"),
        (1234 * NANO + 995_000_001, 0, "$1,235.00"),
        (NANO, 3, "$1.00 + ?"),
    ],
)
def test_a_cost_is_shown_to_the_cent_and_never_as_nothing_when_it_is_unknown(nano, unpriced, said):
    metrics = pb.UsageMetrics(cost_nano_usd=nano, unpriced_request_count=unpriced)

    assert cost(metrics) == said


@pytest.mark.parametrize(
    ("tokens", "said"),
    [(0, "0"), (9_999, "9,999"), (10_000, "10.0k"), (999_949, "999.9k"), (999_950, "1.0M")],
)
def test_tokens_are_counted_in_the_unit_they_fit(tokens, said):
    assert count(tokens) == said


@given(value=st.integers(0, 10**18), most=st.integers(1, 10**18), width=st.integers(1, 20))
def test_a_bar_is_as_long_as_its_share_and_something_is_never_nothing(value, most, width):
    value = min(value, most)
    assert len(bar(value, most, width)) <= width
    assert bool(bar(value, most, width)) == bool(value)
    assert bar(most, most, width) == "█" * width


@pytest.mark.parametrize("width", [80, 120])
def test_a_table_fits_the_terminal_and_names_models_by_their_ids(width):
    lines = drawn([a_row("providers/openai/models/gpt-5", NANO), a_row("other", 1)], width)

    assert all(len(line) <= width for line in lines)
    [row] = [line for line in lines if "openai/gpt-5" in line]
    assert "$1.00" in row
    assert "█" in row
    assert ("2026-11-20" in row) is (width == 120)


def test_a_table_that_nobody_looks_at_has_whole_names():
    lines = drawn([a_row("providers/openai/models/gpt-5", NANO)], 1000, "all", short=False)

    assert any("providers/openai/models/gpt-5" in line for line in lines)
    assert not any("2026" in line for line in lines)

from contextlib import suppress
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.domain.listing import And, Comparison, Not, Operator, Or, Order, Page
from llm_service.errors import InvalidField
from llm_service.rpc import listing
from llm_service.rpc.listing import FieldType, parse_filter, parse_order, read_token, write_token

FIELDS = {
    "kind": FieldType.TEXT,
    "disabled": FieldType.BOOLEAN,
    "priority": FieldType.INTEGER,
    "create_time": FieldType.TIME,
    "aliases": FieldType.LIST,
    "labels": FieldType.MAP,
    "attribution.labels": FieldType.MAP,
}
KIND = Comparison("kind", Operator.EQ, "openai")
ON = Comparison("disabled", Operator.EQ, value=False)
LOW = Comparison("priority", Operator.LT, 10)


def refused_fields(parse):
    try:
        parse()
    except InvalidField as error:
        return {violation.field for violation in error.violations}
    return set()


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        pytest.param("", None, id="empty"),
        pytest.param("   ", None, id="blank"),
        pytest.param('kind = "openai"', KIND, id="quoted"),
        pytest.param("kind='openai'", KIND, id="single-quoted"),
        pytest.param("kind=openai", KIND, id="bare"),
        pytest.param('kind = "openai" AND disabled = false', And((KIND, ON)), id="and"),
        pytest.param("kind=openai disabled=false", And((KIND, ON)), id="side-by-side"),
        pytest.param("kind=openai OR disabled=false", Or((KIND, ON)), id="or"),
        pytest.param(
            "kind=openai AND disabled=false OR priority<10",
            And((KIND, Or((ON, LOW)))),
            id="or-binds-tighter",
        ),
        pytest.param(
            "(kind=openai AND disabled=false) OR priority<10",
            Or((And((KIND, ON)), LOW)),
            id="parentheses",
        ),
        pytest.param("NOT kind=openai", Not(KIND), id="not"),
        pytest.param("-kind=openai", Not(KIND), id="minus"),
        pytest.param("NOT (kind=openai)", Not(KIND), id="not-parentheses"),
        pytest.param("priority >= -3", Comparison("priority", Operator.GE, -3), id="negative"),
        pytest.param("aliases:fast", Comparison("aliases", Operator.HAS, "fast"), id="member"),
        pytest.param("labels:team", Comparison("labels", Operator.HAS, "team"), id="map-key"),
        pytest.param(
            'labels.team != "x"', Comparison("labels.team", Operator.NE, "x"), id="map-value"
        ),
        pytest.param(
            "attribution.labels.a.b = c",
            Comparison("attribution.labels.a.b", Operator.EQ, "c"),
            id="nested-map",
        ),
        pytest.param(
            r'kind = "a \"b\" \\"', Comparison("kind", Operator.EQ, 'a "b" \\'), id="escapes"
        ),
        pytest.param('kind = "AND"', Comparison("kind", Operator.EQ, "AND"), id="quoted-keyword"),
        pytest.param(
            "create_time > 2026-01-31T01:00:00+01:00",
            Comparison("create_time", Operator.GT, datetime(2026, 1, 31, tzinfo=UTC)),
            id="time",
        ),
    ],
)
def test_a_filter_is_read_into_its_tree(text, tree):
    assert parse_filter(text, FIELDS) == tree


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("color = red", "at character 1: the fields are", id="unknown-field"),
        pytest.param("labels. = x", "the fields are", id="empty-key"),
        pytest.param("kind", "at character 5: needs an operator", id="no-operator"),
        pytest.param("kind =", "at character 7: needs a value", id="no-value"),
        pytest.param("kind = (a)", "at character 8: needs a value", id="parenthesis-value"),
        pytest.param("kind == a", "at character 7: needs a value", id="double-operator"),
        pytest.param("disabled = yes", "must be true or false", id="not-boolean"),
        pytest.param("disabled > true", "takes only", id="operator-of-boolean"),
        pytest.param("priority = 1.5", "must be an integer", id="not-integer"),
        pytest.param("priority = 99999999999999999999", "must be an integer", id="too-large"),
        pytest.param("create_time > yesterday", "must be a time", id="not-time"),
        pytest.param("create_time > 2026-01-01T00:00:00", "needs a time zone", id="naive-time"),
        pytest.param(
            "create_time > 0001-01-01T00:00:00+14:00", "out of range", id="time-out-of-range"
        ),
        pytest.param("(kind = a", 'needs ")"', id="unclosed"),
        pytest.param("kind = a)", "at character 9: closes nothing", id="unopened"),
        pytest.param("kind = a AND", "needs a comparison", id="dangling-and"),
        pytest.param("AND kind = a", "needs the name of a field", id="leading-and"),
        pytest.param('kind = "a', "at character 8: cannot be read", id="open-quote"),
        pytest.param("kind = a, b", "cannot be read", id="comma"),
        pytest.param("NOT " * 20 + "kind = a", "nested deeper", id="too-deep"),
        pytest.param("(" * 40 + "kind=a" + ")" * 40, "nested deeper", id="too-many-parentheses"),
        pytest.param(" ".join(["kind=a"] * 65), "more than 64", id="too-many"),
        pytest.param("kind = " + "a" * 3000, "longer than", id="too-long"),
    ],
)
def test_a_bad_filter_is_refused_with_its_place(text, says):
    with pytest.raises(InvalidField) as failure:
        parse_filter(text, FIELDS)

    assert failure.value.violations[0].field == "filter"
    assert says in failure.value.violations[0].description


@given(st.text(max_size=80))
def test_any_text_is_a_filter_or_invalid(text):
    assert refused_fields(lambda: parse_filter(text, FIELDS)) <= {"filter"}


@given(st.text(alphabet='()"=<>:!- ANDORTkindlabels.xé1', max_size=60))
def test_any_mix_of_filter_characters_is_a_filter_or_invalid(text):
    assert refused_fields(lambda: parse_filter(text, FIELDS)) <= {"filter"}


@given(st.text(max_size=200))
def test_a_quoted_value_comes_back_as_it_was(value):
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')

    assert parse_filter(f'kind = "{quoted}"', FIELDS) == Comparison("kind", Operator.EQ, value)


def test_an_order_is_read_into_its_keys():
    order = parse_order("priority, create_time desc,kind asc", FIELDS)

    assert order == (Order("priority"), Order("create_time", descending=True), Order("kind"))


@pytest.mark.parametrize(
    "text", ["color", "labels", "aliases", "kind down", "kind desc desc", "kind,,kind", "kind,kind"]
)
def test_a_bad_order_is_refused(text):
    with pytest.raises(InvalidField) as failure:
        parse_order(text, FIELDS)

    assert failure.value.violations[0].field == "order_by"


scalars = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30)
)
places = st.lists(scalars, max_size=4).map(tuple)
scopes = st.lists(st.text(max_size=20), max_size=4).map(tuple)


@given(places, scopes)
def test_a_token_gives_back_its_place(place, scope):
    assert read_token(write_token(place, scope), scope) == place


@given(places, scopes, scopes)
def test_a_token_of_other_parameters_is_refused(place, scope, other):
    if scope == other:
        return
    token = write_token(place, scope)

    with pytest.raises(InvalidField, match="page_token"):
        read_token(token, other)


@given(places, st.data())
def test_an_altered_token_is_refused(place, data):
    token = write_token(place, ("scope",))
    position = data.draw(st.integers(0, len(token) - 2))  # the last character has unused bits
    letter = data.draw(st.sampled_from("ABCabc012-_").filter(lambda c: c != token[position]))
    altered = token[:position] + letter + token[position + 1 :]

    with suppress(InvalidField):
        assert read_token(altered, ("scope",)) == place  # another spelling of the same JSON


@given(st.text(max_size=60))
def test_any_text_is_no_token(text):
    if not text:
        return

    with pytest.raises(InvalidField):
        read_token(text, ())


def test_an_empty_token_is_the_beginning():
    assert read_token("", ("anything",)) is None


def request(**fields):
    return SimpleNamespace(
        **{"page_size": 0, "page_token": "", "filter": "", "order_by": "", **fields}
    )


def test_everything_wrong_with_a_list_request_is_named():
    bad = request(page_size=-1, page_token="x", filter="color=red", order_by="color")

    with pytest.raises(InvalidField) as failure:
        listing.listing(bad, "List", FIELDS)

    named = [violation.field for violation in failure.value.violations]
    assert named == ["page_size", "page_token", "filter", "order_by"]


@pytest.mark.parametrize(
    ("size", "limit"), [(0, 50), (1, 1), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)]
)
def test_page_sizes_have_a_default_and_a_maximum(size, limit):
    assert listing.listing(request(page_size=size), "List", FIELDS).limit == limit


def test_the_next_page_goes_on_where_the_last_one_ended_and_only_with_the_same_filter():
    first = request(filter="kind=a")
    token = listing.next_token(first, "List", Page((), ("x", 3)))

    assert listing.listing(request(filter="kind=a", page_token=token), "List", FIELDS).after == (
        "x",
        3,
    )
    with pytest.raises(InvalidField, match="other parameters"):
        listing.listing(request(filter="kind=b", page_token=token), "List", FIELDS)
    with pytest.raises(InvalidField, match="other parameters"):
        listing.listing(request(filter="kind=a", page_token=token), "OtherList", FIELDS)


def test_the_last_page_has_no_token():
    assert listing.next_token(request(), "List", Page(())) == ""

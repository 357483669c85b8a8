import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import given
from hypothesis import strategies as st

from llm_service.errors import InvalidField
from llm_service.rpc import field_mask
from llm_service.rpc.stubs import model_pb2, provider_pb2

STORED = provider_pb2.Provider(
    name="providers/a",
    uid="u",
    kind="echo",
    display_name="old",
    description="kept",
    settings={"a": "1", "b": "2"},
    labels={"team": "x"},
    priority=5,
    rate_limits=provider_pb2.RateLimits(requests_per_minute=1, tokens_per_minute=2),
    etag='"3"',
)


def updated(request, *paths):
    chosen = field_mask.paths(FieldMask(paths=paths), request)
    return field_mask.merged(STORED, request, chosen)


def test_no_mask_means_every_populated_field():
    request = provider_pb2.Provider(
        display_name="new", rate_limits=provider_pb2.RateLimits(requests_per_minute=9)
    )

    result = updated(request)

    assert result.display_name == "new"
    assert result.description == "kept"
    assert result.rate_limits.requests_per_minute == 9
    assert result.rate_limits.tokens_per_minute == 2


def test_an_unset_field_in_the_mask_is_cleared():
    result = updated(provider_pb2.Provider(), "display_name", "priority", "rate_limits")

    assert result.display_name == ""
    assert not result.HasField("priority")
    assert not result.HasField("rate_limits")
    assert result.description == "kept"


def test_zero_with_presence_is_set_and_not_cleared():
    result = updated(provider_pb2.Provider(priority=0), "priority")

    assert result.HasField("priority")
    assert result.priority == 0


def test_a_nested_path_touches_only_its_field():
    request = provider_pb2.Provider(rate_limits=provider_pb2.RateLimits(tokens_per_minute=7))

    result = updated(request, "rate_limits.tokens_per_minute")

    assert result.rate_limits.requests_per_minute == 1
    assert result.rate_limits.tokens_per_minute == 7


def test_a_nested_path_of_an_unset_message_clears_its_field():
    result = updated(provider_pb2.Provider(), "rate_limits.tokens_per_minute")

    assert result.rate_limits.requests_per_minute == 1
    assert not result.rate_limits.HasField("tokens_per_minute")


def test_maps_are_replaced_whole():
    result = updated(provider_pb2.Provider(settings={"c": "3"}), "settings")

    assert dict(result.settings) == {"c": "3"}


def test_lists_are_replaced_whole():
    stored = model_pb2.Model(aliases=["a", "b"])
    request = model_pb2.Model(aliases=["c"])

    result = field_mask.merged(stored, request, ("aliases",))

    assert list(result.aliases) == ["c"]


def test_a_star_replaces_everything_writable():
    result = updated(provider_pb2.Provider(kind="echo", display_name="new"), "*")

    assert result.display_name == "new"
    assert result.description == ""
    assert not result.labels
    assert result.uid == "u"
    assert result.name == "providers/a"


def test_read_only_paths_are_ignored():
    request = provider_pb2.Provider(uid="forged", name="providers/b", etag='"9"')

    assert updated(request, "uid", "name", "etag", "state", "create_time") == STORED


def test_read_only_fields_are_ignored_without_a_mask():
    assert updated(provider_pb2.Provider(uid="forged", name="providers/b")) == STORED


@pytest.mark.parametrize(
    "path",
    [
        "color",
        "displayName",
        "settings.a",
        "labels.team",
        "rate_limits.color",
        "display_name.length",
        "timeouts.connect_timeout.seconds",
        "",
        "rate_limits.",
        ".",
    ],
)
def test_an_unknown_path_is_refused(path):
    with pytest.raises(InvalidField) as failure:
        field_mask.paths(FieldMask(paths=[path]), STORED)

    assert failure.value.violations[0].field == "update_mask"


def test_every_unknown_path_is_named():
    with pytest.raises(InvalidField) as failure:
        field_mask.paths(FieldMask(paths=["color", "kind", "shape"]), STORED)

    assert len(failure.value.violations) == 2


def test_too_many_paths_are_refused():
    with pytest.raises(InvalidField, match="update_mask"):
        field_mask.paths(FieldMask(paths=["kind"] * 200), STORED)


writable = st.lists(
    st.sampled_from(["display_name", "description", "priority", "labels", "settings", "disabled"])
)


@given(writable, st.text(max_size=5), st.dictionaries(st.text(max_size=3), st.text(max_size=3)))
def test_what_the_mask_names_is_the_requests_and_the_rest_is_kept(names, text, labels):
    request = provider_pb2.Provider(display_name=text, labels=labels)
    if not names:
        return

    result = updated(request, *names)

    for field in provider_pb2.Provider.DESCRIPTOR.fields:
        source = request if field.name in names else STORED
        assert getattr(result, field.name) == getattr(source, field.name)
    assert STORED.display_name == "old"

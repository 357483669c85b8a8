"""Rules of administration that no kind of provider can show through the wire yet."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.domain.listing import Listing, Order
from llm_service.domain.provider import ProviderKind, SourceType
from llm_service.errors import InvalidField
from llm_service.gateway.admin import rules
from llm_service.gateway.admin.drafts import Source
from llm_service.gateway.admin.secrets import Secrets
from llm_service.gateway.paging import page
from llm_service.vault import Keyring, Scheme, Vault, generate_key
from tests.fakes import a_credential, a_provider

EVERY_SOURCE = ProviderKind("k", "K", "", "", tuple(SourceType), False, "k")  # noqa: FBT003
SECRETS = Secrets(Vault(None, "deployment"), ["ALLOWED"])
SEALING = Secrets(Vault(Keyring.from_text(generate_key(Scheme.FERNET_V1)), "deployment"))
SCHEMA = json.dumps(
    {
        "type": "object",
        "required": ["region"],
        "properties": {
            "region": {"type": "string", "minLength": 2, "maxLength": 8, "pattern": "^[a-z]+$"},
            "tier": {"type": "string", "enum": ["free", "paid"]},
        },
        "additionalProperties": False,
    }
)


def aws(**parts):
    key = {"access_key_id": "AKIA1", "secret_access_key": "canary", "session_token": "", **parts}
    return Source(SourceType.AWS_KEY, secret=json.dumps(key))


def document(text):
    return Source(SourceType.SERVICE_ACCOUNT_JSON, secret=text)


@pytest.mark.parametrize(
    ("source", "named"),
    [
        pytest.param(aws(), [], id="aws"),
        pytest.param(aws(session_token="t"), [], id="aws-session"),
        pytest.param(aws(access_key_id=""), ["credential.aws_key.access_key_id"], id="no-id"),
        pytest.param(
            aws(secret_access_key="canary\n"),
            ["credential.aws_key.secret_access_key"],
            id="line-break",
        ),
        pytest.param(
            aws(access_key_id="", session_token="é"),
            ["credential.aws_key.access_key_id", "credential.aws_key.session_token"],
            id="two-parts",
        ),
        pytest.param(document('{"type": "x"}'), [], id="document"),
        pytest.param(document("canary"), ["credential.service_account_json"], id="not-json"),
        pytest.param(document('["canary"]'), ["credential.service_account_json"], id="no-object"),
        pytest.param(document("[" * 9999), ["credential.service_account_json"], id="deep"),
        pytest.param(
            document('{"a": "' + "x" * 17_000 + '"}'),
            ["credential.service_account_json"],
            id="long",
        ),
        pytest.param(Source(SourceType.ENVIRONMENT_VARIABLE, reference="ALLOWED"), [], id="env"),
        pytest.param(
            Source(SourceType.WORKLOAD_IDENTITY), ["credential.workload_identity"], id="identity"
        ),
    ],
)
def test_a_source_is_checked_without_a_word_of_the_secret(source, named):
    found = list(SECRETS.check(source, EVERY_SOURCE))

    assert [violation.field for violation in found] == named
    assert "canary" not in f"{found} {source!r}"


@pytest.mark.parametrize(
    ("audience", "named"),
    [
        pytest.param("", [], id="none"),
        pytest.param("//iam.example/pool", [], id="audience"),
        pytest.param("two words", ["credential.workload_identity.audience"], id="space"),
        pytest.param("x" * 4097, ["credential.workload_identity.audience"], id="long"),
    ],
)
def test_the_services_own_identity_is_lent_if_the_operator_allows_it(audience, named):
    lending = Secrets(Vault(None, "deployment"), workload_identity=True)
    source = Source(SourceType.WORKLOAD_IDENTITY, reference=audience)

    found = list(lending.check(source, EVERY_SOURCE))

    assert [violation.field for violation in found] == named


def test_a_pointer_is_stored_as_it_is_and_clears_what_was_sealed():
    provider = a_provider()
    credential = a_credential(provider, sealed="old", obfuscated_secret="...tail", rejected=True)
    source = Source(SourceType.ENVIRONMENT_VARIABLE, reference="ALLOWED")

    stored = SECRETS.stored(provider, credential, source)

    assert (stored.sealed, stored.reference, stored.obfuscated_secret) == ("", "ALLOWED", "")
    assert not stored.rejected


@pytest.mark.parametrize(
    ("given_", "named"),
    [
        ({"region": "eu"}, []),
        ({"region": "eu", "tier": "paid"}, []),
        ({}, ["provider.settings.region"]),
        ({"region": "e"}, ["provider.settings.region"]),
        ({"region": "eu-central"}, ["provider.settings.region", "provider.settings.region"]),
        ({"region": "eu", "tier": "gold"}, ["provider.settings.tier"]),
        ({"region": "eu", "color": "red"}, ["provider.settings"]),
    ],
)
def test_settings_are_held_against_the_kinds_schema(given_, named):
    assert [violation.field for violation in rules.settings(given_, SCHEMA)] == named


rows = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.uuids().map(str),
            "size": st.none() | st.integers(0, 3),
            "kind": st.sampled_from("ab"),
        }
    ),
    max_size=12,
    unique_by=lambda row: row["name"],
)


@given(rows, st.booleans(), st.booleans(), st.integers(1, 5))
def test_pages_put_together_are_the_whole_list(found, size_down, kind_down, limit):
    order = (Order("size", descending=size_down), Order("kind", descending=kind_down))
    whole = page(found, Listing(100, order_by=order), ("name",), dict.get).items
    pages, after = [], None
    while True:
        part = page(found, Listing(limit, order_by=order, after=after), ("name",), dict.get)
        pages += part.items
        after = part.after
        if after is None:
            break

    assert pages == list(whole)
    assert len(whole) == len(found)
    sizes = [row["size"] for row in whole if row["size"] is not None]
    assert sizes == sorted(sizes, reverse=size_down)
    assert all(row["size"] is None for row in whole[len(sizes) :])


@pytest.mark.parametrize("after", [(), ("x",), ("a", "b", "c", "d")])
def test_a_place_in_another_order_is_refused(after):
    with pytest.raises(InvalidField, match="page_token"):
        page([], Listing(1, order_by=(Order("size"),), after=after), ("name",), dict.get)


PUBLIC = ("", "sk-", "sk-ant-", "sk-proj-", "sk-or-", "gsk_", "xai-", "AIza", "AKIA", "ASIA")


@given(
    form=st.sampled_from(PUBLIC),
    rest=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60),
)
def test_s8_of_any_key_at_most_four_secret_characters_are_shown(form, rest):
    provider, key = a_provider(kind="openai"), form + rest
    source = Source(SourceType.API_KEY, secret=key)

    stored = SEALING.stored(provider, a_credential(provider), source)

    beginnings = [public for public in PUBLIC if key.startswith(public)]
    shown = {f"{public}...{key[-4:]}" for public in beginnings} if len(key) >= 20 else {""}
    assert stored.obfuscated_secret in shown
    assert len(rest) < 20 or rest not in repr(stored)

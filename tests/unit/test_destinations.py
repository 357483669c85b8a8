"""What a secret is bound to: everything that decides where it is sent, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.gateway.destinations import destination, is_bound_elsewhere
from llm_service.providers import kinds, provider_kind
from llm_service.providers.egress import parse
from tests.fakes import a_credential, a_provider


def at(base_uri="", kind="openai", **settings):
    return destination(a_provider(kind=kind, base_uri=base_uri, settings=settings))


@pytest.mark.parametrize(
    ("base_uri", "origin"),
    [
        ("", "https://api.openai.com:443"),
        ("https://API.OpenAI.com/v2/", "https://api.openai.com:443"),
        ("https://api.openai.com:443", "https://api.openai.com:443"),
        ("http://api.openai.com", "http://api.openai.com:80"),
        ("https://[2606:4700::1]:8443/v1", "https://[2606:4700::1]:8443"),
        ("https://user@evil.example", "unknown"),
    ],
)
def test_an_origin_is_a_scheme_a_host_and_a_port(base_uri, origin):
    assert at(base_uri) == origin


def test_settings_that_decide_the_address_belong_to_it_and_others_do_not():
    ours = at(kind="azure", resource="ours", deployment="fast")

    assert ours == "default resource=ours"
    assert at(kind="azure", resource="ours", deployment="slow") == ours
    assert at(kind="azure", resource="theirs") != ours
    assert at(kind="bedrock", region="eu-central-1") != at(kind="bedrock", region="us-east-1")


def test_nothing_is_bound_to_a_kind_that_is_gone():
    gone = a_provider(kind="gone", base_uri="https://api.openai.com")

    assert is_bound_elsewhere(a_credential(gone, origin="https://api.openai.com:443"), gone)


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_has_a_destination_to_bind_to(kind):
    assert provider_kind(kind).kind == kind
    assert at(kind=kind)


@given(
    host=st.sampled_from(["a.example", "A.example", "b.example", "10.0.0.1"]),
    port=st.sampled_from(["", ":443", ":80", ":8443"]),
    scheme=st.sampled_from(["https", "HTTPS", "http"]),
    path=st.sampled_from(["", "/", "/v1", "/v1/x"]),
    other=st.sampled_from(["https://a.example", "http://10.0.0.1:8443/v1", "https://b.example"]),
)
def test_two_addresses_are_one_destination_exactly_if_the_same_socket_is_dialled(
    host, port, scheme, path, other
):
    one = f"{scheme}://{host}{port}{path}"

    assert (at(one) == at(other)) == (parse(one).origin == parse(other).origin)

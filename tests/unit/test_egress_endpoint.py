"""Base URIs: what is accepted, and that check and dial can never read one differently."""

from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_service.errors import EgressDenied
from llm_service.providers.egress import Egress, Endpoint

STRICT = Egress()
LENIENT = Egress(["127.0.0.0/8", "::1", "box.internal:8080"])


@pytest.mark.parametrize(
    ("base_uri", "endpoint"),
    [
        ("https://api.openai.com", Endpoint("https", "api.openai.com", 443, "")),
        ("https://api.openai.com/v1", Endpoint("https", "api.openai.com", 443, "/v1")),
        ("https://api.openai.com/v1/", Endpoint("https", "api.openai.com", 443, "/v1")),
        ("HTTPS://API.OpenAI.com:443/V1", Endpoint("https", "api.openai.com", 443, "/V1")),
        ("https://8.8.8.8/a:b@c%20d", Endpoint("https", "8.8.8.8", 443, "/a:b@c%20d")),
        ("https://[2606:4700:0::1]", Endpoint("https", "2606:4700::1", 443, "")),
    ],
)
def test_a_public_https_uri_is_parsed(base_uri, endpoint):
    assert STRICT.endpoint(base_uri) == endpoint


@pytest.mark.parametrize(
    ("base_uri", "endpoint"),
    [
        ("http://127.0.0.1:1234/v1", Endpoint("http", "127.0.0.1", 1234, "/v1")),
        ("http://[::1]", Endpoint("http", "::1", 80, "")),
        ("http://box.internal:8080", Endpoint("http", "box.internal", 8080, "")),
        ("https://box.internal:8080", Endpoint("https", "box.internal", 8080, "")),
        # Which network a name leads to is known when it is dialled.
        ("http://localhost:1234", Endpoint("http", "localhost", 1234, "")),
    ],
)
def test_what_the_allow_list_admits_is_parsed(base_uri, endpoint):
    assert LENIENT.endpoint(base_uri) == endpoint


@pytest.mark.parametrize(
    "base_uri",
    [
        "https://127.0.0.1",
        "http://127.0.0.1:8080",
        "https://169.254.169.254/latest",
        "https://[::1]",
        "https://[::ffff:8.8.8.8]",
        "https://[64:ff9b::a9fe:a9fe]",
        "https://8.8.8.8:8443",
        "http://8.8.8.8",
        "https://api.openai.com:8443",
    ],
)
def test_an_address_or_port_that_may_not_be_dialled_is_denied(base_uri):
    with pytest.raises(EgressDenied):
        STRICT.endpoint(base_uri)


@pytest.mark.parametrize(
    ("base_uri", "words"),
    [
        ("", "not a URI"),
        ("api.openai.com", "not a URI"),
        ("https://", "not a URI"),
        ("https:///v1", "not a URI"),
        ("//host", "not a URI"),
        ("https://a b", "printable ASCII"),
        ("https://host\\@evil", "user information"),
        ("https://host\\.evil", "not a URI"),
        ("ftp://host", "not https"),
        ("javascript://host", "not https"),
        ("http://api.openai.com", "plain http"),
        ("https://user:pass@host", "user information"),
        ("https://host@", "user information"),
        ("https://host/?q=1", "a query"),
        ("https://host?q=1", "a query"),
        ("https://host/#f", "a fragment"),
        ("https://host#f", "a fragment"),
        ("https://host\n.evil", "printable ASCII"),
        ("https://host/\r\nx: y", "printable ASCII"),
        ("https://host/\x00", "printable ASCII"),
        ("https://höst", "printable ASCII"),
        ("https://１２７.０.０.１", "printable ASCII"),  # noqa: RUF001  # folds to ASCII
        ("https://ⓔxample.com", "printable ASCII"),
        ("https://host:0", "the port"),
        ("https://host:65536", "the port"),
        ("https://host:", "not a URI"),
        ("https://host:x", "not a URI"),
        ("https://[::1", "not a URI"),
        ("https://[fe80::1%25eth0]", "not a URI"),
        ("https://[1.2.3.4]", "in brackets"),
        ("https://2852039166", "a number"),
        ("https://0xa9fea9fe", "a number"),
        ("https://0251.0376.0251.0376", "a number"),
        ("https://127.1", "a number"),
        ("https://0", "a number"),
        ("https://a..b", "well-formed name"),
        ("https://host.", "well-formed name"),
        ("https://host/../x", "segments"),
        ("https://host/%2e%2E/x", "segments"),
        ("https://host/./x", "segments"),
        ("https://host//x", "segments"),
        ("https://" + "a" * 2050, "longer than"),
    ],
)
def test_a_malformed_uri_is_refused_in_our_words(base_uri, words):
    with pytest.raises(ValueError, match=words):
        STRICT.endpoint(base_uri)


@given(st.text(st.sampled_from("htps:/@[]%.?#\\ \t\r\n0127axX-_fe"), max_size=40))
@example("//a/@b")
def test_whatever_is_accepted_the_standard_parser_reads_alike(tail):
    base_uri = "https://" + tail

    try:
        endpoint = LENIENT.endpoint(base_uri)
    except (ValueError, EgressDenied):
        return

    split = urlsplit(base_uri)
    assert (split.hostname, split.port or 443) == (endpoint.host, endpoint.port)
    assert (split.query, split.fragment, split.username) == ("", "", None)
    assert split.path.rstrip("/") == endpoint.path

"""Which certificate acts for whom."""

import pytest

from llm_service.domain.access import Principal, Role
from llm_service.gateway.access.identities import BadIdentities, Identities, end_of_leaf

RULES = """
# who                                tenant  may
spiffe://corp.example/agents/*       acme    invoke   # each agent
spiffe://corp.example/ops/**         *       admin,access
spiffe://corp.example/agents/boss/x  other   admin
spiffe://partner.example             guest   invoke
"""


@pytest.mark.parametrize(
    ("spiffe_id", "tenant", "roles"),
    [
        ("spiffe://corp.example/agents/one", "acme", {Role.INVOKE}),
        ("spiffe://corp.example/ops/a", "", {Role.ADMIN, Role.ACCESS}),
        ("spiffe://corp.example/ops/a/b/c", "", {Role.ADMIN, Role.ACCESS}),
        ("spiffe://corp.example/agents/boss/x", "other", {Role.ADMIN}),
        ("spiffe://partner.example", "guest", {Role.INVOKE}),
    ],
)
def test_the_first_rule_that_fits_says_who_it_is(spiffe_id, tenant, roles):
    found = Identities.from_text(RULES).principal(spiffe_id)

    assert found == Principal(spiffe_id, tenant, frozenset(roles))


@pytest.mark.parametrize(
    "spiffe_id",
    [
        "",
        "spiffe://corp.example",
        "spiffe://corp.example/agents",
        "spiffe://corp.example/agents/",
        "spiffe://corp.example/agents/a/b",
        "spiffe://corp.example/ops",
        "spiffe://corp.example/ops/",
        "spiffe://corp.example/ops//a",
        "spiffe://other.example/agents/one",
        "spiffe://corp.example.evil/agents/one",
        "spiffe://corpXexample/agents/one",
        "spiffe://CORP.example/agents/one",
        "https://corp.example/agents/one",
        "spiffe://corp.example/agents/one\n",
        "spiffe://corp.example/agents/" + "a" * 2048,
    ],
)
def test_a1_who_fits_no_rule_is_nobody(spiffe_id):
    assert Identities.from_text(RULES).principal(spiffe_id) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no rule"),
        ("# only words", "no rule"),
        ("spiffe://a.example/x acme", "line 1"),
        ("spiffe://a.example/x acme invoke admin", "line 1"),
        ("spiffe://a.example/x ACME invoke", "tenant"),
        ("spiffe://a.example/x acme root", "roles"),
        ("\nspiffe://*/x acme invoke", "line 2"),
        ("spiffe://a.example/** acme invoke\nspiffe:///x acme invoke", "line 2"),
        ("spiffe://a.example/**/x acme invoke", "pattern"),
        ("spiffe://a.example/a* acme invoke", "pattern"),
        ("spiffe://a.example/../x acme invoke", "pattern"),
        ("spiffe://a.example/ acme invoke", "pattern"),
        ("https://a.example/x acme invoke", "pattern"),
        ("a.example/x acme invoke", "pattern"),
    ],
)
def test_a_file_that_could_let_the_wrong_ones_in_is_refused(text, said):
    with pytest.raises(BadIdentities, match=said):
        Identities.from_text(text)


@pytest.mark.parametrize("pem", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_what_is_no_certificate_identifies_nobody(pem):
    assert end_of_leaf(pem) is None

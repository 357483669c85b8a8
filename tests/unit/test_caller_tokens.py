"""Tokens are taken by the operator's rules and the issuer's keys, never by their own words."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
import warnings

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from llm_service.domain.access import Principal, Role
from llm_service.errors import ProviderUnreachable
from llm_service.gateway.access import key_sets
from llm_service.gateway.access.key_sets import BETWEEN_FETCHES, FRESH_SECONDS, KeySet
from llm_service.gateway.access.tokens import ALGORITHMS, TokenRules, Tokens

ISSUER, AUDIENCE = "https://issuer.example", "llm-service"
RSA_KEY = rsa.generate_private_key(65537, 2048)
ROGUE_KEY = rsa.generate_private_key(65537, 2048)
SMALL_KEY = rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused
EC_KEY = ec.generate_private_key(ec.SECP256R1())
RULES = TokenRules(ISSUER, AUDIENCE, frozenset({"RS256", "ES256"}), "tenant", "roles")


def jwk(key, kid, **more):
    algorithm = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, **more}


KEYS = [
    jwk(RSA_KEY, "rsa", use="sig", alg="RS256"),
    jwk(EC_KEY, "ec"),
    jwk(RSA_KEY, "for-encryption", use="enc"),
    jwk(RSA_KEY, "for-signing", key_ops=["sign"]),
    jwk(RSA_KEY, "for-ps256", alg="PS256"),
    jwk(SMALL_KEY, "small"),
    {"kty": "oct", "kid": "shared", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"},
    {"kty": "RSA", "kid": "broken", "n": "A" * 400, "e": ""},
]


class Issuer:
    """Publishes `keys`; `down` makes every fetch fail."""

    def __init__(self, keys=KEYS) -> None:
        self.keys = list(keys)
        self.fetches = 0
        self.down = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> bytes:
        self.fetches += 1
        await self.gate.wait()
        if self.down:
            raise ProviderUnreachable("down")
        return json.dumps({"keys": self.keys}).encode()


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def claims(**changed):
    said = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "agent",
        "exp": int(time.time()) + 600,
        "tenant": "acme",
        "roles": ["invoke", "nonsense"],
    }
    said |= changed
    return {name: value for name, value in said.items() if value is not None}


def token(key=RSA_KEY, algorithm="RS256", kid="rsa", header=None, **changed) -> str:
    headers = {"kid": kid, **(header or {})}
    with warnings.catch_warnings(action="ignore"):  # of what is to be refused
        named = {name: value for name, value in headers.items() if value}
        return jwt.encode(claims(**changed), key, algorithm, named)


def raw(header: dict, said: dict, signature: bytes = b"x") -> str:
    parts = (json.dumps(header).encode(), json.dumps(said).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def confused() -> str:
    """Signed with the public key as if it were a shared secret."""
    public = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    unsigned = raw({"alg": "HS256", "kid": "rsa"}, claims()).rpartition(".")[0]
    signature = hmac.digest(public, unsigned.encode(), hashlib.sha256)
    return f"{unsigned}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def altered(text: str, **changed) -> str:
    head, _, signature = text.split(".")
    body = base64.urlsafe_b64encode(json.dumps(claims(**changed)).encode()).rstrip(b"=").decode()
    return f"{head}.{body}.{signature}"


def tokens(issuer=None, clock=None, rules=RULES) -> Tokens:
    return Tokens(rules, KeySet(issuer or Issuer(), clock or Clock()))


@pytest.mark.parametrize(
    ("good", "principal"),
    [
        (token(), Principal(f"jwt:{ISSUER}#agent", "acme", frozenset({Role.INVOKE}))),
        (
            token(EC_KEY, "ES256", "ec", tenant="*", roles="admin access"),
            Principal(f"jwt:{ISSUER}#agent", "", frozenset({Role.ADMIN, Role.ACCESS})),
        ),
        (token(roles=None), Principal(f"jwt:{ISSUER}#agent", "acme")),
        (token(roles=7), Principal(f"jwt:{ISSUER}#agent", "acme")),
        (
            token(aud=["x", AUDIENCE], header={"jku": "https://rogue.example/keys"}),
            Principal(f"jwt:{ISSUER}#agent", "acme", frozenset({Role.INVOKE})),
        ),
    ],
)
async def test_a_good_token_is_its_tenants_principal(good, principal):
    accepted = await tokens().verify(good)

    assert accepted is not None
    assert accepted.principal == principal


NOW = int(time.time())
BAD = {
    "nothing": "",
    "one part": "abc",
    "two parts": "abc.def",
    "four parts": token() + ".x",
    "not base64": "$$.$$.$$",
    "not JSON": "YWJj.YWJj.YWJj",
    "no signature": token().rpartition(".")[0] + ".",
    "unsigned": raw({"alg": "none", "kid": "rsa"}, claims(), b""),
    "unsigned, oddly spelled": raw({"alg": "nOnE", "kid": "rsa"}, claims(), b""),
    "the public key as a secret": confused(),
    "a shared secret": jwt.encode(claims(), "s" * 40, "HS256", {"kid": "shared"}),
    "another's signature": token(ROGUE_KEY),
    "altered claims": altered(token(), tenant="other"),
    "an algorithm not allowed": token(algorithm="RS512"),
    "an algorithm the key is not for": token(kid="for-ps256"),
    "a key for encryption": token(kid="for-encryption"),
    "a key that may only sign": token(kid="for-signing"),
    "a key that is too small": token(SMALL_KEY, kid="small"),
    "a key that cannot be read": token(kid="broken"),
    "a key of another type": token(kid="ec"),
    "an unknown key": token(kid="other"),
    "no key named": token(kid=None),
    "a key named by no text": raw({"alg": "RS256", "kid": 7}, claims()),
    "its own key": token(ROGUE_KEY, kid="rogue", header={"jwk": jwk(ROGUE_KEY, "rogue")}),
    "its own key's address": token(
        ROGUE_KEY, kid="rogue", header={"jku": "https://rogue.example/keys"}
    ),
    "its own certificate's address": token(
        ROGUE_KEY, kid="rogue", header={"x5u": "https://rogue.example/cert"}
    ),
    "a critical extension": token(header={"crit": ["b64"], "b64": False}),
    "an unknown critical extension": token(header={"crit": ["x"], "x": 1}),
    "no critical extensions": token(header={"crit": ["exp"]}),
    "another issuer": token(iss="https://rogue.example"),
    "no issuer": token(iss=None),
    "another audience": token(aud="other-service"),
    "no audience": token(aud=None),
    "no subject": token(sub=None),
    "no end": token(exp=None),
    "past its end": token(exp=NOW - 60),
    "an end that is no number": token(exp="soon"),
    "not yet valid": token(nbf=NOW + 600),
    "issued in the future": token(iat=NOW + 600),
    "no tenant": token(tenant=None),
    "a tenant that is no text": token(tenant=["acme"]),
    "a tenant that is no id": token(tenant="../other"),
    "an empty tenant": token(tenant=""),
    "a subject that cannot be shown": token(sub="a\nb"),
    "a subject without end": token(sub="a" * 600),
}


@pytest.mark.parametrize("name", BAD)
async def test_a5_a_bad_token_is_nobodys(name):
    issuer = Issuer()

    assert await tokens(issuer).verify(BAD[name]) is None
    assert issuer.fetches <= 1


def test_a5_the_negative_suite_has_at_least_twenty_five_tokens():
    assert len(set(BAD.values())) >= 25


def test_no_algorithm_that_may_be_allowed_takes_a_shared_secret():
    assert not any(name.startswith("HS") or name.lower() == "none" for name in ALGORITHMS)
    assert "oct" not in {kind for kind, _ in ALGORITHMS.values()}


# --- the issuer's keys ---------------------------------------------------------------------------


async def test_a5_while_the_issuer_is_away_known_keys_serve_and_it_is_not_stormed():
    issuer, clock = Issuer(), Clock()
    verifier = tokens(issuer, clock)
    assert await verifier.verify(token()) is not None
    issuer.down = True
    known, unknown = token(), token(kid="other")

    for _ in range(3600):
        clock.seconds += 1
        assert await verifier.verify(known) is not None
        assert await verifier.verify(unknown) is None

    assert issuer.fetches <= 1 + 3600 / BETWEEN_FETCHES


async def test_a5_many_callers_that_wait_for_one_key_fetch_once():
    issuer = Issuer()
    issuer.gate.clear()
    keys = KeySet(issuer, Clock())
    waiting = [asyncio.create_task(keys.get("rsa")) for _ in range(20)]
    await asyncio.sleep(0)
    waiting.pop().cancel()  # one that leaves takes nothing from the others

    issuer.gate.set()
    found = await asyncio.gather(*waiting)

    assert issuer.fetches == 1
    assert {key["kid"] for key in found} == {"rsa"}


async def test_a_key_the_issuer_takes_back_ends_without_a_call_waiting():
    issuer, clock = Issuer(), Clock()
    keys = KeySet(issuer, clock)
    assert await keys.get("rsa") is not None
    issuer.keys = KEYS[1:]

    clock.seconds += FRESH_SECONDS + 1
    assert await keys.get("rsa") is not None  # this one was not to wait
    await keys._fetching
    clock.seconds += BETWEEN_FETCHES

    assert await keys.get("rsa") is None


async def test_a_new_key_is_fetched_when_a_token_names_it():
    issuer, clock = Issuer(KEYS[:1]), Clock()
    keys = KeySet(issuer, clock)
    assert await keys.get("rsa") is not None
    issuer.keys = KEYS

    assert await keys.get("ec") is None  # too soon after the last fetch
    clock.seconds += BETWEEN_FETCHES
    assert await keys.get("ec") is not None


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"keys": 7}', b"\xff", b"{" * 9999])
async def test_what_is_no_key_set_leaves_the_last_one_in_place(document, tmp_path):
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [*KEYS, 7, {"kid": 7}]}))
    clock = Clock()
    keys = KeySet(key_sets.from_file(file), clock)
    assert await keys.get("rsa") is not None

    file.write_bytes(document)
    clock.seconds += BETWEEN_FETCHES
    assert await keys.get("unknown") is None

    assert await keys.get("rsa") is not None


async def test_a_file_that_is_not_there_yet_is_read_later(tmp_path):
    file, clock = tmp_path / "keys.json", Clock()
    keys = KeySet(key_sets.from_file(file), clock)
    assert await keys.get("rsa") is None

    file.write_text(json.dumps({"keys": KEYS}))
    clock.seconds += BETWEEN_FETCHES

    assert await keys.get("rsa") is not None

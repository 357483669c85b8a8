"""JSON Web Tokens of one issuer as callers: the only module that knows PyJWT.

A token's own words decide nothing before its signature holds: the algorithms are the operator's,
the key is one the issuer publishes under the token's `kid`, and `jku`, `x5u`, `jwk` are not read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llm_service.domain.access import EVERY_TENANT, TENANT_ID, Principal, Role
from llm_service.gateway.access.accepted import Accepted
from llm_service.gateway.access.key_sets import KeySet

ALGORITHMS: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", "")),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""What may be allowed: the type and the curve of its keys. None is symmetric."""

LEEWAY_SECONDS = 30

_MAX_NAME = 512
_MIN_MODULUS = 342  # base64 digits of 2048 bits


@dataclass(frozen=True, slots=True)
class TokenRules:
    """Whose tokens are taken, and where they say for whom and in which roles."""

    issuer: str
    audience: str
    algorithms: frozenset[str]
    tenant_claim: str
    roles_claim: str


class Tokens:
    """Verifies tokens by the keys of one issuer."""

    def __init__(self, rules: TokenRules, keys: KeySet) -> None:
        self._rules = rules
        self._keys = keys

    async def verify(self, token: str) -> Accepted | None:
        """Its holder; None: it is not one we take, for whatever reason."""
        import jwt

        try:
            header = jwt.get_unverified_header(token)
            key = await self._key(header)
            if key is None:
                return None
            algorithm = header["alg"]
            public = jwt.PyJWK.from_dict(dict(key), algorithm).key
            claims = jwt.decode(
                token,
                public,
                algorithms=[algorithm],
                audience=self._rules.audience,
                issuer=self._rules.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            return None
        return self._accepted(claims)

    async def _key(self, header: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The issuer's key of that id, if it is one for the token's algorithm."""
        algorithm, key_id = header.get("alg"), header.get("kid")
        # Whatever `crit` names must be understood, and nothing of it is.
        if algorithm not in self._rules.algorithms or "crit" in header:
            return None
        if not isinstance(key_id, str) or not key_id:
            return None
        key = await self._keys.get(key_id)
        return key if key is not None and _suits(key, algorithm) else None

    def _accepted(self, claims: Mapping[str, Any]) -> Accepted | None:
        tenant = claims.get(self._rules.tenant_claim)
        if not isinstance(tenant, str) or not (tenant == "*" or TENANT_ID.fullmatch(tenant)):
            return None
        name = f"jwt:{self._rules.issuer}#{claims['sub']}"
        if len(name) > _MAX_NAME or not name.isprintable():
            return None
        said = claims.get(self._rules.roles_claim, ())
        names = said.split() if isinstance(said, str) else said
        roles = frozenset(
            role for role in Role if isinstance(names, list | tuple) and role in names
        )
        principal = Principal(name, EVERY_TENANT if tenant == "*" else tenant, roles)
        return Accepted(principal, float(claims["exp"]) + LEEWAY_SECONDS)


def _suits(key: Mapping[str, Any], algorithm: str) -> bool:
    kind, curve = ALGORITHMS[algorithm]
    if key.get("kty") != kind or key.get("crv", "") != curve:
        return False
    if kind == "RSA" and len(str(key.get("n", "")).rstrip("=")) < _MIN_MODULUS:
        return False
    operations = key.get("key_ops", ["verify"])
    meant = key.get("use", "sig") == "sig" and "verify" in operations
    return meant and key.get("alg", algorithm) == algorithm

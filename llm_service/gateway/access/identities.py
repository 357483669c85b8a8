"""Certificates as callers: which SPIFFE id acts for which tenant, in which roles.

A file with one rule a line, the first that fits decides; `#` starts a comment:

    spiffe://corp.example/agents/*     acme   invoke
    spiffe://corp.example/ops/**       *      admin,access,invoke

Pattern, tenant ("*": every one), roles. In a pattern "*" is one segment of the path and a closing
"**" one or more. The trust domain is always spelled out, so only those in the file are trusted.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from llm_service.domain.access import EVERY_TENANT, TENANT_ID, Principal, Role

_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]+")
_MAX_ID = 2048


class BadIdentities(ValueError):
    """A file that cannot be used: says in which line, and why."""


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: re.Pattern[str]
    tenant: str
    roles: frozenset[Role]


class Identities:
    """The rules, in order."""

    def __init__(self, rules: Sequence[_Rule]) -> None:
        self._rules = tuple(rules)

    @classmethod
    def from_text(cls, text: str) -> "Identities":
        """Read the file.

        Raises:
            BadIdentities: a line is not a rule, or there is none.
        """
        from cryptography import x509  # noqa: F401 - now, not while the first caller waits

        rules = [
            _rule(words, number)
            for number, line in enumerate(text.splitlines(), start=1)
            if (words := line.partition("#")[0].split())
        ]
        if not rules:
            raise BadIdentities("there is no rule in it")
        return cls(rules)

    def principal(self, spiffe_id: str) -> Principal | None:
        """Whoever has this id; None: nobody we know."""
        if len(spiffe_id) > _MAX_ID:
            return None
        for rule in self._rules:
            if rule.pattern.fullmatch(spiffe_id):
                return Principal(spiffe_id, rule.tenant, rule.roles)
        return None


def end_of_leaf(pem: bytes) -> datetime | None:
    """When a caller's certificate ends; None: it is no end of a chain, and identifies nobody.

    An authority's own certificate passes TLS, and must not pass for one of its callers'.
    """
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(pem)
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        if constraints.value.ca:
            return None
    except x509.ExtensionNotFound:
        pass  # then it is no authority
    except ValueError:
        return None
    return certificate.not_valid_after_utc


def _rule(words: Sequence[str], number: int) -> _Rule:
    if len(words) != 3:  # noqa: PLR2004
        raise BadIdentities(f"line {number}: must be a pattern, a tenant and roles")
    pattern, tenant, roles = words
    if tenant != "*" and not TENANT_ID.fullmatch(tenant):
        raise BadIdentities(f'line {number}: the tenant must be "*" or match {TENANT_ID.pattern}')
    names = roles.split(",")
    if not set(names) <= set(Role):
        raise BadIdentities(f"line {number}: the roles are {', '.join(Role)}")
    return _Rule(
        _pattern(pattern, number),
        EVERY_TENANT if tenant == "*" else tenant,
        frozenset(map(Role, names)),
    )


def _pattern(text: str, number: int) -> re.Pattern[str]:
    domain, *segments = text.removeprefix("spiffe://").split("/")
    rest = bool(segments) and segments[-1] == "**"
    fixed = segments[:-1] if rest else segments
    known = all(one == "*" or _is_plain(one) for one in fixed)
    if not text.startswith("spiffe://") or not _DOMAIN.fullmatch(domain) or not known:
        raise BadIdentities(
            f"line {number}: the pattern must be like spiffe://trust.domain/path/*, its wildcards "
            'whole segments, and "**" the last one'
        )
    path = "".join(f"/{_SEGMENT.pattern if one == '*' else re.escape(one)}" for one in fixed)
    tail = rf"(?:/{_SEGMENT.pattern})+" if rest else ""
    return re.compile(f"spiffe://{re.escape(domain)}{path}{tail}", re.ASCII)


def _is_plain(segment: str) -> bool:
    return segment not in (".", "..") and _SEGMENT.fullmatch(segment) is not None

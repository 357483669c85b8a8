"""What providers, credentials and models may hold: every field that is wrong is named."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from llm_service.domain.provider import (
    MOST_TOKENS_PER_SECOND,
    Model,
    Price,
    ProviderKind,
    RateLimits,
    UpstreamTimeouts,
)
from llm_service.errors import EgressDenied, InvalidField, Quota, RateLimited, Violation
from llm_service.gateway.admin.drafts import CredentialDraft, ProviderDraft
from llm_service.providers.egress import Egress

MAX_PRIORITY = 1_000_000
MAX_WEIGHT = 1_000_000
MAX_TIMEOUT_SECONDS = 86_400.0
MAX_TEXT = 256  # characters
MAX_DESCRIPTION = 4096
MAX_URI = 2048
MAX_LABELS = 64
MAX_LABEL_KEY = 64
MAX_LABEL_VALUE = 256
MAX_ALIASES = 32
MAX_PRICE_ITEMS = 128
MAX_DATED_PRICES = 32
INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1
MAX_TOKEN_PRICE = 10**14
"""Nano-USD for a million tokens, ten cents a token: what any call costs then fits 64 bits."""

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_LABEL_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}")
_METER = re.compile(r"[a-z]([a-z0-9-]{0,62}[a-z0-9])?")


def done(violations: Iterable[Violation]) -> None:
    """Refuse if there are violations.

    Raises:
        InvalidField: names them all.
    """
    if found := tuple(violations):
        raise InvalidField(*found)


def too_many(tenant: str, what: str, most: int) -> RateLimited:
    """A tenant ("": no one) has all it may have of something."""
    owner = f"tenants/{tenant}" if tenant else "the deployment"
    quota = Quota(owner, what, most)
    return RateLimited(f"{owner} may have {most} {what}", quota, retriable=False)


def provider(draft: ProviderDraft, kind: ProviderKind, egress: Egress) -> Iterator[Violation]:
    yield from text("provider.display_name", draft.display_name, MAX_TEXT)
    yield from text("provider.description", draft.description, MAX_DESCRIPTION)
    yield from _base_uri(draft.base_uri, egress)
    yield from settings(draft.settings, kind.settings_schema_json)
    yield from _range("provider.priority", draft.priority, 0, MAX_PRIORITY)
    yield from _range("provider.weight", draft.weight, 0, MAX_WEIGHT)
    yield from rate_limits("provider.rate_limits", draft.rate_limits)
    yield from _timeouts(draft.timeouts)
    yield from labels("provider.labels", draft.labels)


def credential(draft: CredentialDraft) -> Iterator[Violation]:
    yield from text("credential.display_name", draft.display_name, MAX_TEXT)
    yield from _range("credential.weight", draft.weight, 0, MAX_WEIGHT)
    yield from rate_limits("credential.rate_limits", draft.rate_limits)


def model(draft: Model) -> Iterator[Violation]:
    if not draft.provider_model:
        yield Violation("model.provider_model", "is required: the upstream's id of the model")
    yield from text("model.provider_model", draft.provider_model, MAX_TEXT)
    yield from text("model.display_name", draft.display_name, MAX_TEXT)
    yield from text("model.description", draft.description, MAX_DESCRIPTION)
    yield from text("model.replacement_model", draft.replacement_model, MAX_TEXT)
    yield from _aliases(draft.aliases)
    yield from _range("model.context_window_tokens", draft.context_window_tokens, 0, INT32_MAX)
    yield from _range("model.max_output_tokens", draft.max_output_tokens, 0, INT32_MAX)
    yield from _range("model.priority", draft.priority, 0, MAX_PRIORITY)
    yield from rate_limits("model.rate_limits", draft.rate_limits)
    yield from labels("model.labels", draft.labels)
    yield from _prices(draft)
    if draft.embedding is not None:
        dimensions, inputs = draft.embedding.dimensions, draft.embedding.max_inputs
        yield from _range("model.embedding.dimensions", dimensions, 0, INT32_MAX)
        yield from _range("model.embedding.max_inputs", inputs, 0, INT32_MAX)
        yield from text("model.embedding.vector_space", draft.embedding.vector_space, MAX_TEXT)


def with_named_prices(draft: Model, now: datetime) -> Model:
    """Its prices with versions to be found by in old bills, where the operator gave none.

    A dated price is named by the day from which it holds.
    """
    price = draft.price and _named(draft.price, now)
    dated = tuple(_named(one, one.effective_time or now) for one in draft.dated_prices)
    return replace(draft, price=price, dated_prices=dated)


def _named(price: Price, day: datetime) -> Price:
    return price if price.version else replace(price, version=f"override-{day:%Y-%m-%d}")


def settings(given: Mapping[str, str], schema_json: str) -> Iterator[Violation]:
    """Checks settings against the part of JSON Schema that kinds use.

    That is `properties`, `required` and `additionalProperties` of the object, and `enum`,
    `pattern`, `minLength` and `maxLength` of its members, which are strings.
    """
    schema: dict[str, Any] = json.loads(schema_json or "{}")
    members: dict[str, dict[str, Any]] = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in given:
            yield Violation(f"provider.settings.{name}", "is required by this kind")
    for name, value in given.items():
        if name in members:
            yield from _setting(name, value, members[name])
        elif not schema.get("additionalProperties", False):
            known = ", ".join(sorted(members)) or "none"
            yield Violation("provider.settings", f"this kind's settings are: {known}")


def _setting(name: str, value: str, schema: Mapping[str, Any]) -> Iterator[Violation]:
    field = f"provider.settings.{name}"
    yield from text(field, value, schema.get("maxLength", MAX_URI))
    if len(value) < schema.get("minLength", 0):
        yield Violation(field, f"needs at least {schema['minLength']} characters")
    if "enum" in schema and value not in schema["enum"]:
        yield Violation(field, f"must be one of {', '.join(schema['enum'])}")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield Violation(field, f"must match {schema['pattern']}")


def _base_uri(base_uri: str, egress: Egress) -> Iterator[Violation]:
    if not base_uri:
        return
    if len(base_uri) > MAX_URI:
        yield Violation("provider.base_uri", f"is longer than {MAX_URI} characters")
        return
    try:
        egress.endpoint(base_uri)
    except (ValueError, EgressDenied) as error:
        yield Violation("provider.base_uri", str(error))


def text(field: str, text: str, limit: int) -> Iterator[Violation]:
    if len(text) > limit:
        yield Violation(field, f"is longer than {limit} characters")
    if _UNPRINTABLE.search(text):
        yield Violation(field, "holds control characters")


def _range(field: str, value: int | None, low: int, high: int) -> Iterator[Violation]:
    if value is not None and not low <= value <= high:
        yield Violation(field, f"must be between {low} and {high}")


def rate_limits(field: str, limits: RateLimits) -> Iterator[Violation]:
    for one in fields(RateLimits):
        yield from _range(f"{field}.{one.name}", getattr(limits, one.name), 1, INT64_MAX)


def _timeouts(timeouts: UpstreamTimeouts) -> Iterator[Violation]:
    least = timeouts.min_output_tokens_per_second
    if least is not None and not 0 <= least <= MOST_TOKENS_PER_SECOND:
        yield Violation(
            "provider.timeouts.min_output_tokens_per_second",
            f"must be between 0 and {MOST_TOKENS_PER_SECOND:g}",
        )
    for name in ("connect", "first_token", "idle", "attempt"):
        seconds = getattr(timeouts, name)
        if seconds is not None and not 0 < seconds <= MAX_TIMEOUT_SECONDS:
            yield Violation(
                f"provider.timeouts.{name}_timeout",
                f"must be above 0s and at most {MAX_TIMEOUT_SECONDS:g}s",
            )


def labels(field: str, labels: Mapping[str, str]) -> Iterator[Violation]:
    if len(labels) > MAX_LABELS:
        yield Violation(field, f"has {len(labels)} entries; at most {MAX_LABELS} are taken")
    for key, value in labels.items():
        if len(key) > MAX_LABEL_KEY or not _LABEL_KEY.fullmatch(key):
            yield Violation(
                field, f"has a key that is not {_LABEL_KEY.pattern}, at most {MAX_LABEL_KEY} long"
            )
        else:
            yield from text(f"{field}.{key}", value, MAX_LABEL_VALUE)


def _aliases(aliases: tuple[str, ...]) -> Iterator[Violation]:
    if len(aliases) > MAX_ALIASES:
        yield Violation("model.aliases", f"has more than {MAX_ALIASES} entries")
    for index, alias in enumerate(aliases):
        if not _ALIAS.fullmatch(alias):
            yield Violation(f"model.aliases[{index}]", f"must match ^{_ALIAS.pattern}$")


def _prices(draft: Model) -> Iterator[Violation]:
    begun: set[datetime] = set()
    if draft.price is not None:
        yield from price("model.price", draft.price)
        begun.add(draft.price.begins)
    if len(draft.dated_prices) > MAX_DATED_PRICES:
        yield Violation("model.dated_prices", f"has more than {MAX_DATED_PRICES} entries")
    for index, dated in enumerate(draft.dated_prices[:MAX_DATED_PRICES]):
        path = f"model.dated_prices[{index}]"
        yield from price(path, dated)
        if dated.effective_time is None:
            yield Violation(f"{path}.effective_time", "is required: from when the price holds")
        elif dated.begins in begun:
            yield Violation(f"{path}.effective_time", "is that of another price of the model")
        begun.add(dated.begins)


def price(path: str, given: Price) -> Iterator[Violation]:
    yield from text(f"{path}.version", given.version, MAX_TEXT)
    if len(given.items) > MAX_PRICE_ITEMS:
        yield Violation(f"{path}.items", f"has more than {MAX_PRICE_ITEMS} entries")
    seen: set[tuple[str, int]] = set()
    for index, item in enumerate(given.items):
        field = f"{path}.items[{index}]"
        if not _METER.fullmatch(item.meter):
            yield Violation(f"{field}.meter", f"must match ^{_METER.pattern}$")
        most = MAX_TOKEN_PRICE if item.meter.endswith("-tokens") else INT64_MAX
        yield from _range(f"{field}.nano_usd_per_million", item.nano_usd_per_million, 0, most)
        yield from _range(f"{field}.min_input_tokens", item.min_input_tokens, 0, INT32_MAX)
        if (item.meter, item.min_input_tokens) in seen:
            yield Violation(field, "prices the same meter and tier again")
        seen.add((item.meter, item.min_input_tokens))

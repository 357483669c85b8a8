"""Reading what other systems wrote: types as loose as theirs, ids as strict as ours."""

import hashlib
import json
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from llm_service import catalog
from llm_service import providers as kinds
from llm_service.domain.completion import GenerationParams
from llm_service.domain.provider import Price, PriceItem, SourceType
from llm_service.errors import ProviderCredentialUnreadable
from llm_service.gateway.admin import rules
from llm_service.gateway.admin.drafts import Source
from llm_service.gateway.admin.imports.steps import Circumstances
from llm_service.vault import BadKeyring, open_legacy_fernet

Row = Mapping[str, Any]

CALLERS_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
"""What calls can name an agent or a user by."""

NANOS_A_MILLION = Decimal(10) ** 12
"""Nano-USD for a million tokens, of a dollar for a thousand."""

KINDS = {"custom": "openai-compatible", "azure_openai": "azure", "aws_bedrock": "bedrock"}
"""What these systems call some of our kinds, beside the aliases everybody may use."""

_PARAMS = {
    "temperature": ("temperature", 0, 2),
    "top_p": ("top_p", 0, 1),
    "top_k": ("top_k", 1, rules.INT32_MAX),
    "max_tokens": ("max_output_tokens", 1, rules.INT32_MAX),
    "max_output_tokens": ("max_output_tokens", 1, rules.INT32_MAX),
    "frequency_penalty": ("frequency_penalty", -2, 2),
    "presence_penalty": ("presence_penalty", -2, 2),
}
_WHOLE = frozenset({"top_k", "max_output_tokens"})
_LONGEST_SLUG = 54


class Unusable(ValueError):
    """A value that has no place here; says why, and never what it is."""


def text(row: Row, name: str) -> str:
    """A column's text without the space around it; "" for none."""
    value = row.get(name)
    return "" if value is None else str(value).strip()


def flag(row: Row, name: str, *, default: bool) -> bool:
    """A column's truth; `default` for none."""
    value = row.get(name)
    if isinstance(value, str):
        return value.strip().lower() in {"1", "t", "true", "yes"}
    return default if value is None else bool(value)


def number(value: object) -> Decimal | None:
    """A value as the decimal number it is written as; None for none.

    Raises:
        Unusable: it is no finite number.
    """
    if value is None or value == "":
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        raise Unusable("is no number") from None
    if isinstance(value, bool) or not found.is_finite():
        raise Unusable("is no number")
    return found


def mapping(row: Row, name: str) -> dict[str, Any]:
    """A column's JSON object; {} for none.

    Raises:
        Unusable: it is something else.
    """
    value = row.get(name)
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else None
        except (ValueError, RecursionError):
            raise Unusable("is no JSON") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Unusable("is no JSON object")
    return value


def kind_of(row: Row, name: str) -> str:
    """The kind of provider a column names.

    Raises:
        Unusable: this service speaks to none of that name.
    """
    written = text(row, name).lower().replace(" ", "_")
    kind = kinds.canonical(KINDS.get(written, written))
    if kind not in kinds.kinds():
        raise Unusable(f"{name} is no kind of provider of this service: {written[:50]!r}")
    return kind


def params(given: Row, notes: dict[str, str], prefix: str = "") -> GenerationParams:
    """The parameters in there, and in `notes` why some are left out."""
    found: dict[str, Any] = {}
    for name, (ours, low, high) in _PARAMS.items():
        try:
            value = number(given.get(name))
            if value is None:
                continue
            if not low <= value <= high or (ours in _WHOLE and value % 1):
                raise Unusable(f"must be between {low} and {high}")
        except Unusable as error:
            notes[prefix + name] = str(error)
        else:
            found[ours] = int(value) if ours in _WHOLE else float(value)
    return GenerationParams(**found)


def is_param(name: str) -> bool:
    return name in _PARAMS


def labels(given: Row, notes: dict[str, str], prefix: str) -> dict[str, str]:
    """What fits as labels, and in `notes` what does not."""
    found: dict[str, str] = {}
    for name, value in given.items():
        written = str(value).lower() if isinstance(value, bool) else str(value)
        if value is None or isinstance(value, dict | list):
            notes[f"{prefix}{name[:64]}"] = "is no single value, so no label"
        elif len(found) == rules.MAX_LABELS or any(rules.labels("", {name: written})):
            notes[f"{prefix}{name[:64]}"] = "is no label: too long, or too many"
        else:
            found[name] = written
    return found


def price(row: Row, notes: dict[str, str], version: str = "imported") -> Price | None:
    """Of costs in dollars for a thousand tokens; 0 and nothing are both unknown. Exact."""
    items = []
    for name, meter in (
        ("cost_per_1k_input_tokens", "input-tokens"),
        ("cost_per_1k_output_tokens", "output-tokens"),
    ):
        try:
            dollars = number(row.get(name))
        except Unusable as error:
            notes[name] = str(error)
            continue
        if not dollars:
            continue
        if not 0 < (nanos := dollars * NANOS_A_MILLION) <= rules.MAX_TOKEN_PRICE or nanos % 1:
            notes[name] = "is no price in whole nano-dollars for a million tokens"
            continue
        items.append(PriceItem(meter, int(nanos)))
    return Price(version, tuple(items)) if items else None


def opened(sealed: str, circumstances: Circumstances) -> Source:
    """A key that was sealed with the old system's key.

    Raises:
        Unusable: there is no such key, or the secret is not sealed with it.
    """
    if not circumstances.old_key:
        raise Unusable(f"the key it is sealed with must be in {circumstances.key_variable}")
    try:
        return Source(SourceType.API_KEY, open_legacy_fernet(sealed, circumstances.old_key))
    except BadKeyring:
        raise Unusable(f"{circumstances.key_variable} holds no Fernet key") from None
    except ProviderCredentialUnreadable:
        raise Unusable(f"it was not sealed with the key in {circumstances.key_variable}") from None


def resource_id(written: str) -> str:
    """An id that is the same for the same text, and as like it as an id may be."""
    return catalog.model_id(written)


def distinct_id(prefix: str, written: str) -> str:
    """As `resource_id`, and different for texts that differ only in what ids cannot hold."""
    return _distinct(f"{prefix}-{written}")


def tenant_id(written: str) -> str:
    """The id of a tenant here: as it is written, after "t-" if it does not start with a letter.

    Raises:
        Unusable: there is none.
    """
    if not written:
        raise Unusable("it is of no tenant")
    return _distinct(written if written[0].isalpha() else f"t-{written}")


def _distinct(whole: str) -> str:
    slug = catalog.model_id(whole)
    return slug if slug == whole else f"{slug[:_LONGEST_SLUG].rstrip('-')}-{digest(whole)}"


def digest(written: str) -> str:
    return hashlib.sha256(written.encode()).hexdigest()[:8]


class Taken:
    """Which row took which name first: two rows never become one resource unnoticed."""

    def __init__(self) -> None:
        self._by_name: dict[str, str] = {}

    def take(self, name: str, row: str) -> None:
        """Raises: Unusable: another row has it."""
        first = self._by_name.setdefault(name, row)
        if first != row:
            raise Unusable(f"{first} is {name} already")

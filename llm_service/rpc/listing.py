"""How lists are asked for on the wire: a filter, order_by and opaque page tokens."""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from llm_service.domain.listing import Listing, Order, Page
from llm_service.errors import InvalidField, Violation
from llm_service.gateway.filters import INT64, Fields, FieldType, parse_filter

__all__ = [
    "FieldType",
    "Fields",
    "attempt",
    "listing",
    "next_token",
    "page_size",
    "parse_filter",
    "parse_order",
    "read_token",
    "sortable",
    "write_token",
]

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000
MAX_ORDER_FIELDS = 8
MAX_TOKEN_LENGTH = 4096

After = tuple[str | int | float | bool | None, ...]
T = TypeVar("T")


def listing(
    request: Any,
    method: str,
    fields: Fields,
    scope: Sequence[object] = (),
    *,
    searchable: bool = False,
) -> Listing:
    """The page that `request` asks for. `searchable`: its filter may hold bare words.

    `scope` holds the request's other parameters: a token given for one scope is refused in another.

    Raises:
        InvalidField: names each that is wrong of page_size, page_token, filter and order_by.
    """
    filter_text, order_text = getattr(request, "filter", ""), getattr(request, "order_by", "")
    scope = (method, filter_text, order_text, *scope)
    violations: list[Violation] = []
    limit = attempt(violations, lambda: page_size(request.page_size))
    after = attempt(violations, lambda: read_token(request.page_token, scope))
    tree = attempt(violations, lambda: parse_filter(filter_text, fields, searchable=searchable))
    order = attempt(violations, lambda: parse_order(order_text, fields))
    if violations:
        raise InvalidField(*violations)
    return Listing(limit or DEFAULT_PAGE_SIZE, tree, order or (), after)


def attempt(violations: list[Violation], parse: Callable[[], T]) -> T | None:
    """What `parse` gives; None, and what is wrong added to `violations`, if it refuses."""
    try:
        return parse()
    except InvalidField as error:
        violations += error.violations
        return None


def next_token(request: Any, method: str, page: Page[Any], scope: Sequence[object] = ()) -> str:
    """The token of the page after `page`; "" when it is the last."""
    if page.after is None:
        return ""
    order_text = getattr(request, "order_by", "")
    return write_token(page.after, (method, getattr(request, "filter", ""), order_text, *scope))


def page_size(size: int) -> int:
    """0 asks for the default; more than the maximum gets the maximum, as AIP-158 has it."""
    if size < 0:
        raise InvalidField(Violation("page_size", "must not be negative"))
    return min(size, MAX_PAGE_SIZE) or DEFAULT_PAGE_SIZE


# --- page tokens ---------------------------------------------------------------------------------


def write_token(after: After, scope: Sequence[object]) -> str:
    """An opaque token for the place `after` in the list that `scope` describes.

    It carries a digest of both, so that a cut, altered or borrowed token is refused. It is not a
    secret: whoever forges one only starts elsewhere in a list they may read anyway.
    """
    text = json.dumps([_digest(after, scope), *after], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_token(token: str, scope: Sequence[object], field: str = "page_token") -> After | None:
    """The place a token stands for; None for "", the list's beginning.

    Raises:
        InvalidField: not a token of this service, or one given for other parameters.
    """
    if not token:
        return None
    entries = _token_entries(token)
    if entries is None:
        raise InvalidField(Violation(field, "is not one that this service gave out"))
    digest, after = entries[0], tuple(entries[1:])
    if digest != _digest(after, scope):
        raise InvalidField(Violation(field, "was given for other parameters"))
    return after


def _token_entries(token: str) -> list[Any] | None:
    if len(token) > MAX_TOKEN_LENGTH or not token.isascii():
        return None
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        entries = json.loads(text)
    except (binascii.Error, ValueError, RecursionError):
        return None
    if not isinstance(entries, list) or not entries or not all(map(_is_scalar, entries)):
        return None
    return entries


def _is_scalar(entry: object) -> bool:
    if isinstance(entry, bool) or not isinstance(entry, int):
        return entry is None or isinstance(entry, str | float | bool)
    return -INT64 <= entry < INT64


def _digest(after: After, scope: Sequence[object]) -> str:
    text = json.dumps([list(after), [str(part) for part in scope]], separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=9).hexdigest()


# --- order_by ------------------------------------------------------------------------------------


def parse_order(text: str, fields: Fields) -> tuple[Order, ...]:
    """Sort keys from "priority, create_time desc"; () for "".

    Raises:
        InvalidField: a field that cannot be sorted by, named twice, or a direction that is none.
    """
    if not text.strip():
        return ()
    parts = text.split(",")
    if len(parts) > MAX_ORDER_FIELDS:
        raise InvalidField(Violation("order_by", f"has more than {MAX_ORDER_FIELDS} fields"))
    order = tuple(_order(part.split(), fields) for part in parts)
    if len({key.field for key in order}) < len(order):
        raise InvalidField(Violation("order_by", "names a field twice"))
    return order


def _order(words: list[str], fields: Fields) -> Order:
    if not words or len(words) > 2 or words[1:] not in ([], ["asc"], ["desc"]):  # noqa: PLR2004
        raise InvalidField(Violation("order_by", 'must be like "priority, create_time desc"'))
    if fields.get(words[0]) in (None, FieldType.LIST, FieldType.MAP):
        known = ", ".join(sorted(sortable(fields)))
        raise InvalidField(Violation("order_by", f"can only name {known or 'nothing'}"))
    return Order(words[0], descending=words[1:] == ["desc"])


def sortable(fields: Fields) -> list[str]:
    """The fields an order may name."""
    return [name for name, kind in fields.items() if kind not in (FieldType.LIST, FieldType.MAP)]

"""The vendors: one module for each kind of provider. A module that has a `KIND` is one."""

import functools
import importlib
import re
from pathlib import Path

from llm_service import errors
from llm_service.domain.provider import ProviderKind
from llm_service.providers.base import Account, Adapter
from llm_service.providers.egress import Egress

# Names that mean a kind on input; they are stored and shown as the kind.
ALIASES = {"claude": "anthropic", "grok": "xai", "gemini": "google", "mock": "echo"}

_DECLARES_KIND = re.compile(r"^KIND = ", re.M)


@functools.cache
def kinds() -> tuple[str, ...]:
    """Every kind, in alphabetical order.

    Modules are read, not imported: `openai_compatible.py` with a `KIND` is "openai-compatible".
    """
    modules = Path(__file__).parent.glob("*.py")
    return tuple(
        sorted(
            module.stem.replace("_", "-")
            for module in modules
            if module.name != "__init__.py"
            and _DECLARES_KIND.search(module.read_text(encoding="utf-8"))
        )
    )


def canonical(kind: str) -> str:
    """The kind that an alias stands for; any other word is returned as it is."""
    return ALIASES.get(kind, kind)


def provider_kind(kind: str) -> ProviderKind:
    """What a kind, or an alias of one, is. Imports its module, which is light.

    Raises:
        InvalidField: there is no such kind; the error names those there are.
    """
    declared: ProviderKind = _module(kind).KIND
    return declared


def connect(kind: str, account: Account, egress: Egress) -> Adapter:
    """Open a connection to an account. Imports the kind's module, which blocks: call from a thread.

    Raises:
        InvalidField: there is no such kind, or it does not take the account's address or settings.
        EgressDenied: the account's address is not one this service may dial.
    """
    adapter: Adapter = _module(kind).connect(account, egress)
    return adapter


def _module(kind: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 - a module has no better type
    kind = canonical(kind)
    if kind not in kinds():
        known = ", ".join(kinds())
        raise errors.InvalidField(errors.Violation("provider.kind", f"must be one of {known}"))
    return importlib.import_module(f"{__name__}.{kind.replace('-', '_')}")

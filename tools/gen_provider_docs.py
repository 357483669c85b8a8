"""Writes `docs/providers.md`, the list of provider kinds, from what each kind says of itself.

`--check` writes nothing and fails if the file is out of date.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from llm_service import providers
from llm_service.domain.provider import CancelPolicy, ProviderKind

PAGE = Path(__file__).resolve().parent.parent / "docs" / "providers.md"

INTRODUCTION = """# Provider kinds

Generated from `llm_service/providers` by `tools/gen_provider_docs.py`. Do not edit. A running
service says the same: `ProviderAdminService/ListProviderKinds`.

A provider is an account with a vendor: a `kind`, a `base_uri` where the kind's own address does
not serve, `settings`, and a credential. Addresses that are not public, Ollama's default among
them, need `LLM_EGRESS_ALLOW`. `CheckProvider` says whether an account works, and `SyncModels` lists
its models. `cancel_policy` overrides what is said here of callers who have gone.
"""

_CANCEL = {
    CancelPolicy.CLOSE: "closed at once.",
    CancelPolicy.DRAIN: "read on for a while, for the vendor's own count: it bills all of it.",
}


def main() -> int:
    page = render()
    if "--check" in sys.argv[1:]:
        if PAGE.exists() and PAGE.read_text() == page:
            return 0
        print("docs/providers.md is out of date: run tools/gen_provider_docs.py", file=sys.stderr)
        return 1
    PAGE.write_text(page)
    return 0


def render() -> str:
    kinds = [providers.provider_kind(kind) for kind in providers.kinds()]
    return "\n".join([INTRODUCTION, *(line for kind in kinds for line in _section(kind))])


def _section(kind: ProviderKind) -> Iterator[str]:
    yield f"## {kind.display_name}: `{kind.kind}`\n"
    aliases = [f"`{alias}`" for alias, name in providers.ALIASES.items() if name == kind.kind]
    if aliases:
        yield f"- Also taken as {' and '.join(aliases)}."
    if kind.default_base_uri:
        yield f"- Address: `{kind.default_base_uri}` unless `base_uri` says otherwise."
    yield f"- Credential: {_credentials(kind)}."
    yield f"- A call whose caller has gone: {_CANCEL[kind.cancel_policy]}"
    settings = json.loads(kind.settings_schema_json)["properties"]
    for name, setting in settings.items():
        words = (
            f" One of {', '.join(f'`{w}`' for w in setting['enum'])}." if "enum" in setting else ""
        )
        yield f"- Setting `{name}`: {setting['description'].rstrip('.')}.{words}"
    yield ""


def _credentials(kind: ProviderKind) -> str:
    if not kind.credential_source_types:
        return "none"
    sources = ", ".join(f"`{source.value}`" for source in kind.credential_source_types)
    return f"{sources}; may be left out" if kind.credential_optional else sources


if __name__ == "__main__":
    sys.exit(main())

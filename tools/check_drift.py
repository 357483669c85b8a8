"""Fails when a generated file is not what it is made from says. Changes nothing."""

import subprocess
import sys
import tempfile
from pathlib import Path

import gen_proto


def main() -> int:
    stale = [*stale_stubs(), *stale_docs()]
    if stale:
        sys.exit(f"out of date, run `make proto`: {', '.join(stale)}")
    print("stubs, docs/api.md and docs/providers.md are what they are made from")
    return 0


def stale_stubs() -> list[str]:
    """Files that differ, lack or are left over."""
    with tempfile.TemporaryDirectory() as folder:
        made = {path.name: path.read_bytes() for path in gen_proto.generate(Path(folder))}
    there = {
        path.name: path.read_bytes()
        for path in gen_proto.STUBS.iterdir()
        if "_pb2" in path.name or path.name == gen_proto.DESCRIPTOR_SET
    }
    names = sorted(made.keys() | there.keys())
    return [name for name in names if made.get(name) != there.get(name)]


def stale_docs() -> list[str]:
    pages = {"gen_api_docs.py": "docs/api.md", "gen_provider_docs.py": "docs/providers.md"}
    return [page for program, page in pages.items() if _is_stale(program)]


def _is_stale(program: str) -> bool:
    path = gen_proto.ROOT / "tools" / program
    return subprocess.run([sys.executable, path, "--check"], check=False).returncode != 0


if __name__ == "__main__":
    sys.exit(main())

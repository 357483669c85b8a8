"""The schema before anything else: checked, and made or upgraded where it is embedded."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from llm_service.bootstrap.trouble import CannotStart, DatabaseAway
from llm_service.errors import StorageUnavailable
from llm_service.settings import Settings
from llm_service.storage import migrations
from llm_service.storage.database import Database
from llm_service.storage.exclusive import AlreadyServed, sole_service

_MIGRATE = "import sys, llm_service.storage.migrations as m; m.upgrade(sys.stdin.read())"


def migrate(settings: Settings) -> str:
    """Bring the schema up to date; returns its revision. Blocks.

    Raises:
        CannotStart: the database does not answer, or is newer than this release.
    """
    _make_folder(settings)
    try:
        migrations.upgrade(settings.database_url)
    except (migrations.SchemaError, StorageUnavailable) as error:
        raise CannotStart(str(error)) from error
    return migrations.head()


async def prepare_schema(settings: Settings, notes: list[str]) -> bool:
    """Check the schema; the embedded database is migrated on the way. True: it was just made."""
    _make_folder(settings)
    async with Database.open(settings.database_url) as database:
        try:
            await database.check_schema()
        except migrations.SchemaOutdated as error:
            if not settings.embedded:
                raise CannotStart(str(error)) from error
            made = isinstance(error, migrations.SchemaMissing)
        except StorageUnavailable as error:
            raise DatabaseAway(str(error)) from error
        except migrations.SchemaError as error:
            raise CannotStart(str(error)) from error
        else:
            return False
    await asyncio.to_thread(_migrate_apart, settings)
    done = "prepared" if made else "upgraded"
    notes.append(f"{done} the embedded database in {settings.data_dir}")
    return made


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Nobody else serves from the embedded database for the length of the block.

    Raises:
        CannotStart: somebody does.
    """
    _make_folder(settings)
    with ExitStack() as stack:
        try:
            stack.enter_context(sole_service(settings.database_url))
        except AlreadyServed as error:
            raise CannotStart(f"{error}: stop it first, or use PostgreSQL for several") from error
        except OSError as error:
            raise CannotStart(f"cannot write {error.filename}: {error.strerror}") from error
        yield


def _migrate_apart(settings: Settings) -> None:
    """Migrate in a process of its own: the migration tool would stay in a server's memory."""
    done = subprocess.run(  # noqa: S603 - our own code; the URL, which may hold a password, is piped
        [sys.executable, "-c", _MIGRATE],
        input=settings.database_url,
        text=True,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise CannotStart("the embedded database could not be prepared: run llm-service migrate")


def _make_folder(settings: Settings) -> None:
    if not settings.database_url.is_sqlite:
        return
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise CannotStart(
            f"cannot make the folder {settings.data_dir}: {error.strerror}"
        ) from error

"""A server does not carry the ORM, and whoever asks for it still gets it."""

import subprocess
import sys

import pytest

ENGINES = "from llm_service.storage.engines import create; create('sqlite+aiosqlite:///x'); "
WHOLE = "from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker; "


def said(program: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; {program}"], capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        pytest.param(f"{ENGINES} print('sqlalchemy.orm' in sys.modules)", "False", id="not there"),
        pytest.param(
            f"{ENGINES} before = sys.modules['sqlalchemy.ext.asyncio'].AsyncEngine; {WHOLE}"
            "print(AsyncSession.__name__, AsyncEngine is before)",
            "AsyncSession True",
            id="there when asked for, with the same engine",
        ),
        pytest.param(
            f"{WHOLE} import sqlalchemy.ext.asyncio as whole; {ENGINES}"
            "print(sys.modules['sqlalchemy.ext.asyncio'] is whole)",
            "True",
            id="left as it is where it was there before",
        ),
        pytest.param(
            f"{ENGINES} import sqlalchemy.ext.asyncio as it; print(hasattr(it, 'nothing'))",
            "False",
            id="what is not in it is not",
        ),
    ],
)
def test_the_orm_is_imported_only_for_who_asks_for_it(program, expected):
    assert said(program) == expected

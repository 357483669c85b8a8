"""The page about the systems before this one: every row of theirs has a home and a test here."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "seeds.md"
ROWS = {1: 35, 2: 27, 3: 34, 4: 22}
"""How many each system has."""

WAITS = frozenset({"resilience", "budgets", "deployment", "web page"})

_ROW = re.compile(r"^\| (S\d+\.\d+) \| (.+?) \| (.+?) \| (.+?) \|$", re.M)
_PATH = re.compile(r"`([\w.-]+/[\w./-]*|[\w-]*\.(?:md|example|toml))`")


def rows() -> list[tuple[str, str, str, str]]:
    return _ROW.findall(PAGE.read_text())


@functools.cache
def names_in(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text())
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def problem_with(target: str) -> str:
    """Why the target shows nothing; "" if it is a class of work, a file or a test that exists."""
    if target in WAITS:
        return ""
    if not re.fullmatch(r"`[^`]+`", target):
        return f"{target} is neither a target nor what a row may wait for"
    path, _, test = target.strip("`").partition("::")
    if not (ROOT / path).is_file():
        return f"{path} is no file"
    if test and test not in names_in(ROOT / path):
        return f"{path} has no {test}"
    return ""


def test_every_row_is_there_once_and_in_order():
    expected = [f"S{system}.{n}" for system, count in ROWS.items() for n in range(1, count + 1)]

    assert [id_ for id_, *_ in rows()] == expected


def test_every_row_has_a_test_that_exists_or_says_what_it_waits_for():
    problems = [
        f"{id_}: {problem}"
        for id_, *_, targets in rows()
        for target in targets.split("<br>")
        if (problem := problem_with(target))
    ]

    assert problems == [], "\n".join(problems)


def test_every_home_that_is_a_path_exists():
    missing = [
        f"{id_}: {path}"
        for id_, _, home, _ in rows()
        for path in _PATH.findall(home)
        if not (ROOT / path).exists()
    ]

    assert missing == []


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("later", "is neither"),
        ("`tests/unit/test_nothing.py`", "is no file"),
        ("`tests/unit/test_seeds_page.py::test_nothing`", "has no test_nothing"),
    ],
)
def test_a_target_that_shows_nothing_is_found(target, problem):
    assert problem in problem_with(target)

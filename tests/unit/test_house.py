"""The rules of this project that no linter knows."""

import ast
import functools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from llm_service.commands import app

ROOT = Path(__file__).resolve().parents[2]
STUBS = ROOT / "llm_service" / "rpc" / "stubs"
FOLDERS = (".ci", "alembic", "bench", "docs", "llm_service", "proto", "tests", "tools")
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "core", "base_classes"}
MACHINE_PATH = re.compile(r"(?<![\w.<])/(?:work|root|tmp|home/\w+|Users/\w+)/\w")
BYTECODE = "__pycache__"

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40
MAX_PAGE_LINES = 150


def python_files(*folders: str) -> list[Path]:
    """Hand-written modules."""
    return sorted(
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if STUBS not in path.parents and "build" not in path.relative_to(ROOT).parts
    )


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def text_files() -> list[Path]:
    inside = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))
    on_top = (path for path in ROOT.iterdir() if path.name not in (".env", ".coverage", ".git"))
    return [path for path in (*inside, *on_top) if path.is_file() and is_text(path)]


def is_text(path: Path) -> bool:
    if BYTECODE in path.parts or "build" in path.relative_to(ROOT).parts:
        return False
    return b"\0" not in path.read_bytes()[:1024]


def relative(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def test_no_module_is_longer_than_four_hundred_lines():
    modules = python_files("llm_service", "tests", "tools", "bench", "alembic")

    long = [path for path in modules if len(path.read_text().splitlines()) > MAX_FILE_LINES]

    assert relative(long) == []


def test_no_function_is_longer_than_forty_lines():
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in python_files("llm_service", "tools")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 - docstring_lines(node) > MAX_FUNCTION_LINES
    ]

    assert long == []


def docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return len((ast.get_docstring(node) or "").splitlines())


def test_no_module_has_a_name_that_says_nothing():
    modules = python_files("llm_service", "tests", "tools", "bench")

    vague = [
        path for path in modules if BANNED_NAMES & {path.stem, *path.relative_to(ROOT).parent.parts}
    ]

    assert relative(vague) == []


def test_every_module_says_in_one_sentence_what_lives_here():
    silent = [
        path for path in python_files("llm_service", "tools") if not ast.get_docstring(parsed(path))
    ]

    assert relative(silent) == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_a_page_for_newcomers_stays_short(page):
    assert len((ROOT / page).read_text().splitlines()) <= MAX_PAGE_LINES


def test_no_file_names_a_path_of_one_machine():
    found = [path for path in text_files() if MACHINE_PATH.search(path.read_text(errors="ignore"))]

    assert relative(found) == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", ".pre-commit-config.yaml"])
def test_every_make_target_a_page_names_exists(page):
    named = set(re.findall(r"(?:`|^|entry: )make ([a-z-]+)", (ROOT / page).read_text(), re.M))

    assert named
    assert named <= make_targets()


def make_targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text()
    return set(re.findall(r"^([a-z][a-z0-9-]*):.*## ", makefile, re.M))


def test_every_make_target_says_what_it_does():
    makefile = (ROOT / "Makefile").read_text()

    phony = {
        name for line in re.findall(r"^\.PHONY: (.*)$", makefile, re.M) for name in line.split()
    }

    assert phony == make_targets()


def test_every_command_the_readme_names_exists():
    named = set(
        re.findall(r"(?:`|^)llm-service ([a-z][a-z-]+)", (ROOT / "README.md").read_text(), re.M)
    )
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    commands |= {group.name for group in app.registered_groups}

    assert named
    assert named <= commands


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_file_names_no_download_address_and_hashes_everything(lock):
    text = (ROOT / lock).read_text()
    requirements = text.replace("\\\n", " ").splitlines()

    without = [line for line in requirements if "==" not in line or "--hash=sha256:" not in line]

    assert "://" not in text
    assert without == []


def test_the_lock_files_hold_what_the_project_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime, everything = pins("requirements.lock"), pins("requirements-dev.lock")

    missed = [
        line
        for lines, locked in (
            (project["project"]["dependencies"], runtime),
            (project["project"]["optional-dependencies"]["tokenizers"], runtime),
            (project["dependency-groups"]["dev"], everything),
        )
        for line in lines
        if not satisfied(Requirement(line), locked)
    ]

    assert missed == []
    assert runtime.items() <= everything.items()


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_what_reads_vocabularies_is_locked_without_what_downloads_them(lock):
    assert "tokenizers" in pins(lock)
    assert "huggingface-hub" not in pins(lock)


def pins(lock: str) -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", (ROOT / lock).read_text(), re.M)
    return {canonicalize_name(name): version for name, version in found}


def satisfied(requirement: Requirement, locked: dict[str, str]) -> bool:
    version = locked.get(canonicalize_name(requirement.name))
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def test_an_idle_server_carries_no_library_it_may_never_need():
    heavy = (
        *("openai", "pydantic", "genai_prices", "alembic", "tiktoken", "tokenizers", "jwt"),
        *("cryptography.x509", "difflib", "opentelemetry.sdk"),
    )
    program = (
        f"import sys, llm_service.bootstrap\nprint(*sorted(set({heavy!r}) & set(sys.modules)))"
    )

    carried = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert carried.stdout.split() == []


def test_no_two_test_modules_share_a_name():
    names = [path.name for path in python_files("tests") if path.name.startswith("test_")]

    assert sorted(names) == sorted(set(names))

"""Installs this tree where it lies into the Python that runs this file: path, metadata, command.

What an editable install does, without a build backend among the packages that run the service.
"""

import shutil
import sys
import sysconfig
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SITE = Path(sysconfig.get_path("purelib"))
COMMAND = Path(sysconfig.get_path("scripts")) / "llm-service"


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    path_file = SITE / "llm_service.pth"
    path_file.write_text(f"{ROOT}\n")
    COMMAND.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m llm_service "$@"\n')
    COMMAND.chmod(0o755)
    describe(project["name"], project["version"], (path_file, COMMAND))
    return 0


def describe(name: str, version: str, files: tuple[Path, ...]) -> None:
    """Write what `importlib.metadata` reads and what pip needs to take the files away again."""
    for old in SITE.glob("llm_service-*.dist-info"):
        shutil.rmtree(old)
    folder = SITE / f"llm_service-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (folder / "INSTALLER").write_text("tools/link.py\n")
    own = (folder / file for file in ("METADATA", "INSTALLER", "RECORD"))
    (folder / "RECORD").write_text("".join(f"{file},,\n" for file in (*files, *own)))


if __name__ == "__main__":
    sys.exit(main())

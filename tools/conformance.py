"""Reads every recorded answer as its vendor's own SDK does, and names each one that differs.

The recordings are looked for in the folder WIRE names, one folder for each API.
"""

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1] / "tests" / "contract"
SHOWN = 160  # characters of a reason


class Tally:
    """Counts tests as they end, and prints the ones that fail."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0
        self.missing: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed += 1
            print(f"FAILED {report.nodeid.rpartition('/')[2]}: {_reason(report)}")
        elif report.when == "call" and report.passed:
            self.passed += 1
        elif report.skipped and isinstance(report.longrepr, tuple):
            self.missing.add(report.longrepr[2].removeprefix("Skipped: "))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failed += 1
            print(f"FAILED {report.nodeid}: it cannot be collected")


def _reason(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else str(report.longrepr)
    return " ".join(text.split())[:SHOWN]


def main() -> int:
    tally = Tally()
    files = [str(path) for path in sorted(TESTS.glob("test_wire_*.py"))]
    quiet = ["-o", "addopts=", "-p", "no:terminal", "-p", "no:xdist", "-p", "no:cacheprovider"]
    pytest.main([*quiet, *files], plugins=[tally])
    for reason in sorted(tally.missing):
        print(f"MISSING {reason}")
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 0 if tally.passed and not tally.failed else 1


if __name__ == "__main__":
    sys.exit(main())

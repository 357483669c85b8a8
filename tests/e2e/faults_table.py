"""Faults by dialects, for whoever ran them all."""

from dataclasses import dataclass, field


@dataclass
class Table:
    """`problems`: of each fault and dialect that was tried; an empty list passes."""

    faults: list[str]
    dialects: list[str]
    problems: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def add(self, fault: str, problems: dict[str, list[str]]) -> None:
        self.problems |= {(fault, dialect): found for dialect, found in problems.items()}

    def drawn(self, titles: dict[str, str]) -> str:
        """With a line under it for each that fails, and the sum of those that pass everywhere."""
        wide = max(len(title) for title in titles.values())
        head = " " * (wide + 6) + "  ".join(self.dialects)
        lines = ["", head]
        for fault in self.faults:
            cells = [
                self._cell(fault, dialect).ljust(len(dialect) + 2) for dialect in self.dialects
            ]
            lines.append(f"{fault}  {titles[fault]:{wide}} " + "".join(cells))
        for (fault, dialect), found in self.problems.items():
            lines += [f"{fault} {dialect}: {problem}" for problem in found]
        passed = [f for f in self.faults if all(self._passes(f, d) for d in self.dialects)]
        return "\n".join([*lines, f"{len(passed)} of {len(self.faults)} pass in every dialect", ""])

    def _cell(self, fault: str, dialect: str) -> str:
        if (fault, dialect) not in self.problems:
            return "-"
        return "pass" if self._passes(fault, dialect) else "FAIL"

    def _passes(self, fault: str, dialect: str) -> bool:
        return self.problems.get((fault, dialect)) == []

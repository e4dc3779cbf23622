"""The report of ``tools/doctor.py``: sections of lines for a reader, a record for programs."""

import json
import math
from typing import Any, Dict, List, NamedTuple, Tuple


class Problem(NamedTuple):
    """Something that makes the run not worth starting, and what to do about it."""

    what: str
    remedy: str


class Report:
    """What was found, in the order in which it was found.

    Attributes:
        sections: (title, lines).
        notes: worth knowing, nothing wrong.
        problems: wrong; with any of them the exit code is 1.
        record: the same for ``--json``.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.sections: List[Tuple[str, List[str]]] = []
        self.notes: List[str] = []
        self.problems: List[Problem] = []
        self.record: Dict[str, Any] = {}

    def section(self, title: str) -> List[str]:
        """A new section; append its lines to what is returned."""
        lines: List[str] = []
        self.sections.append((title, lines))
        return lines

    def problem(self, what: str, remedy: str) -> None:
        self.problems.append(Problem(what, remedy))

    def text(self) -> str:
        """The report to print: problems last, where a terminal leaves them in sight."""
        parts = [self.title]
        for title, lines in self.sections:
            if lines:
                parts += ["", title, *(f"  {line}" for line in lines)]
        if self.notes:
            parts += ["", "Notes", *(f"  - {note}" for note in self.notes)]
        parts.append("")
        if not self.problems:
            parts.append("Nothing wrong was found.")
        else:
            count = len(self.problems)
            parts.append(f"{count} PROBLEM{'S' if count > 1 else ''}")
            for number, (what, remedy) in enumerate(self.problems, 1):
                parts += [f"  {number}. {what}", f"     Remedy: {remedy}"]
        return "\n".join(parts)

    def json(self) -> str:
        """The record with notes and problems; numbers that are not finite become null."""
        content = dict(
            self.record,
            notes=self.notes,
            problems=[problem._asdict() for problem in self.problems],
            ok=not self.problems,
        )
        return json.dumps(_plain(content), indent=2) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

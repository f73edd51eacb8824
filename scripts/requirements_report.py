"""Which requirement ids have tests, and which have none.

Reads ``docs/requirements.txt`` and the ``requirement`` marks of every test file, without running a test.
Exits 1 when an id that is claimed has no test, or a test names an id that does not exist.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATES = ("done", "part", "open")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One line of the list."""

    id: str
    state: str
    title: str


def listed(path: Path) -> dict[str, Requirement]:
    """The ids, in the order of the file. Raises ``ValueError`` for a line that is not ``ID STATE TITLE``."""
    found: dict[str, Requirement] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = line.split(None, 2)
        if len(parts) != 3 or parts[1] not in STATES or parts[0] in found:
            raise ValueError(f"{path}:{number}: expected a new id, one of {', '.join(STATES)}, and a title")
        found[parts[0]] = Requirement(*parts)
    return found


def marks(source: str) -> list[tuple[str, int]]:
    """(id, line) of every argument of a ``requirement`` mark in a test file."""
    return [
        (str(argument.value), node.lineno)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "requirement"
        for argument in node.args
        if isinstance(argument, ast.Constant)
    ]


def proven(tests: Path) -> dict[str, list[str]]:
    """Places of the marks, by id."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for file in sorted(tests.rglob("test_*.py")):
        for name, line in marks(file.read_text(encoding="utf-8")):
            found[name].append(f"{file.relative_to(tests.parent)}:{line}")
    return dict(found)


def faults(known: dict[str, Requirement], tested: dict[str, list[str]]) -> list[str]:
    """What is wrong, one sentence each."""
    unknown = [f"{places[0]}: no requirement {name!r}" for name, places in tested.items() if name not in known]
    bare = [
        f"{one.id} is claimed ({one.state}) but no test is marked with it: {one.title}"
        for one in known.values()
        if one.state != "open" and one.id not in tested
    ]
    return unknown + bare


def main() -> int:
    """Print the table, or with ``--summary`` only the counts and the faults."""
    known = listed(ROOT / "docs" / "requirements.txt")
    tested = proven(ROOT / "tests")
    if "--summary" not in sys.argv:
        for one in known.values():
            print(f"{one.id:8} {one.state:5} {len(tested.get(one.id, [])):4} tests  {one.title}")
    without = [one.id for one in known.values() if one.id not in tested]
    print(f"{len(known)} requirements, {len(known) - len(without)} with tests, without: {', '.join(without)}")
    wrong = faults(known, tested)
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

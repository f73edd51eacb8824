"""How results are shown: rich tables for people, aligned columns when piped, one JSON document with ``--json``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

Row = Sequence[object]


def emit_json(data: object) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(data, indent=2 if sys.stdout.isatty() else None, default=str) + "\n")


def json_line(data: object) -> str:
    """One JSON document on one line, for streams of them."""
    return json.dumps(data, default=str)


def say(text: str = "") -> None:
    """A line on stdout."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Progress or an aside, on stderr so that stdout holds results only."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def cell(value: object) -> str:
    """One value as text: ``-`` for nothing, short floats, lists with commas."""
    match value:
        case None | "" | [] | ():
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
        case list() | tuple():
            return ", ".join(cell(item) for item in value)
        case dict():
            return ", ".join(f"{key}={cell(item)}" for key, item in value.items())
        case _:
            return str(value)


def table(columns: Sequence[str], rows: Sequence[Row], *, empty: str = "nothing to show") -> None:
    """A table; ``empty`` is said on stderr when there is no row."""
    if not rows:
        note(empty)
        return
    texts = [[cell(value) for value in row] for row in rows]
    if sys.stdout.isatty():
        from rich import box  # noqa: PLC0415 - only for people, and slow to import
        from rich.console import Console  # noqa: PLC0415 - same
        from rich.table import Column, Table  # noqa: PLC0415 - same
        from rich.text import Text  # noqa: PLC0415 - same

        # what comes first names the row and is typed or copied: it is never cut
        first, *others = columns
        shown = Table(Column(first, no_wrap=True), *others, box=box.SIMPLE_HEAD, pad_edge=False)
        for line in texts:
            shown.add_row(*(Text(value) for value in line))
        Console().print(shown)
        return
    widths = [max(len(line[index]) for line in [list(columns), *texts]) for index in range(len(columns))]
    for line in [[name.upper() for name in columns], *texts]:
        say("  ".join(value.ljust(width) for value, width in zip(line, widths, strict=True)).rstrip())


def facts(pairs: Mapping[str, object]) -> None:
    """Names and values, one a line, aligned."""
    width = max((len(name) for name in pairs), default=0)
    for name, value in pairs.items():
        say(f"{name.ljust(width)}  {cell(value)}")


def age(at: float | None) -> str:
    """How long ago a Unix time was."""
    if not at:
        return "-"
    seconds = max(0.0, time.time() - at)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def size(count: float | None, step: float = 1000.0) -> str:
    """A large number with its unit letter."""
    if count is None:
        return "-"
    for unit in ("", "k", "M", "G"):
        if abs(count) < step:
            return f"{count:.0f}{unit}" if unit == "" else f"{count:.3g}{unit}"
        count /= step
    return f"{count:.3g}T"


def pick(data: Mapping[str, Any], *names: str) -> list[object]:
    """Values of ``data`` by name, ``None`` where absent."""
    return [data.get(name) for name in names]

"""Finds the line of a key in a TOML text, because ``tomllib`` keeps no positions.

It reads lines, not the grammar: the file has already been parsed by ``tomllib`` when this is asked.
"""

from __future__ import annotations

import re
import tomllib

_PART = r"(?:\"(?:[^\"\\]|\\.)*\"|'[^']*'|[A-Za-z0-9_-]+)"
_KEY = re.compile(rf"^\s*({_PART}(?:\s*\.\s*{_PART})*)\s*=")
_HEADER = re.compile(rf"^\s*\[\[?\s*({_PART}(?:\s*\.\s*{_PART})*)\s*\]\]?\s*(?:#.*)?$")


def _split(dotted: str) -> tuple[str, ...]:
    """The parts of a dotted key, unquoted."""
    table = tomllib.loads(f"{dotted} = 0")
    parts: list[str] = []
    node: object = table
    while isinstance(node, dict):
        ((part, node),) = node.items()
        parts.append(part)
    return tuple(parts)


def lines(text: str) -> dict[tuple[str, ...], int]:
    """First line (from 1) of every table header and key that stands on a line of its own."""
    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    inside: str | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if inside is not None:
            if line.count(inside) % 2:
                inside = None
            continue
        if header := _HEADER.match(line):
            table = _split(header[1])
            for end in range(1, len(table) + 1):
                found.setdefault(table[:end], number)
        elif key := _KEY.match(line):
            path = table + _split(key[1])
            for end in range(len(table) + 1, len(path) + 1):
                found.setdefault(path[:end], number)
            inside = next((quote for quote in ('"""', "'''") if line.count(quote) % 2), None)
    return found


def line_of(text: str, path: tuple[str, ...]) -> int | None:
    """Line of ``path``, or of the nearest table that contains it; ``None`` when nothing matches."""
    found = lines(text)
    for end in range(len(path), 0, -1):
        if path[:end] in found:
            return found[path[:end]]
    return None

"""The training export for Vowpal Wabbit (``vw --cb_adf``): one example for each scored choice, with its own chain.

An example is a line ``shared``, one line for each version that could be drawn, the chosen one labelled
``0:cost:probability`` with cost = 1 - reward, and an empty line. Rows without a reward and rows that were no choice
(fallbacks) teach nothing and are left out. Format: https://github.com/VowpalWabbit/vowpal_wabbit/wiki/Input-format
and https://vowpalwabbit.org/tutorials/contextual_bandits.html; the tag of the shared line holds the chain.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from podium.core.hash_chain import FINAL, HASH, PREVIOUS, ROW, Checker, Link, Sealer, canonical, digest
from podium.services.export import Row, Sealed

_EXAMPLE = "example"
_SHARED = "shared '"
_RESERVED = str.maketrans({char: f"%{ord(char):02X}" for char in "%|:' \t\r\n\v\f\x1c\x1d\x1e\x1f\x85\u2028\u2029"})
LONGEST_LINE = 16 * 1024 * 1024
_MOST_LINES = 10_000
"""Of one example."""


class VwWriter:
    """Writes to an open file, which stays open. The newest example is held back: the last one says that it is."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._chain = Sealer()
        self._held: str | None = None
        self.rows = 0
        """Examples written."""
        self.left_out = 0
        """Rows that teach nothing."""

    @property
    def last(self) -> str:
        """The hash of the newest example written."""
        return self._chain.last

    def write(self, sealed: Sealed) -> None:
        """One row."""
        row = sealed.row
        if row["reward"] is None or not row["evaluable"]:
            self.left_out += 1
            return
        if self._held is not None:
            self._put(self._held, final=False)
        self._held = example(row)

    def close(self) -> None:
        """Write what was held back."""
        if self._held is not None:
            self._put(self._held, final=True)
            self._held = None

    def _put(self, text: str, *, final: bool) -> None:
        row: dict[str, object] = {_EXAMPLE: text}
        self._chain.seal(row, final=final)
        tag = f"{row[ROW]}/{row[PREVIOUS]}/{row[HASH]}/{'last' if final else 'more'}"
        self._file.write(f"{_SHARED}{tag} {text}\n\n".encode())
        self.rows += 1


def example(row: Row) -> str:
    """The lines of one example, the first without ``shared`` and tag."""
    considered = {item["ref"]: item for item in row["considered"]}
    known = f"task={_word(row['task'])} classified_by={_word(row['classified_by'])}"
    lines = [f"|c {known} task_confidence:{row['task_confidence']!r}"]
    for ref in row["candidates"]:
        label = f"0:{1.0 - row['reward']!r}:{row['propensity']!r} " if ref == row["chosen"] else ""
        lines.append(f"{label}|a ref={_word(ref)}{_features(considered.get(ref))}")
    return "\n".join(lines)


def _features(item: Row | None) -> str:
    """What the decision knew of a candidate; samples as ``ln(1 + n)``."""
    if item is None:
        return ""
    terms = (f" {_word(name)}:{value!r}" for name, value in item["terms"].items() if value is not None)
    score = "" if item["score"] is None else f" score:{item['score']!r}"
    return f"{score} samples:{math.log1p(item['samples'])!r}{''.join(terms)}"


def _word(text: str) -> str:
    """A name as one word: what separates in this format, and ``%``, is written as %XX."""
    return text.translate(_RESERVED)


def check_vw(path: Path, checker: Checker, progress: Callable[[float], None]) -> None:
    """Feed every example to ``checker``; a place is the number of the example. Raises ``OSError``."""
    size, read, place = max(1, path.stat().st_size), 0, 0
    lines: list[bytes] = []
    with path.open("rb", buffering=1 << 20) as file:
        while line := file.readline(LONGEST_LINE + 1):
            read += len(line)
            text = line.rstrip(b"\n")
            if text and len(lines) < _MOST_LINES:
                lines.append(text)
            elif not text:
                place += bool(lines)
                _check(place, lines, checker)
                lines = []
                progress(read / size)
    if lines:
        checker.broken(place + 1, "it has no empty line at its end")


def _check(place: int, lines: list[bytes], checker: Checker) -> None:
    if not lines:
        return
    try:
        text = b"\n".join(lines).decode()
    except UnicodeDecodeError:
        checker.broken(place, "it is not UTF-8")
        return
    tag, _, rest = text.removeprefix(_SHARED).partition(" ")
    parts = tag.split("/")
    if not text.startswith(_SHARED) or len(parts) != 4 or not parts[0].isdecimal() or parts[3] not in {"last", "more"}:
        checker.broken(place, "it has no tag of an export")
        return
    number, previous, said, final = int(parts[0][:18]), parts[1], parts[2], parts[3] == "last"
    sealed = canonical({_EXAMPLE: rest, ROW: number, PREVIOUS: previous, FINAL: final})
    checker.add(place, Link(row=number, previous=previous, hash=said, final=final, intact=digest(sealed) == said))

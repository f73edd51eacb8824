"""The integrity chain of an export: each row's hash covers the row and the hash of the row before it. Pure.

Owns the canonical text that is hashed, how rows are sealed, and the judgment of a chain read back. Must not know
where rows come from or how a file holds them.

The hash of a row is SHA-256, in hex, of the row without ``hash`` as JSON: keys sorted, no spaces, text as it is in
UTF-8, numbers as Python writes them. The row holds its number, the hash of the row before it (``START`` for the
first) and whether it is the last one, so that a row that was altered, removed, moved or cut off shows. Whoever can
rewrite all rows can make a new chain: the hash of the last row, kept elsewhere, tells.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

START = "0" * 64
ROW, PREVIOUS, FINAL, HASH = "row", "previous", "final", "hash"
_encoded = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
MOST_PROBLEMS = 20
"""Problems that are told; further ones are counted."""


def canonical(row: Mapping[str, object] | Sequence[object]) -> str:
    """The text that is hashed. Raises ``ValueError`` for nan and infinity, ``TypeError`` for what JSON has not."""
    return _encoded(row)


def digest(text: str) -> str:
    """SHA-256 in hex. Raises ``UnicodeEncodeError`` for half of a surrogate pair."""
    return hashlib.sha256(text.encode()).hexdigest()


class Sealer:
    """Numbers and links rows in the order they come."""

    def __init__(self) -> None:
        self.rows = 0
        self.last = START
        """The hash of the newest row."""
        self._mark = secrets.token_hex(16)
        """Stands in for a field that is written already; nobody can have put it into a row."""

    def seal(self, row: dict[str, object], *, final: bool, written: tuple[str, str] | None = None) -> str:
        """Add the four fields of the chain to ``row``; returns the canonical text without ``hash``.

        ``written`` is a field of ``row`` and its canonical text, for one that many rows share.
        """
        row[ROW], row[PREVIOUS], row[FINAL] = self.rows + 1, self.last, final
        if written is None:
            text = canonical(row)
        else:
            name, ready = written
            text = canonical({**row, name: self._mark}).replace(f'"{self._mark}"', ready, 1)
        row[HASH] = self.last = digest(text)
        self.rows += 1
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What a file says of one row's place in the chain."""

    row: int
    previous: str
    hash: str
    final: bool
    intact: bool
    """Its hash is that of its contents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is wrong with a chain; nothing when ``problems`` is empty."""

    rows: int
    """Rows read."""
    last: str
    """The hash that the last row has."""
    problems: tuple[str, ...] = ()
    more: int = 0
    """Problems beyond those told."""

    @property
    def intact(self) -> bool:
        """The rows are those that were exported, all of them, in order."""
        return not self.problems


@dataclass(slots=True)
class Checker:
    """Takes the links of a file in its order. ``unit`` is what a place in the file counts: ``line`` or ``row``."""

    unit: str = "line"
    _rows: int = 0
    _expected: int = 1
    """The number after the highest one so far."""
    _tip: str = START
    """The hash of the row before ``_expected``."""
    _last: str = START
    _ended: bool = False
    _final: bool = False
    _missing: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Gaps by their first row: (last row, place they were noticed at)."""
    _problems: list[str] = field(default_factory=list)
    _more: int = 0

    def add(self, place: int, link: Link) -> None:
        """The next row, at ``place`` of the file."""
        where = f"row {link.row} ({self.unit} {place})"
        if self._ended:
            self._say(f"{where} comes after the row that was the last one")
        if not link.intact:
            self._say(f"{where} was altered: its hash is not that of its contents")
            self._pass(link.hash)  # an altered number says nothing
        elif link.row == self._expected:
            if self._tip not in ("", link.previous):
                self._say(f"{where} follows on another row than the one before it: {self._culprit(link.row)}")
            self._pass(link.hash)
        else:
            self._out_of_order(link, place)
        self._rows += 1
        self._last, self._ended = link.hash, link.final
        self._final = self._final or link.final

    def broken(self, place: int, why: str) -> None:
        """Something at ``place`` is no row of an export."""
        self._say(f"{self.unit} {place} (where row {self._expected} is due) is damaged: {why}")
        self._rows += 1
        self._pass("")
        self._last, self._ended = "", False

    def finish(self, expected: str | None = None) -> Verdict:
        """The file has ended. ``expected`` is the hash of the last row as noted when it was exported."""
        for first, (last, place) in self._missing.items():
            what = f"row {first} is" if first == last else f"rows {first} to {last} are"
            self._say(f"{what} missing before {self.unit} {place}")
        if self._rows == 0:
            self._say("there is no row")
        elif not self._final:
            self._say(f"the file ends with row {self._expected - 1}, which was not the last one: it was cut off")
        if expected is not None and expected != self._last:
            self._say(f"the last row has the hash {self._last}, not {expected}: this is another export")
        return Verdict(rows=self._rows, last=self._last, problems=tuple(self._problems), more=self._more)

    def _pass(self, tip: str) -> None:
        self._expected += 1
        self._tip = tip

    def _culprit(self, row: int) -> str:
        return f"row {row - 1} was replaced" if row > 1 else "it was not the first of its export"

    def _out_of_order(self, link: Link, place: int) -> None:
        row = link.row
        for first, (last, noticed) in self._missing.items():
            if first <= row <= last:
                self._say(f"row {row} was moved: it stands in {self.unit} {place}, behind later rows")
                del self._missing[first]
                if first < row:
                    self._missing[first] = (row - 1, noticed)
                if row < last:
                    self._missing[row + 1] = (last, noticed)
                return
        if row < self._expected:
            self._say(f"row {row} was repeated: it stands in {self.unit} {place} once more")
            return
        if len(self._missing) < MOST_PROBLEMS:
            self._missing[self._expected] = (row - 1, place)
        else:
            self._more += 1
        self._expected, self._tip = row + 1, link.hash

    def _say(self, problem: str) -> None:
        if len(self._problems) < MOST_PROBLEMS:
            self._problems.append(problem)
        else:
            self._more += 1

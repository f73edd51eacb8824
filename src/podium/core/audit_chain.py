"""The chain of the audit log: what is hashed, and what is wrong with rows read back. Pure.

The hash of a row is SHA-256 of its fields as canonical JSON (see ``hash_chain``), its number and the hash of the row
before it among them. So a row that was altered, taken out, put in or moved shows at the first such row. What was cut off
at the end, or written anew as a whole, shows only against a head that was kept elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from podium.core.hash_chain import START, canonical, digest
from podium.domain.audit import AuditEntry, AuditRow, Author, Head, Phase

NOTHING = Head(seq=0, hash=START)


def fields(entry: AuditEntry) -> dict[str, str | int | float | None]:
    """An entry as one flat row."""
    author = entry.author
    return {
        "at": float(entry.at),
        "phase": entry.phase.value,
        "action": entry.action,
        "who": author.id,
        "name": author.name,
        "role": author.role,
        "via": author.via,
        "origin": author.origin,
        "what": entry.what,
        "subject": entry.subject,
        "task": entry.task,
        "asked": entry.asked,
        "before": entry.before,
        "after": entry.after,
        "status": entry.status,
        "outcome": entry.outcome,
        "request_id": entry.request_id,
        "missed": entry.missed,
    }


def entry_of(row: Mapping[str, object]) -> AuditEntry:
    """The entry of a flat row. Raises ``KeyError``, ``ValueError`` for what is none."""
    values = dict(row)
    author = Author(
        id=str(values.pop("who")),
        name=str(values.pop("name")),
        role=values.pop("role"),  # type: ignore[arg-type]  # as it was written; a changed type shows in the hash
        via=values.pop("via"),  # type: ignore[arg-type]  # same
        origin=str(values.pop("origin")),
    )
    values["phase"] = Phase(str(values["phase"]))
    return AuditEntry(author=author, **values)  # type: ignore[arg-type]  # same


def hash_of(seq: int, previous: str, row: Mapping[str, object]) -> str:
    """The hash of a flat row in its place. Raises ``UnicodeEncodeError`` for half of a surrogate pair."""
    return digest(canonical({**row, "seq": seq, "previous": previous}))


def link(entry: AuditEntry, last: Head) -> AuditRow:
    """The row that an entry becomes behind ``last``."""
    seq = last.seq + 1
    return AuditRow(seq=seq, entry=entry, previous=last.hash, hash=hash_of(seq, last.hash, fields(entry)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``problem`` names the first row that is wrong, ``None`` when all are right up to ``head``."""

    rows: int
    head: Head
    problem: str | None = None
    row: int | None = None
    """The number of that row."""


RawRow = Mapping[str, object]
"""A flat row with ``seq``, ``previous`` and ``hash``."""


class Checker:
    """Takes the rows in the order of their numbers and stops at the first that is wrong."""

    def __init__(self) -> None:
        self.rows = 0
        self.head = NOTHING
        self.verdict: Verdict | None = None

    def add(self, raw: RawRow) -> bool:
        """The next row; false when it is wrong."""
        self.rows += 1
        row = dict(raw)
        seq, previous, found = row.pop("seq"), row.pop("previous"), row.pop("hash")
        expected = self.head.seq + 1
        if not isinstance(seq, int) or seq < expected:
            return self._wrong(expected, f"row {seq} stands where row {expected} is due")
        if seq > expected:
            missing = f"row {expected} is" if seq == expected + 1 else f"rows {expected} to {seq - 1} are"
            return self._wrong(expected, f"{missing} missing")
        if not _fits(seq, str(previous), row, found):
            return self._wrong(seq, f"row {seq} was altered: its hash is not that of its contents{_moved(row, raw)}")
        if previous != self.head.hash:
            culprit = f"row {seq - 1} was replaced" if seq > 1 else "rows before it were taken away"
            return self._wrong(seq, f"row {seq} follows on another row than the one before it: {culprit}")
        self.head = Head(seq=seq, hash=str(found))
        return True

    def finish(self) -> Verdict:
        """What came out."""
        return self.verdict or Verdict(rows=self.rows, head=self.head)

    def fail(self, problem: str) -> bool:
        """What comes next is no row at all; returns false."""
        return self._wrong(self.head.seq + 1, problem)

    def _wrong(self, row: int, problem: str) -> bool:
        self.verdict = Verdict(rows=self.rows, head=self.head, problem=problem, row=row)
        return False


def _fits(seq: int, previous: str, row: Mapping[str, object], found: object) -> bool:
    try:
        return hash_of(seq, previous, row) == found
    except (TypeError, ValueError):  # bytes, nan, half of a surrogate pair: nothing of ours
        return False


def _moved(row: Mapping[str, object], raw: RawRow) -> str:
    """Whether it is a row of another place under this number: then its own hash fits there."""
    most = int(str(raw["seq"])) + _NEAR
    for seq in range(max(1, most - 2 * _NEAR), most):
        if _fits(seq, str(raw["previous"]), row, raw["hash"]):
            return f"; it was row {seq} and has been moved here"
    return ""


_NEAR = 1_000
"""How far around a wrong row its own place is looked for."""


def against(verdict: Verdict, kept: Head | None, hash_at: Callable[[int], str | None], where: str) -> str | None:
    """What is wrong with an intact chain measured by a head that was kept ``where``; ``None`` if it fits."""
    if kept is None or kept.seq == 0:
        return None
    if kept.seq > verdict.head.seq:
        gone = kept.seq - verdict.head.seq
        return (
            f"the last {gone} rows are missing: {where} says that row {kept.seq} was written, the log ends with row "
            f"{verdict.head.seq}. They were cut off, or lost in a power cut, or an older copy of the database is in place"
        )
    if hash_at(kept.seq) != kept.hash:
        return f"row {kept.seq} is not the one that {where} names: the log was written anew"
    return None

"""An exported audit log, read back line by line: is it whole, in order, and as it was written. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from podium.core.audit_chain import Checker
from podium.domain.audit import Head


@dataclass(frozen=True, slots=True, kw_only=True)
class FileVerdict:
    """``problem`` is the first thing that is wrong. The file holds the rows after ``after``."""

    rows: int
    after: int
    head: Head
    problem: str | None = None


def verify_lines(lines: Iterable[str], known: Head | None = None) -> FileVerdict:
    """Check an export. ``known`` is a row whose hash somebody noted.

    A file that does not begin with the first row is checked from its first row on: that it follows on an earlier file is
    for whoever has that one, whose last hash ``known`` may be.
    """
    checker, after, end, problem, seen = Checker(), 0, None, None, None
    for place, line in enumerate(lines, start=1):
        if end is not None:
            problem = f"line {place} comes after the end"
            break
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or not ("end" in row or "seq" in row):
            problem = f"line {place} is no row of an audit log"
            break
        if "end" in row:
            end = row["end"]
            continue
        if place == 1 and isinstance(row["seq"], int) and row["seq"] > 1:
            after = row["seq"] - 1
            checker.head = Head(seq=after, hash=str(row.get("previous")))
            seen = checker.head if known is not None and known.seq == after else None
        if not _added(checker, row):
            break
        if known is not None and checker.head.seq == known.seq:
            seen = checker.head
    verdict = checker.finish()
    problem = verdict.problem or problem or _end(end, verdict.head, verdict.rows, after) or _known(known, seen)
    return FileVerdict(rows=verdict.rows, after=after, head=verdict.head, problem=problem)


def _added(checker: Checker, row: dict[str, object]) -> bool:
    if not {"seq", "previous", "hash"} <= row.keys():
        return checker.fail(f"row {row.get('seq')} lacks a part of the chain")
    return checker.add(row)


def _end(end: object, head: Head, rows: int, after: int) -> str | None:
    if not isinstance(end, dict):
        return f"the file ends with row {head.seq} and without its end: it was cut off"
    if end.get("row") != head.seq or (rows and end.get("hash") != head.hash):
        return f"the file ends with row {head.seq}, but says that it ends with row {end.get('row')}"
    if end.get("after") != after and rows:
        return f"the file begins with row {after + 1}, but says that it begins with row {end.get('after', 0) + 1}"
    return None


def _known(known: Head | None, seen: Head | None) -> str | None:
    if known is None:
        return None
    if seen is None:
        return f"row {known.seq}, whose hash you noted, is not in this file"
    return None if seen == known else f"row {known.seq} has another hash than you noted: the log was written anew"

"""The end of the audit log, kept beside the database: by it one sees that rows at the end are gone.

Owns the file ``audit.head`` (readable by its user only). It is written after every commit that holds new rows, before
anybody hears of that commit; so it may be behind the log after a crash, and never ahead of it unless the log was cut.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

from sqlalchemy import Connection

from podium.core.audit_chain import Verdict, against
from podium.domain.audit import PODIUM, AuditEntry, Head, Phase
from podium.store import audit

NAME = "audit.head"
BROKEN = "audit.broken"


class HeadFile:
    """Reads and writes the file beside the database at ``database``."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(NAME)
        self.problem: str | None = None
        """Why it could not be written last; then it is behind."""

    def write(self, head: Head) -> None:
        """Replace what it says. Never raises."""
        partial = self.path.with_name(f"{NAME}.partial")
        content = json.dumps({"seq": head.seq, "hash": head.hash, "at": time.time()}).encode()
        try:
            handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                os.write(handle, content)
            finally:
                os.close(handle)
            partial.replace(self.path)
        except OSError as error:
            self.problem = f"{self.path} cannot be written: {error.strerror}"
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
        else:
            self.problem = None

    def read(self) -> Head | None:
        """What it says; ``None`` without it. Raises ``ValueError`` for what is no head."""
        try:
            said = json.loads(self.path.read_bytes())
            return Head(seq=int(said["seq"]), hash=str(said["hash"]))
        except FileNotFoundError:
            return None
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self.path} cannot be read: {error}") from None


def settle(connection: Connection, file: HeadFile) -> str | None:
    """Compare the log with the file as the database is opened; what does not fit is noted in the log itself, for good.

    Returns the problem, ``None`` when all fits. Only the end is looked at; ``podium audit verify`` looks at every row.
    """
    last = audit.head(connection)
    try:
        kept = file.read()
        problem = f"{file.path} is gone" if kept is None and last.seq else None
    except ValueError as error:
        kept, problem = None, str(error)
    verdict = Verdict(rows=last.seq, head=last)
    problem = problem or against(verdict, kept, lambda seq: audit.hash_at(connection, seq), NAME)
    if problem is None:
        return None
    expected = {} if kept is None else {"expected_row": kept.seq, "expected_hash": kept.hash}
    note = AuditEntry(
        at=time.time(),
        phase=Phase.NOTE,
        action=f"{BROKEN}@{time.time():.6f}",
        author=PODIUM,
        what=BROKEN,
        subject="audit",
        after=json.dumps({**expected, "row": last.seq, "hash": last.hash, "says": problem}),
        outcome="failed",
    )
    audit.append(connection, (note,))
    return problem

"""What the audit log costs: time added to a control action, bytes of an action on disk, time to check and export rows.

    python benchmarks/audit.py [--actions 2000] [--rows 100000]

On a real database in a folder of its own. One action is two rows in two commits; the time is from one call to its end,
one action after the other, and for 32 at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

from podium.core.audit_chain import NOTHING
from podium.domain.audit import AuditEntry, Author, Phase
from podium.services.auditing import Audit, Ending, Order
from podium.store import SqliteStore, open_store

AUTHOR = Author(id="abcdefgh", name="an operator", role="operator", via="cli", origin="10.1.2.3")
BEFORE = {
    "serves": "coder@1",
    "strategy": "default",
    "exploration": None,
    "criteria": {"min_quality": 0.5},
    "keywords": 3,
}


class Clock:
    """The machine's."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


async def one(audit: Audit, number: int) -> float:
    """Milliseconds that one action takes of the log."""
    order = Order(
        author=AUTHOR,
        what="POST /api/v1/tasks/{task}/swap",
        subject=f"task:t{number}",
        task=f"t{number}",
        asked={"to": "coder@2", "mode": "immediate", "strict": False, "reason": "it was better last week"},
        before=BEFORE,
        request_id=f"req_{number:016x}",
    )
    start = time.perf_counter()
    begun = await audit.begin(order)
    await audit.end(begun, Ending(status=200, after={**BEFORE, "serves": "coder@2"}))
    return (time.perf_counter() - start) * 1000


async def filled(store: SqliteStore, rows: int) -> None:
    """Append many rows in few commits."""
    for start in range(0, rows, 1000):
        entries = [
            AuditEntry(
                at=float(n), phase=Phase.EVENT, action=f"a{n}", author=AUTHOR, what="rule.fired", subject="task:x"
            )
            for n in range(start, min(rows, start + 1000))
        ]
        await store.append_audit(entries)


async def measured(actions: int, rows: int) -> dict[str, object]:
    """All of it."""
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder) / "podium.db")
        audit = Audit(store, Clock())
        await one(audit, 0)
        cpu = time.process_time()
        alone = [await one(audit, number) for number in range(actions)]
        cpu = (time.process_time() - cpu) / actions * 1000
        start = time.perf_counter()
        for number in range(0, actions, 32):
            await asyncio.gather(*(one(audit, number + part) for part in range(32)))
        together = (time.perf_counter() - start) / actions * 1000
        pages = await store._writer.run(  # noqa: SLF001 - the size of one table is nobody's verb
            lambda c: c.exec_driver_sql(
                "SELECT sum(pgsize) FROM dbstat WHERE name IN ('audit', 'ix_audit_action')"
            ).scalar()
        )
        head = await store.audit_head()
        assert head != NOTHING
        await filled(store, rows)
        start, checked_cpu = time.perf_counter(), time.process_time()
        verdict, problem = await store.check_audit()
        checked, checked_cpu = time.perf_counter() - start, time.process_time() - checked_cpu
        assert verdict.problem is None
        assert problem is None
        await store.close()
        cuts = statistics.quantiles(alone, n=100)
        return {
            "actions": actions,
            "ms_median": round(cuts[49], 3),
            "ms_p99": round(cuts[98], 3),
            "cpu_ms_each": round(cpu, 3),
            "ms_each_of_32_at_a_time": round(together, 3),
            "bytes_per_action": round(pages / (head.seq / 2)) if pages else None,
            "rows_checked": verdict.rows,
            "rows_checked_per_s": round(verdict.rows / checked),
            "rows_checked_per_cpu_s": round(verdict.rows / checked_cpu),
        }


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--actions", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=100_000)
    given = parser.parse_args()
    print(json.dumps(asyncio.run(measured(given.actions, given.rows))))


if __name__ == "__main__":
    main()

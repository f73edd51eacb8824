"""The audit log on a real database: a row before and after, a full disk, a flood, an altered file."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from podium.domain.audit import AuditFilter, AuditRow, Author, Head, Phase
from podium.domain.swap import Event, Swap, SwapState
from podium.errors import StoreError
from podium.ports import Batch, Page
from podium.services.auditing import INTERRUPTED, Audit, Ending, Order
from podium.store import SqliteStore, open_store

pytestmark = pytest.mark.requirement("OPS-3")
ANN = Author(id="k1", name="ann", role="admin", origin="10.0.0.1")
ALL = AuditFilter()


class Clock:
    def __init__(self) -> None:
        self.at = 1_000.0

    def now(self) -> float:
        return self.at

    monotonic = now


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = open_store(tmp_path / "podium.db")
    yield opened
    await opened.close()


def order(number: int = 0, **more: Any) -> Order:
    return Order(author=ANN, what="PUT /x", subject=f"task:t{number}", **more)


async def listed(store: SqliteStore, wanted: AuditFilter = ALL) -> tuple[tuple[AuditRow, ...], ...]:
    return await store.audit_actions(wanted, Page(limit=1_000))


async def done(audit: Audit, count: int) -> None:
    for number in range(count):
        await audit.end(await audit.begin(order(number)), Ending(status=200))


def tampered(path: Path, *statements: str) -> None:
    """As somebody with the database open would: triggers stand in the way until they are dropped."""
    connection = sqlite3.connect(path)
    for name in ("audit_appends", "audit_never_changes", "audit_stays"):
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


async def test_an_action_is_on_disk_before_it_is_done_and_its_end_before_it_is_told(store: SqliteStore) -> None:
    audit = Audit(store, Clock())
    begun = await audit.begin(order(asked={"to": "m@2"}, before={"serves": "m@1"}, request_id="req_1"))
    ((first,),) = await listed(store)
    assert (first.entry.phase, first.entry.asked, first.entry.request_id) == (Phase.ASKED, '{"to":"m@2"}', "req_1")
    await audit.end(begun, Ending(status=200, after={"serves": "m@2"}))
    ((first, last),) = await listed(store)
    assert (last.entry.phase, last.entry.status, last.entry.outcome) == (Phase.DONE, 200, "ok")
    assert (first.entry.before, last.entry.after) == ('{"serves":"m@1"}', '{"serves":"m@2"}')
    assert last.previous == first.hash
    assert (await store.check_audit())[1] is None


async def test_actions_are_found_by_task_author_subject_and_time(store: SqliteStore) -> None:
    clock = Clock()
    audit = Audit(store, clock)
    await done(audit, 3)
    clock.at = 2_000.0
    made = await audit.begin(Order(author=ANN, what="POST /keys", subject="keys"))
    await audit.end(made, Ending(subject="key:abcdefgh"))

    async def found(**wanted: Any) -> list[str]:
        return [rows[-1].entry.subject for rows in await listed(store, AuditFilter(**wanted))]

    assert await found() == ["key:abcdefgh", "task:t2", "task:t1", "task:t0"]
    assert await found(task="t1") == ["task:t1"]
    assert await found(subject="key:abcdefgh") == ["key:abcdefgh"]
    assert await found(since=1_500.0) == ["key:abcdefgh"]
    assert len(await found(until=1_500.0)) == 3
    assert len(await found(by="ann")) == len(await found(by="k1")) == 4
    assert await found(by="bob") == []


async def test_the_database_itself_refuses_to_change_or_reorder_rows(store: SqliteStore) -> None:
    await done(Audit(store, Clock()), 2)
    connection = sqlite3.connect(store.path)
    columns = "at, phase, action, who, name, origin, what, subject, missed, previous, hash"
    for statement in (
        "UPDATE audit SET name = 'bob'",
        "DELETE FROM audit WHERE seq = 4",
        "REPLACE INTO audit SELECT * FROM audit WHERE seq = 2",
        f"INSERT INTO audit (seq, {columns}) SELECT 9, {columns} FROM audit WHERE seq = 1",
        f"INSERT INTO audit (seq, {columns}) SELECT 5, {columns} FROM audit WHERE seq = 1",
        "UPDATE config_history SET content = ''",
    ):
        if "config_history" in statement:
            columns = "at, by, how, digest, content, redacted, environment, changes, problems"
            connection.execute(
                f"INSERT INTO config_history ({columns}) VALUES (1, 'a', 'b', 'c', 'd', 0, '[]', '[]', 0)"
            )
        with pytest.raises(sqlite3.IntegrityError, match=r"append only|never changes"):
            connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE audit SET name = 'bob' WHERE seq = 3", "row 3 was altered"),
        ("UPDATE audit SET outcome = 'failed' WHERE seq = 8", "row 8 was altered"),
        ("DELETE FROM audit WHERE seq = 5", "row 5 is missing"),
        ("DELETE FROM audit WHERE seq > 6", "the last 2 rows are missing"),
        ("DELETE FROM audit", "the last 8 rows are missing"),
        ("UPDATE audit SET seq = 100 + seq WHERE seq IN (3, 4)", "rows 3 to 4 are missing"),
    ],
)
async def test_a_row_altered_by_hand_is_found_and_named(store: SqliteStore, statement: str, words: str) -> None:
    await done(Audit(store, Clock()), 4)
    assert (await store.check_audit())[0].problem is None
    tampered(store.path, statement)
    verdict, end = await store.check_audit()
    assert words in (verdict.problem or end or "")


async def test_a_cut_log_is_noticed_at_the_next_start_and_that_stays_on_record(store: SqliteStore) -> None:
    await done(Audit(store, Clock()), 4)
    await store.close()
    head = store.path.with_name("audit.head")
    assert stat.S_IMODE(head.stat().st_mode) == 0o600
    assert json.loads(head.read_bytes())["seq"] == 8
    tampered(store.path, "DELETE FROM audit WHERE seq > 5")
    again = open_store(store.path)
    (warning,) = again.warnings
    assert "the last 3 rows are missing" in warning
    ((note,),) = await listed(again, AuditFilter(subject="audit"))
    assert (note.seq, note.entry.phase, note.entry.what) == (6, Phase.NOTE, "audit.broken")
    assert json.loads(note.entry.after or "")["expected_row"] == 8
    verdict, end = await again.check_audit()
    assert (verdict.problem, end) == (None, None), "from here on it is whole; the note tells the rest"
    await again.close()
    third = open_store(store.path)
    assert third.warnings == ()
    await third.close()


async def test_a_lost_or_unreadable_head_is_said_and_one_behind_the_log_is_not(store: SqliteStore) -> None:
    await done(Audit(store, Clock()), 2)
    head = store.path.with_name("audit.head")
    whole = head.read_bytes()
    ((first, _), *_) = reversed(await listed(store))
    head.write_text(json.dumps({"seq": 1, "hash": first.hash}))
    assert (await store.check_audit())[1] is None, "a crash between the commit and the file"
    head.write_text("{")
    assert "cannot be read" in ((await store.check_audit())[1] or "")
    head.unlink()
    assert "is gone" in ((await store.check_audit())[1] or "")
    head.write_bytes(whole)
    assert (await store.check_audit(Head(seq=1, hash=first.hash)))[1] is None
    assert "what you noted" in ((await store.check_audit(Head(seq=1, hash="0" * 64)))[1] or "")
    assert "row 99" in ((await store.check_audit(Head(seq=99, hash="0" * 64)))[1] or "")


async def test_on_a_full_disk_an_action_is_refused_and_an_end_is_written_when_there_is_room(store: SqliteStore) -> None:
    audit = Audit(store, Clock())
    begun = await audit.begin(order(1))

    def limit(pages: int) -> Any:
        return store._writer.run(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={pages}").scalar())

    pages = await limit(1)  # SQLite raises it to what is used now
    for number in range(200):
        try:
            await audit.begin(order(number, asked={"reason": "x" * 190, "to": "y" * 190}))
        except StoreError as error:
            refused = error
            break
    assert (refused.code, refused.status) == ("audit_unavailable", 503)
    assert "nothing was done" in refused.message
    assert "full" in refused.message
    await audit.end(begun, Ending(status=200, after={"reason": "z" * 190}))
    assert audit.waiting == 1
    assert (await store.unended_audit())[0].entry.action == begun.action
    await limit(pages + 1_000)
    await audit.tick()
    assert audit.waiting == 0
    assert begun.action not in {row.entry.action for row in await store.unended_audit()}
    assert (await store.check_audit())[0].problem is None


async def test_what_an_earlier_run_did_not_end_is_of_unknown_end(store: SqliteStore) -> None:
    await Audit(store, Clock()).begin(order(1))
    later = Audit(store, Clock())
    await later.resume()
    await later.resume()
    ((_, last),) = await listed(store)
    assert last.entry.outcome == INTERRUPTED


async def test_a_flood_of_refusals_does_not_fill_the_disk_and_is_counted(store: SqliteStore) -> None:
    clock = Clock()
    audit = Audit(store, clock)
    unknown = Order(author=Author(id="unknown", name="unknown", origin="10.0.0.9"), what="DELETE /keys/{key_id}")
    for _ in range(500):
        await audit.refused(unknown, "invalid_api_key", 401)
    await audit.refused(order(), "forbidden", 403)
    assert audit.counts == {"actions": 0, "refused": 501, "not_written": 440, "failed": 0}
    found = await listed(store)
    assert len(found) == 61, "somebody else's refusal has its own room"
    clock.at += 60
    await audit.tick()
    assert (await listed(store))[0][0].entry.missed == 440
    await audit.refused(unknown, "invalid_api_key", 401)
    for _ in range(5):
        await audit.refused(unknown, "invalid_api_key", 401)
    await audit.close()
    refusals = [rows[0].entry for rows in await listed(store)]
    written = sum(entry.phase is Phase.REFUSED for entry in refusals)
    assert written + sum(entry.missed for entry in refusals) == 501 + 6, "none is forgotten"


async def test_swaps_that_nobody_ordered_are_on_record_in_the_transaction_of_their_event(store: SqliteStore) -> None:
    def swap(number: int, by: str) -> tuple[Swap, Event]:
        made = Swap(
            id=f"s{number}", task="code", kind="swap", before="m@1", after="m@2", state=SwapState.PROMOTED,
            requested_at=1.0, by=by,
        )  # fmt: skip
        data = (("swap", made.id), ("before", "m@1"), ("after", "m@2"), ("error", None))
        return made, Event(kind="swap.completed", at=2.0, subject="code", data=data)

    for number, by in enumerate(("autoswap", "ann (k1)", "rule:cheap")):
        made, event = swap(number, by)
        await store.save_swap(made, None, event)
    await store.write_batch(Batch(events=(Event(kind="schedule.done", at=3.0, subject="sch_1"),)))
    found = [(rows[0].entry.what, rows[0].entry.author.name, rows[0].entry.subject) for rows in await listed(store)]
    assert found == [
        ("schedule.done", "podium", "schedule:sch_1"),
        ("swap.completed", "rule:cheap", "task:code"),
        ("swap.completed", "autoswap", "task:code"),
    ]
    assert (await store.check_audit())[1] is None, "the head is behind nothing"


async def test_a_hundred_actions_at_once_make_one_chain(store: SqliteStore) -> None:
    audit = Audit(store, Clock())

    async def one(number: int) -> None:
        await audit.end(await audit.begin(order(number)), Ending(status=200))

    await asyncio.gather(*(one(number) for number in range(100)))
    verdict, end = await store.check_audit()
    assert (verdict.rows, verdict.problem, end) == (200, None, None)
    assert len(await listed(store)) == 100

"""The audit log: a row before an action, a row after it, one for what was not let in.

An action whose first row cannot be written is refused, so nothing happens that the log does not know of, also when the
process is killed in the middle. The last row is written before the answer is sent; if the disk fills up in between, it
is written as soon as there is room. Refusals are written at a bounded rate and counted beyond it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import structlog

from podium.core.audit_rate import Buckets
from podium.core.audit_redaction import small
from podium.domain.audit import PODIUM, AuditEntry, Author, Phase
from podium.errors import PodiumError, StoreError
from podium.ports import AuditStore, Clock
from podium.services.redaction import MASKER

OK = "ok"
INTERRUPTED = "interrupted"
NOT_LET_IN = "refused"
MOST_LATE = 10_000
"""Last rows that wait for room on the disk; beyond it the oldest are given up, and their actions stay without an end."""
_log = structlog.get_logger("podium.audit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What somebody is about to do. ``asked`` and ``before`` are plain data; what may not be kept is taken out here."""

    author: Author
    what: str
    subject: str = ""
    task: str | None = None
    asked: object = None
    before: object = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How it ended. ``subject`` is told where it was not known before, as that of a key that was made."""

    outcome: str = OK
    status: int | None = None
    after: object = None
    subject: str | None = None


class Audit:
    """One per gateway, used from its event loop only."""

    def __init__(self, store: AuditStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._refusals = Buckets()
        self._late: list[AuditEntry] = []
        self._made = 0
        self.counts: dict[str, int] = {"actions": 0, "refused": 0, "not_written": 0, "failed": 0}
        """Since the start: actions, refusals, refusals beyond the rate that is written, actions refused by this log."""

    async def begin(self, order: Order) -> AuditEntry:
        """Write down that it is about to be done; on disk when this returns.

        Raises ``StoreError`` with the code ``audit_unavailable``: then it must not be done.
        """
        entry = self._entry(order, Phase.ASKED)
        try:
            await self._store.append_audit((entry,))
        except PodiumError as error:
            self.counts["failed"] += 1
            raise StoreError(
                f"nothing was done, for it could not be written into the audit log: {error.message}",
                code="audit_unavailable",
            ) from error
        self.counts["actions"] += 1
        return entry

    async def end(self, begun: AuditEntry, ending: Ending) -> None:
        """Write down how it ended. Never raises: what cannot be written now is written later."""
        done = self._ended(begun, ending)
        try:
            await self._store.append_audit((*self._late, done))
        except PodiumError as error:
            self._put_off(done)
            _log.warning("the end of an action is not in the audit log yet", what=done.what, error=error.message)
        else:
            self._late.clear()

    def leave(self, begun: AuditEntry, ending: Ending) -> None:
        """As ``end``, for whoever cannot wait: it is written by the next ``tick`` or ``close``."""
        self._put_off(self._ended(begun, ending))

    async def once(self, order: Order, ending: Ending, phase: Phase = Phase.REFUSED) -> None:
        """Write down something that has no beginning of its own. Never raises."""
        entry = replace(
            self._entry(order, phase),
            status=ending.status,
            outcome=ending.outcome,
            after=small(MASKER.value(ending.after)),
        )
        try:
            await self._store.append_audit((entry,))
        except PodiumError as error:
            self.counts["not_written"] += 1
            _log.warning("something is not in the audit log", what=entry.what, error=error.message)

    async def refused(self, order: Order, code: str, status: int) -> None:
        """Somebody was not let in; at a bounded rate for each. Never raises."""
        self.counts["refused"] += 1
        bucket = self._refusals.of(f"{status} {order.author.id}", self._clock.monotonic())
        if bucket.take(self._clock.monotonic()):
            await self.once(order, Ending(outcome=code, status=status))
        else:
            self.counts["not_written"] += 1

    async def resume(self) -> None:
        """At start: what an earlier run began and did not end is known to be of unknown end. Raises ``StoreError``."""
        left = await self._store.unended_audit()
        if left:
            ending = Ending(outcome=INTERRUPTED, after={"says": "the process ended before it was known how this ended"})
            await self._store.append_audit([self._ended(row.entry, ending) for row in left])

    async def tick(self) -> None:
        """Write what waits for room, and how many refusals were not written. Never raises."""
        now = self._clock.monotonic()
        owed = [
            replace(
                self._entry(Order(author=PODIUM, what="refusals not written", subject=who), Phase.NOTE), missed=missed
            )
            for who, bucket in self._refusals.each.items()
            if (missed := bucket.owed(now))
        ]
        waiting, self._late = [*self._late, *owed], []
        if waiting:
            try:
                await self._store.append_audit(waiting)
            except PodiumError:
                self._late = [*waiting, *self._late]

    async def close(self) -> None:
        """Write what waits, if it can be."""
        for bucket in self._refusals.each.values():
            if bucket.missed:
                bucket.refill()
        await self.tick()

    @property
    def waiting(self) -> int:
        """Last rows that are not on disk yet."""
        return len(self._late)

    def _put_off(self, entry: AuditEntry) -> None:
        self._late.append(entry)
        del self._late[:-MOST_LATE]

    def _entry(self, order: Order, phase: Phase) -> AuditEntry:
        now = self._clock.now()
        self._made += 1
        return AuditEntry(
            at=now,
            phase=phase,
            action=f"act_{int(now * 1e6):x}_{self._made:x}",
            author=order.author,
            what=order.what,
            subject=order.subject,
            task=order.task,
            asked=small(MASKER.value(order.asked)),
            before=small(MASKER.value(order.before)),
            request_id=order.request_id,
        )

    def _ended(self, begun: AuditEntry, ending: Ending) -> AuditEntry:
        return replace(
            begun,
            at=self._clock.now(),
            phase=Phase.DONE,
            asked=None,
            before=None,
            subject=ending.subject or begun.subject,
            status=ending.status,
            outcome=ending.outcome,
            after=small(MASKER.value(ending.after)),
        )


def outcome_of(found: Mapping[str, object]) -> str:
    """What an answer says of how it ended: ``ok``, or ``failed`` for an order that is answered with ``ok: false``."""
    return "failed" if found.get("ok") is False else OK

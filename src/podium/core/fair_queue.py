"""The waiting line of one version: priorities, fairness between callers and tasks, no starvation (POOL-3). Pure.

Owns the order. Must not bound its length, know deadlines or wake anybody: the pool does, and ``discard`` is O(1).

Order, from the outside in:

1. Bands: high before normal before low. An item that has waited ``patience_s`` moves one band up, after twice that
   two; in the highest band it competes like everybody else, so nobody is starved and no backlog, however old, gets
   ahead of other callers.
2. Callers inside a band, and tasks inside a caller, by start-time fair queueing (Goyal, Vin and Cheng, "Start-time
   Fair Queueing", SIGCOMM 1996) for requests of one size: between any two callers that both wait, the number served
   differs by at most one, whatever either of them pushes.
3. First come, first served inside a task.

With one size the start tags of all flows lie within one round, and serving the smallest is a rotation: the flow just
served goes to the end. A flow that arrives, new or again, starts at the end of the running round (tag ``v + 1``
where Goyal has ``v``). That costs it at most one round, and buys two things: a flow without items needs no finish
tag and is forgotten, and an endless stream of callers with new names cannot hold the virtual time still and starve
the rest. ``push``, ``pop`` and ``discard`` are O(1), amortised over the at most two moves of an item between bands.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

HIGH, NORMAL, LOW = 0, 1, 2
T = TypeVar("T")


class _Entry(Generic[T]):
    __slots__ = ("at", "band", "caller", "item", "priority", "task")

    def __init__(self, item: T, caller: str, task: str, priority: int, at: float) -> None:
        self.item, self.caller, self.task, self.priority, self.at = item, caller, task, priority, at
        self.band = priority


_Line = OrderedDict[int, _Entry[T]]
"""Entries by the identity of their item, first come first."""


class _Caller(Generic[T]):
    """One caller's tasks in rotation."""

    __slots__ = ("count", "tasks")

    def __init__(self) -> None:
        self.count = 0
        self.tasks: OrderedDict[str, _Line[T]] = OrderedDict()


class FairQueue(Generic[T]):
    """Items in fair order. ``now`` is monotonic seconds; a value before the last one counts as the last one.

    Items are told apart by identity; one item waits at most once.
    """

    __slots__ = ("_ageing", "_bands", "_due", "_entries", "_now", "_patience_s")

    def __init__(self, patience_s: float = 10.0) -> None:
        if not patience_s > 0.0:
            raise ValueError(f"patience is more than 0 seconds, not {patience_s}; math.inf switches ageing off")
        self._patience_s = patience_s
        self._now = -math.inf
        self._due = math.inf
        """Nobody moves up before this; at worst too early, when who was due has left."""
        self._entries: _Line[T] = OrderedDict()
        self._bands: tuple[OrderedDict[str, _Caller[T]], ...] = (OrderedDict(), OrderedDict(), OrderedDict())
        # By (priority, band) below the highest band: each line is in order of arrival, so its first is due first.
        self._ageing: dict[tuple[int, int], _Line[T]] = {
            (LOW, LOW): OrderedDict(),
            (LOW, NORMAL): OrderedDict(),
            (NORMAL, NORMAL): OrderedDict(),
        }

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[T]:
        """All items in order of arrival, as of now: the queue may change while one iterates."""
        return iter([entry.item for entry in self._entries.values()])

    def push(self, item: T, *, caller: str, task: str, priority: int, now: float) -> None:
        """Join the line. ``priority`` is 0 (high), 1 (normal) or 2 (low).

        Raises ``ValueError`` for another priority or an item that waits already.
        """
        if priority not in {HIGH, NORMAL, LOW}:
            raise ValueError(f"a priority is 0 (high), 1 (normal) or 2 (low), not {priority}")
        key = id(item)
        if key in self._entries:
            raise ValueError("this item waits already")
        self._age(now)
        entry = _Entry(item, caller, task, priority, self._now)
        self._entries[key] = entry
        self._enter(key, entry)

    def pop(self, now: float) -> T | None:
        """Take the item whose turn it is; ``None`` when nobody waits."""
        entry = self._head(now)
        if entry is None:
            return None
        callers = self._bands[entry.band]
        callers.move_to_end(entry.caller)
        callers[entry.caller].tasks.move_to_end(entry.task)
        key = id(entry.item)
        self._leave(key, entry)
        del self._entries[key]
        return entry.item

    def peek(self, now: float) -> T | None:
        """The item that ``pop`` would take now, left where it is: nothing is lost when it cannot be served yet."""
        entry = self._head(now)
        return None if entry is None else entry.item

    def discard(self, item: T) -> bool:
        """Take an item out wherever it stands; False when it does not wait (any more)."""
        entry = self._entries.pop(id(item), None)
        if entry is None:
            return False
        self._leave(id(item), entry)
        return True

    def oldest_at(self) -> float | None:
        """When the item that waits longest arrived; ``None`` when nobody waits."""
        return next(iter(self._entries.values())).at if self._entries else None

    def best_priority(self) -> int | None:
        """The band that is served next, ageing up to the last push or pop included; ``None`` when nobody waits."""
        return next((band for band, callers in enumerate(self._bands) if callers), None)

    def position(self, item: T) -> int | None:
        """How many would be served before it if nobody came, left or aged from now on; ``None`` when not waiting.

        O(items of its task + flows of its band): for telling people, not for the request path.
        """
        entry = self._entries.get(id(item))
        if entry is None:
            return None
        callers = self._bands[entry.band]
        own = callers[entry.caller]
        before = _index(own.tasks[entry.task], id(item))
        rank = before + _in_rounds(((name, len(line)) for name, line in own.tasks.items()), entry.task, before)
        higher = sum(caller.count for band in self._bands[: entry.band] for caller in band.values())
        return higher + rank + _in_rounds(((name, other.count) for name, other in callers.items()), entry.caller, rank)

    def _head(self, now: float) -> _Entry[T] | None:
        self._age(now)
        for callers in self._bands:
            for caller in callers.values():
                return next(iter(next(iter(caller.tasks.values())).values()))
        return None

    def _enter(self, key: int, entry: _Entry[T]) -> None:
        callers = self._bands[entry.band]
        caller = callers.get(entry.caller)
        if caller is None:
            caller = callers[entry.caller] = _Caller()
        line = caller.tasks.get(entry.task)
        if line is None:
            line = caller.tasks[entry.task] = OrderedDict()
        line[key] = entry
        caller.count += 1
        if entry.band != HIGH:
            self._ageing[entry.priority, entry.band][key] = entry
            self._due = min(self._due, self._due_at(entry))

    def _leave(self, key: int, entry: _Entry[T]) -> None:
        callers = self._bands[entry.band]
        caller = callers[entry.caller]
        line = caller.tasks[entry.task]
        del line[key]
        caller.count -= 1
        if not line:
            del caller.tasks[entry.task]
        if not caller.count:
            del callers[entry.caller]
        if entry.band != HIGH:
            del self._ageing[entry.priority, entry.band][key]

    def _age(self, now: float) -> None:
        """Move everybody whose patience is over one band up, the lowest band first."""
        self._now = now = max(self._now, now)
        if now < self._due:
            return
        due = math.inf
        for line in self._ageing.values():
            while line:
                key, entry = next(iter(line.items()))
                if now < self._due_at(entry):
                    due = min(due, self._due_at(entry))
                    break
                self._leave(key, entry)
                entry.band -= 1
                self._enter(key, entry)
        self._due = due

    def _due_at(self, entry: _Entry[T]) -> float:
        return entry.at + (entry.priority - entry.band + 1) * self._patience_s


def _index(line: _Line[T], key: int) -> int:
    for index, other in enumerate(line):
        if other == key:
            return index
    raise LookupError("not in this line")


def _in_rounds(flows: Iterator[tuple[str, int]], own: str, rank: int) -> int:
    """How many items of the other flows are served before item number ``rank`` of ``own``, in rotation."""
    total, ahead = 0, 1
    for name, count in flows:
        if name == own:
            ahead = 0
        else:
            total += min(count, rank + ahead)
    return total

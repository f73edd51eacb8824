"""Adds up what each key's requests cost, by the hour. Owns these sums until they are durable.

Only what a client asked for is here, retries and canaries included; judging, shadows and benchmarks have no key. Sums are
written some seconds behind: a process that is killed loses those seconds. The request path appends and does no more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict, deque
from collections.abc import Mapping

from podium.core.spending import hour_of, spend_all
from podium.domain.cost import Cost, SpentRow
from podium.domain.decision import Outcome
from podium.errors import StoreError
from podium.ports import Clock, KeyCostStore

CAPACITY = 50_000
"""Attempts that wait to be added up; it is done every few seconds, and at once when so many wait."""
NO_KEY = ""
"""In the place of a key: requests that came without one, where nobody needs one."""


class KeyCosts:
    """One per gateway, used from its event loop only."""

    def __init__(self, store: KeyCostStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._new: deque[tuple[str, Outcome]] = deque()
        self._rows: dict[int, dict[str, SpentRow]] = {}
        self._dirty: set[tuple[int, str]] = set()
        self._writing = asyncio.Lock()

    async def resume(self) -> None:
        """Go on with the sums of the present hour. Raises ``StoreError``."""
        hour = hour_of(self._clock.now())
        self._rows = {hour: {}}
        for (at, key), row in (await self._store.open_key_costs(hour)).items():
            self._rows.setdefault(at, {})[key] = row

    def heard(self, key: str, outcome: Outcome) -> None:
        """An attempt ended that came with a key (``NO_KEY``: without). No I/O."""
        self._new.append((key, outcome))
        if len(self._new) >= CAPACITY:
            self._add_up()

    async def write(self) -> None:
        """Make durable what was heard. Raises ``StoreError``; then nothing is lost, and the next call tries again."""
        async with self._writing:
            self._add_up()
            dirty, self._dirty = self._dirty, set()
            if not dirty:
                return
            try:
                await self._store.save_key_costs({place: self._rows[place[0]][place[1]] for place in dirty})
            except BaseException:
                self._dirty |= dirty
                raise
            self._forget()

    async def close(self) -> None:
        """Write what is left, if the disk takes it."""
        with contextlib.suppress(StoreError):
            await self.write()

    async def spent(self, since: float | None = None, until: float | None = None) -> Mapping[str, SpentRow]:
        """By key what its requests cost between two Unix times; hours are whole. Raises ``StoreError``."""
        with contextlib.suppress(StoreError):  # while the disk is full, what is on it can be read all the same
            await self.write()
        last = None if until is None else hour_of(until) + 1
        found = await self._store.key_costs_by(("key",), 0 if since is None else hour_of(since), last)
        return {str(key): row for (key,), row in found.items()}

    async def over_time(self, since: float, span: int) -> Mapping[tuple[int, str], SpentRow]:
        """By hour since 1970 (the first of ``span``) and key. Raises ``StoreError``."""
        found = await self._store.key_costs_by(("hour", "key"), hour_of(since), span=span)
        return {(int(hour), str(key)): row for (hour, key), row in found.items()}

    async def tidy(self, older_than: float, most: int) -> None:
        """Forget hours before a Unix time, and the oldest beyond ``most`` rows. Raises ``StoreError``."""
        await self._store.prune_key_costs(hour_of(older_than), most)

    def _add_up(self) -> None:
        new: defaultdict[tuple[int, str], list[tuple[Cost, bool]]] = defaultdict(list)
        while self._new:
            key, outcome = self._new.popleft()
            new[hour_of(outcome.at), key].append((outcome.cost, outcome.success))
        for (at, key), spent in new.items():
            before = self._rows and at not in self._rows and at < min(self._rows)
            hour = min(self._rows) if before else at  # a clock that went back opens no hour whose sums are on record
            rows = self._rows.setdefault(hour, {})
            rows[key] = spend_all(rows.get(key) or SpentRow(), spent)
            self._dirty.add((hour, key))

    def _forget(self) -> None:
        """Hours that are over and durable; the newest stays."""
        waiting = {hour for hour, _ in self._dirty}
        for hour in sorted(self._rows)[:-2]:
            if hour not in waiting:
                del self._rows[hour]

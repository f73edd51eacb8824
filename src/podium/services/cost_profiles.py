"""What models cost, for people: profiles, comparisons, trends and advice from the record, and the cells they are read from.

Owns when the record is added up. What figures mean and what follows from them is in ``core/cost_*``.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from podium.core import cost_cells
from podium.core.cost_advice import Facts, advise
from podium.core.cost_cells import FIGURES, Cell, Floats, Gathering, added
from podium.core.cost_compare import compare
from podium.core.cost_profile import profile
from podium.core.cost_trends import WATCHED, thinned, trends
from podium.domain.belief import Belief
from podium.domain.cost import Cause
from podium.domain.costing import EVERY, Advice, Comparison, CostProfile, NotAdvised, Trend, TrendPoint
from podium.domain.instance import InstanceView
from podium.domain.model import Lifecycle, ModelVersion
from podium.errors import InvalidRequest, NotFound
from podium.ports import CellKey, Clock, CostCellStore, HostFacts

STEP = 500
"""Rows added up in one transaction: some 50 ms of a processor."""
MOST_STEPS = 20
"""Of one look; what is left is told and goes on in the background."""
HOUR_S, DAY_S = 3_600.0, 86_400.0
HOURS_KEPT_S = 2 * DAY_S
DAYS_KEPT_S = 400 * DAY_S
MOST_CELLS = 50_000
GPUS = frozenset({"cuda", "rocm", "metal"})
"""Kinds of accelerators that count as one."""
SERVED = frozenset({Cause.REQUEST.value, Cause.RETRY.value, Cause.CANARY.value})
"""Causes of operations whose answer went to a client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Which operations are looked at. ``everything``: also those that no client got, such as judging."""

    since: float | None = None
    until: float | None = None
    task: str | None = None
    ref: str | None = None
    everything: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiles:
    """``since`` is the start of the oldest cell that was looked at; hours are whole, and days after two days."""

    since: float | None
    until: float
    behind: int
    """Rows of the record that are not in it yet."""
    profiles: tuple[CostProfile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Advised:
    """``unknown``: what could not be looked into."""

    since: float | None
    behind: int
    advice: tuple[Advice, ...]
    unknown: tuple[NotAdvised, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What advice needs beside the record; all are asked when advice is."""

    host: Callable[[], HostFacts]
    instances: Callable[[], Sequence[InstanceView]]
    free_mb: Callable[[str], float | None]
    """Memory that further copies of a version may take, where it runs."""
    footprint: Callable[[ModelVersion], int | None]
    """Bytes of another copy."""
    versions: Callable[[], Iterable[ModelVersion]]
    beliefs: Callable[[str], Mapping[str, Belief]]
    bound: Callable[[], Mapping[str, str]]


class _Read:
    """Cells as they are read: one by (task, ref), busy time by version, and means by window."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._cells: defaultdict[tuple[str, str, bool], Gathering] = defaultdict(Gathering)
        """By task, version, and whether clients got the answers."""
        self._busy: defaultdict[str, float] = defaultdict(float)
        self._windows: defaultdict[tuple[str, str], dict[tuple[int, int], Floats]] = defaultdict(dict)
        self.since: float | None = None

    def take(self, key: CellKey, content: bytes) -> None:
        """One more; called in the thread that reads."""
        cell = cost_cells.load(content)
        self.since = key.start if self.since is None else min(self.since, key.start)
        if key.task == EVERY:
            self._busy[key.ref] += cell.busy_ms
            return
        served = key.cause in SERVED
        self._cells[key.task, key.ref, served].add(cell)
        if not self._look.everything and not served:
            return
        sums = np.stack([cell.moments[:, 0], cell.moments[:, 0] * cell.moments[:, 1]])
        windows, place = self._windows[key.task, key.ref], (key.start, key.span)
        windows[place] = windows[place] + sums if place in windows else sums

    def cells(self) -> dict[tuple[str, str], Cell]:
        """By (task, ref)."""
        found: defaultdict[tuple[str, str], list[Cell]] = defaultdict(list)
        for (task, ref, served), gathered in self._cells.items():
            if served or self._look.everything:
                found[task, ref].append(gathered.cell())
        return {key: added(parts) for key, parts in found.items()}

    def busy(self, ref: str) -> Cell | None:
        """Everything the version did, whoever asked, with the time in which it did."""
        if ref not in self._busy:
            return None
        parts = [gathered.cell() for key, gathered in self._cells.items() if ref in (EVERY, key[1])]
        if ref == EVERY:  # those that compute elsewhere take nothing of this machine
            parts = [cell for cell in parts if cost_cells.count(cell, "cpu_ms")]
        return added([*parts, cost_cells.empty(self._busy[ref])])

    def series(self, window_s: float) -> dict[tuple[str, str], dict[str, tuple[TrendPoint, ...]]]:
        """Means by window, oldest first, of each figure that can get better or worse. Days are left out of shorter ones."""
        made: dict[tuple[str, str], dict[str, tuple[TrendPoint, ...]]] = {}
        for key, pieces in self._windows.items():
            windows: dict[int, Floats] = {}
            for (start, span), sums in pieces.items():
                if span <= window_s:
                    place = int(start // window_s)
                    windows[place] = windows[place] + sums if place in windows else sums
            found = sorted(windows.items())
            made[key] = {name: _points(found, FIGURES.index(name), window_s) for name in WATCHED}
        return made


def _points(windows: Sequence[tuple[int, Floats]], place: int, window_s: float) -> tuple[TrendPoint, ...]:
    points = [
        TrendPoint(at=window * window_s, n=int(sums[0, place]), mean=float(sums[1, place] / sums[0, place]))
        for window, sums in windows
        if sums[0, place] > 0
    ]
    return thinned(points)


class CostProfiles:
    """One per gateway."""

    def __init__(self, store: CostCellStore, clock: Clock, around: Surroundings) -> None:
        self._store = store
        self._clock = clock
        self._around = around
        self._folding = asyncio.Lock()
        self._host: HostFacts | None = None

    async def tick(self) -> None:
        """Add up what was recorded since the last time. Raises ``StoreError``."""
        await self._catch_up(MOST_STEPS)

    async def tidy(self) -> None:
        """Bring the cells up to the record, before old rows of it go, and keep them within bounds. Raises ``StoreError``."""
        while await self._catch_up(MOST_STEPS) >= STEP * MOST_STEPS:
            pass
        now = self._clock.now()
        await self._store.tidy_cost_cells(now - HOURS_KEPT_S, now - DAYS_KEPT_S, MOST_CELLS)

    async def profiles(self, look: Look) -> Profiles:
        """By version, by task, and by both; the most operations first."""
        read, behind = await self._read(look)
        cells = read.cells()
        cores = (await self._machine()).cores_logical
        by_task: defaultdict[str, list[Cell]] = defaultdict(list)
        for (task, _), cell in cells.items():
            by_task[task].append(cell)
        made = [
            profile(cell, None, ref, busy=read.busy(ref) if look.task is None else None, cores=cores)
            for ref, cell in _by_ref(cells).items()
        ]
        made += [profile(added(found), task, None) for task, found in by_task.items() if look.ref is None]
        made += [profile(cell, task, ref) for (task, ref), cell in cells.items()]
        made.sort(
            key=lambda one: (one.task is not None, one.ref is not None, -one.operations, one.task or "", one.ref or "")
        )
        return Profiles(since=read.since, until=_until(look, self._clock), behind=behind, profiles=tuple(made))

    async def compare(self, a: str, b: str, look: Look) -> Comparison:
        """B against A. Raises ``NotFound`` for one of which nothing is on record, ``InvalidRequest`` for twice the same."""
        if a == b:
            raise InvalidRequest("these are the same version: name two", param="b")
        read, _ = await self._read(look)
        cells = {key: cell for key, cell in read.cells().items() if key[1] in (a, b)}
        for ref in (a, b):
            if not any(key[1] == ref for key in cells):
                where = "" if look.task is None else f" on {look.task}"
                raise NotFound(f"nothing that {ref} did{where} is on record; `podium costs` lists what is")
        return compare(a, b, cells, task=look.task, since=read.since)

    async def trends(self, look: Look, window_s: float | None = None) -> tuple[Trend, ...]:
        """Whether anything rises or falls, by windows of hours (within two days) or days, at most 60 of them."""
        read, _ = await self._read(look)
        length = self._window(read) if window_s is None else window_s
        return tuple(trends(read.series(length), length))

    async def advice(self, look: Look) -> Advised:
        """What to change, with the numbers that say so, and what could not be looked into."""
        read, behind = await self._read(look)
        length = self._window(read)
        found, unknown = advise(await self._facts(look, read, trends(read.series(length), length)))
        return Advised(since=read.since, behind=behind, advice=tuple(found), unknown=tuple(unknown))

    async def _facts(self, look: Look, read: _Read, found: Sequence[Trend]) -> Facts:
        around, host = self._around, await self._machine()
        cells, now = read.cells(), self._clock.now()
        parts = _by_ref(cells)
        machine = read.busy(EVERY)
        cores = host.cores_logical
        versions = {one.ref: one for one in around.versions()}
        free = {ref: around.free_mb(ref) for ref in parts}
        sizes = {ref: around.footprint(versions[ref]) for ref in parts if ref in versions}
        return Facts(
            now=now,
            since=now if read.since is None else max(read.since, look.since or 0.0),
            cores=cores,
            gpus=sum(one.kind in GPUS for one in host.accelerators),
            versions={ref: profile(cell, None, ref, busy=read.busy(ref), cores=cores) for ref, cell in parts.items()},
            cells=cells,
            machine=None if machine is None else profile(machine, None, EVERY, busy=machine, cores=cores),
            instances=around.instances(),
            free_mb={ref: size for ref, size in free.items() if size is not None},
            footprint_mb={ref: size / 2**20 for ref, size in sizes.items() if size},
            beliefs={task: around.beliefs(task) for task in {task for task, _ in cells}},
            bound=around.bound(),
            active=frozenset(ref for ref, one in versions.items() if one.status is Lifecycle.ACTIVE),
            about={ref: about for ref, one in versions.items() if (about := _about(one))},
            trends=found,
        )

    async def _machine(self) -> HostFacts:
        """Asked once: asking drivers can take a second."""
        if self._host is None:
            self._host = await asyncio.to_thread(self._around.host)
        return self._host

    def _window(self, read: _Read) -> float:
        recent = read.since is None or self._clock.now() - read.since <= HOURS_KEPT_S + HOUR_S
        return HOUR_S if recent else DAY_S

    async def _read(self, look: Look) -> tuple[_Read, int]:
        await self._catch_up(MOST_STEPS)
        read = _Read(look)
        await self._store.read_cost_cells(
            read.take, since=look.since or 0.0, until=_until(look, self._clock), task=look.task, ref=look.ref
        )
        return read, await self._store.unfolded_costs()

    async def _catch_up(self, steps: int) -> int:
        """Rows that were taken."""
        total = 0
        async with self._folding:
            for _ in range(steps):
                taken = await self._store.fold_costs(STEP)
                total += taken
                if taken < STEP:
                    break
        return total


def _by_ref(cells: Mapping[tuple[str, str], Cell]) -> dict[str, Cell]:
    parts: defaultdict[str, list[Cell]] = defaultdict(list)
    for (_, ref), cell in cells.items():
        parts[ref].append(cell)
    return {ref: added(found) for ref, found in parts.items()}


def _until(look: Look, clock: Clock) -> float:
    return clock.now() + HOUR_S if look.until is None else look.until


def _about(version: ModelVersion) -> str:
    """Size and quantisation, as far as they are known."""
    facts = version.facts
    size = "" if facts.parameters is None else f"{facts.parameters / 1e9:.3g} G parameters"
    return ", ".join(part for part in (size, facts.quantization or "") if part)

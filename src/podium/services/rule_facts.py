"""Reads what rules ask about: memory and accelerators of this machine, and how tasks fare. Never guesses.

Owns the sums of energy per task. What cannot be measured comes back without a value and says why.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from podium.core.rules import METRICS, PERIODS, Fact, Rule, Subject
from podium.domain.decision import Outcome
from podium.domain.instance import InstanceState
from podium.ports import RAM, Accelerator, Clock, HostProbe
from podium.services.autoswap import ANY, AutoSwap
from podium.services.pool import MB, Pool

LOOK_AGAIN_S = 15.0
"""How long the list of accelerators is believed; finding them may start a driver."""
MINUTE_S = 60.0
NO_PROCESS = frozenset({InstanceState.STOPPED, InstanceState.FAILED})
NO_PRICES = "no request has a price: models here run on machines of this installation, and prices are not recorded"
NOT_YET = "no request of the task ended within the period since the gateway started"


class RuleFacts:
    """One per gateway, used from its event loop only."""

    def __init__(self, *, host: HostProbe, pool: Pool, autoswap: AutoSwap, clock: Clock) -> None:
        self._host = host
        self._pool = pool
        self._autoswap = autoswap
        self._clock = clock
        self._energy: dict[str, _Energy] = {}
        self._found: tuple[Accelerator, ...] = ()
        self._absent: tuple[tuple[str, str], ...] = ()
        self._found_at: float | None = None

    def expect(self, rules: Iterable[Rule]) -> None:
        """Only the energy of tasks that a rule asks about is added up."""
        asked = {rule.task for rule in rules if rule.metric == "energy_mwh"}
        self._energy = {task: self._energy.get(task) or _Energy() for task in asked}

    def outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """Requests ended. Quick; never raises."""
        if not self._energy:
            return
        now = self._clock.monotonic()
        for outcome in outcomes:
            energy = self._energy.get(outcome.task)
            if energy is not None:
                missing = dict(outcome.cost.missing).get("energy_mwh")
                energy.add(now, outcome.cost.energy_mwh, missing or "it was not measured")

    async def read(self, rule: Rule) -> Fact:
        """What the rule's metric shows now."""
        if METRICS[rule.metric].subject is Subject.TASK:
            return self._of_task(rule)
        if rule.metric == "accelerators":
            return await self._accelerators(rule.device)
        if rule.metric == "pool_memory_used":
            return self._pool_memory()
        return self._memory(rule)

    # ------------------------------------------------------------ the machine

    async def _accelerators(self, kind: str | None) -> Fact:
        now = self._clock.monotonic()
        if self._found_at is None or not 0 <= now - self._found_at < LOOK_AGAIN_S:
            facts = await asyncio.to_thread(self._host.facts)
            self._found, self._absent, self._found_at = facts.accelerators, facts.unavailable, now
        counted = [one for one in self._found if kind is None or one.kind == kind]
        source = ", ".join(f"{one.name} ({one.evidence})" for one in counted)
        if not source:
            source = "; ".join(f"{what}: {why}" for what, why in self._absent if kind is None or what == kind)
        return Fact(value=float(len(counted)), source=source or "the drivers of this machine")

    def _memory(self, rule: Rule) -> Fact:
        device = rule.device or RAM
        sizes = dict(self._host.devices())
        if device not in sizes:
            return Fact(value=None, missing=f"there is no device {device!r} here; there are: {', '.join(sizes)}")
        free = self._host.free_bytes(device)
        if free is None:
            return Fact(value=None, missing=f"nobody says what is free on {device}")
        source = f"{free / MB:,.0f} of {sizes[device] / MB:,.0f} MB free on {device}"
        if rule.metric == "memory_free_mb":
            return Fact(value=free / MB, source=source)
        return Fact(value=1.0 - min(1.0, free / sizes[device]), source=source)

    def _pool_memory(self) -> Fact:
        budget = self._pool.limits.memory_bytes / MB
        loaded = [view for view in self._pool.views() if view.state not in NO_PROCESS]
        unknown = [view.ref for view in loaded if view.memory_mb is None]
        used = sum(view.memory_mb or 0.0 for view in loaded)
        source = f"{used:,.0f} of {budget:,.0f} MB"
        if unknown:
            source = f"{source}, without {', '.join(unknown)}, whose memory cannot be read"
        return Fact(value=used / budget, source=source)

    # ------------------------------------------------------------ tasks

    def _of_task(self, rule: Rule) -> Fact:
        if rule.metric == "cost_usd":
            return Fact(value=None, missing=NO_PRICES)
        if rule.metric == "energy_mwh":
            energy = self._energy.get(rule.task) or _Energy()
            return energy.within(PERIODS[rule.period], self._clock.monotonic(), below=rule.below is not None)
        window = self._autoswap.window(rule.task)
        if window is None:
            return Fact(value=None, samples=0, missing=f"nothing was observed yet of what serves {rule.task}")
        who = f"the versions that served {rule.task}" if window.ref == ANY else window.ref
        standing = window.standing()
        match rule.metric:
            case "success":
                value, count, what = standing.success, standing.samples, "requests"
            case "quality":
                value, count, what = standing.quality, standing.scores, "scores"
            case "judge_score":
                count, value = window.quality_by("judge")
                what = "scores by the judge"
            case _:
                count, value = window.latency(0.95)
                what = "answers"
        missing = None if value is not None else f"no {what} of {who} yet"
        return Fact(value=value, samples=count, missing=missing, source=f"the last {count} {what} of {who}")


class _Energy:
    """Energy of one task by the minute, for a day."""

    def __init__(self) -> None:
        self._minutes: deque[list[float]] = deque()
        """[minute, mWh, requests measured, requests not measured], oldest first."""
        self._missing = NOT_YET

    def add(self, now: float, energy_mwh: float | None, missing: str) -> None:
        minute = now // MINUTE_S
        if not self._minutes or self._minutes[-1][0] != minute:
            self._minutes.append([minute, 0.0, 0.0, 0.0])
        row = self._minutes[-1]
        if energy_mwh is None:
            row[3] += 1
            self._missing = missing
        else:
            row[1] += energy_mwh
            row[2] += 1
        while self._minutes and (minute - self._minutes[0][0]) * MINUTE_S > max(PERIODS.values()):
            self._minutes.popleft()

    def within(self, period_s: float, now: float, *, below: bool) -> Fact:
        """The sum; where some requests were not measured it is the least it can be, which proves nothing ``below``."""
        rows = [row for row in self._minutes if now - row[0] * MINUTE_S <= period_s]
        measured, unknown = sum(row[2] for row in rows), sum(row[3] for row in rows)
        if not measured:
            return Fact(value=None, missing=self._missing if unknown else NOT_YET)
        if unknown and below:
            return Fact(value=None, missing=f"{unknown:.0f} requests were not measured ({self._missing})")
        source = f"{measured:.0f} measured requests" + (f" of {measured + unknown:.0f}" if unknown else "")
        return Fact(value=sum(row[1] for row in rows), source=source)

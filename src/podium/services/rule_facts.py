"""Reads what rules ask about: memory and accelerators of this machine, and how tasks fare. Never guesses.

Owns the sums of energy and money per task. What cannot be measured comes back without a value and says why.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from podium.core.rules import METRICS, PERIODS, SUMS, Fact, Rule, Subject
from podium.domain.decision import Outcome
from podium.domain.instance import InstanceState
from podium.ports import RAM, Accelerator, Clock, HostProbe
from podium.services.autoswap import ANY, AutoSwap
from podium.services.pool import MB, Pool

LOOK_AGAIN_S = 15.0
"""How long the list of accelerators is believed; asking takes milliseconds once a driver runs."""
MINUTE_S = 60.0
VULKAN = "vulkan"
NO_PROCESS = frozenset({InstanceState.STOPPED, InstanceState.FAILED})
NO_PRICE = "nobody bills the model that answered"
NO_PRESSURE = "this machine does not tell how long anything waits for memory (Linux does, in /proc/pressure/memory)"
NOT_YET = "no request of the task ended within the period since the gateway started"


class RuleFacts:
    """One per gateway, used from its event loop only."""

    def __init__(self, *, host: HostProbe, pool: Pool, autoswap: AutoSwap, clock: Clock) -> None:
        self._host = host
        self._pool = pool
        self._autoswap = autoswap
        self._clock = clock
        self._sums: dict[tuple[str, str], _Sum] = {}
        """By task and what is added up."""
        self._found: dict[bool, tuple[Accelerator, ...]] = {}
        self._absent: dict[bool, tuple[tuple[str, str], ...]] = {}
        self._found_at: dict[bool, float] = {}
        """When accelerators were looked for, quickly or with everything that takes long."""

    def expect(self, rules: Iterable[Rule]) -> None:
        """Only what a rule asks about is added up."""
        asked = {(rule.task, SUMS[rule.metric]) for rule in rules if rule.metric in SUMS}
        self._sums = {key: self._sums.get(key) or _Sum() for key in asked}

    def outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """Requests ended. Quick; never raises."""
        if not self._sums:
            return
        now = self._clock.monotonic()
        for outcome in outcomes:
            energy, money = (self._sums.get((outcome.task, name)) for name in ("energy_mwh", "cost_usd"))
            if energy is not None:
                missing = dict(outcome.cost.missing).get("energy_mwh")
                energy.add(now, outcome.cost.energy_mwh, missing or "it was not measured")
            if money is not None:
                price = outcome.cost.price_microusd
                money.add(now, None if price is None else price / 1e6, NO_PRICE)

    async def read(self, rule: Rule) -> Fact:
        """What the rule's metric shows now."""
        if METRICS[rule.metric].subject is Subject.TASK:
            return self._of_task(rule)
        if rule.metric == "accelerators":
            return await self._accelerators(rule.device)
        if rule.metric == "pool_memory_used":
            return self._pool_memory()
        if rule.metric == "memory_pressure":
            pressure = self._host.memory_pressure()
            return Fact(value=pressure, missing=None if pressure is not None else NO_PRESSURE, source="/proc/pressure")
        return self._memory(rule)

    # ------------------------------------------------------------ the machine

    async def _accelerators(self, kind: str | None) -> Fact:
        now, whole = self._clock.monotonic(), kind == VULKAN
        if whole not in self._found_at or not 0 <= now - self._found_at[whole] < LOOK_AGAIN_S:
            self._found[whole], self._absent[whole] = await asyncio.to_thread(self._look, whole)
            self._found_at[whole] = now
        counted = [one for one in self._found[whole] if kind is None or one.kind == kind]
        source = ", ".join(f"{one.name} ({one.evidence})" for one in counted)
        if not source:
            source = "; ".join(f"{what}: {why}" for what, why in self._absent[whole] if kind is None or what == kind)
        return Fact(value=float(len(counted)), source=source or "the drivers of this machine")

    def _look(self, whole: bool) -> tuple[tuple[Accelerator, ...], tuple[tuple[str, str], ...]]:
        """Only Vulkan needs all that ``facts`` does; its devices count only where they are asked about, for others' drivers
        list the same cards.
        """
        if not whole:
            return self._host.accelerators()
        facts = self._host.facts()
        return facts.accelerators, facts.unavailable

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
        if rule.metric in SUMS:
            total = self._sums.get((rule.task, SUMS[rule.metric])) or _Sum()
            fact = total.within(
                PERIODS[rule.period], self._clock.monotonic(), below=rule.below is not None and not rule.each
            )
            if not rule.each or fact.value is None:
                return fact
            return replace(fact, value=fact.value / total.measured, samples=int(total.measured))
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


class _Sum:
    """What the requests of one task used of something, by the minute, for a day."""

    def __init__(self) -> None:
        self._minutes: deque[list[float]] = deque()
        """[minute, amount, requests measured, requests not measured], oldest first."""
        self._missing = NOT_YET
        self.measured = 0.0
        """Requests that the last answer is of."""

    def add(self, now: float, amount: float | None, missing: str) -> None:
        minute = now // MINUTE_S
        if not self._minutes or self._minutes[-1][0] != minute:
            self._minutes.append([minute, 0.0, 0.0, 0.0])
        row = self._minutes[-1]
        if amount is None:
            row[3] += 1
            self._missing = missing
        else:
            row[1] += amount
            row[2] += 1
        while self._minutes and (minute - self._minutes[0][0]) * MINUTE_S > max(PERIODS.values()):
            self._minutes.popleft()

    def within(self, period_s: float, now: float, *, below: bool) -> Fact:
        """The sum; where some requests were not measured it is the least it can be, which proves nothing ``below``."""
        rows = [row for row in self._minutes if now - row[0] * MINUTE_S <= period_s]
        measured, unknown = sum(row[2] for row in rows), sum(row[3] for row in rows)
        self.measured = measured
        if not measured:
            return Fact(value=None, missing=self._missing if unknown else NOT_YET)
        if unknown and below:
            return Fact(value=None, missing=f"{unknown:.0f} requests were not measured ({self._missing})")
        source = f"{measured:.0f} measured requests" + (f" of {measured + unknown:.0f}" if unknown else "")
        return Fact(value=sum(row[1] for row in rows), source=source)

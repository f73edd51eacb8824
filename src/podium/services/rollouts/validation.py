"""Before any traffic moves: runs the task's validation set on the candidate and compares it with the baseline.

The validation set is every benchmark suite of the task, at most ``MOST_ITEMS`` items, asked one version at a time and
behind all users (``ports.Answers``). Answers that are there already are kept, so that a restart goes on and a second
rollout measures only its candidate. Nothing here decides: ``core/rollout_validation`` does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace

from podium.core.rollout_validation import choose, compare, doubt, verdict
from podium.domain.benchmark import ItemResult, Run, RunState, Suite
from podium.domain.cost import Cause
from podium.domain.rollout import Rollout, Validation
from podium.errors import Conflict, PodiumError
from podium.ports import BenchmarkStore, Page
from podium.services.benchmark import Benchmarks
from podium.services.charging import charged

__all__ = ["MOST_ITEMS", "MOST_S", "Validator", "doubt", "verdict"]

MOST_ITEMS = 50
MOST_S = 600.0
"""Half of it for the baseline, if it has to be measured, and the rest for the candidate."""
_LOOK_S = 5.0


class Validator:
    """Implements what ``Rollouts`` asks before traffic."""

    def __init__(
        self,
        benchmarks: Benchmarks,
        store: BenchmarkStore,
        *,
        most_items: int = MOST_ITEMS,
        most_s: float = MOST_S,
    ) -> None:
        self._benchmarks = benchmarks
        self._store = store
        self._most_items = most_items
        self._most_s = most_s

    async def validate(self, rollout: Rollout) -> Validation:
        """What the candidate's answers are worth against the baseline's, or why nobody can say.

        A model that cannot be measured is no error here: warming it will tell. Cancelling stops the measurement and
        keeps what there is. Raises ``StoreError``.
        """
        ends = asyncio.get_running_loop().time() + self._most_s
        suites, problems = await asyncio.to_thread(self._suites_of, rollout.task)
        if not suites:
            return Validation(missing=_how_to_make_one(rollout.task, problems))
        old, new = rollout.baseline, rollout.candidate
        chosen = choose(
            suites, _keys(await self._results(suites, old)), _keys(await self._results(suites, new)), self._most_items
        )
        problems = []
        for ref, until in ((old, ends - self._most_s / 2), (new, ends)):
            with charged(Cause.VALIDATION, rollout.id, rollout.task):
                problem = await self._measure(chosen, ref, until)
            if problem:
                problems.append(f"{ref}: {problem}")
        wanted = {(suite.digest, item.id) for suite in chosen for item in suite.items}
        baseline = [one for one in await self._results(chosen, old) if (one.digest, one.item) in wanted]
        candidate = [one for one in await self._results(chosen, new) if (one.digest, one.item) in wanted]
        return compare(baseline, candidate, rollout.plan, missing="; ".join(problems) or None)

    def _suites_of(self, task: str) -> tuple[list[Suite], list[str]]:
        """The task's suites, and what is wrong with files that might have been some. Reads files."""
        found, problems = [], []
        for name in self._benchmarks.suites.names():
            try:
                suite = self._benchmarks.suites.get(name)
            except PodiumError as error:
                problems.append(error.message)
                continue
            if suite.task == task:
                found.append(suite)
        return found, problems

    async def _results(self, suites: Sequence[Suite], ref: str) -> list[ItemResult]:
        return [one for suite in suites for one in await self._store.benchmark_results(suite.digest, (ref,))]

    async def _measure(self, suites: Sequence[Suite], ref: str, ends: float) -> str | None:
        """Have one version answer what it has not; why it has not answered all, if it has not."""
        problems = []
        for suite in suites:
            known = _keys(await self._results((suite,), ref))
            lacking = tuple(item for item in suite.items if (suite.digest, item.id) not in known)
            if not lacking:
                continue
            problem = await self._run(replace(suite, items=lacking), ref, ends)
            if problem:
                problems.append(problem)
        return "; ".join(problems) or None

    async def _run(self, suite: Suite, ref: str, ends: float) -> str | None:
        loop = asyncio.get_running_loop()
        while loop.time() < ends:
            try:
                run = (await self._benchmarks.start(suite, (ref,))).run
            except Conflict as error:
                other = await self._other(suite, ref)
                if other is None:
                    return error.message
                await self._benchmarks.wait(other.id, min(_LOOK_S, max(0.0, ends - loop.time())))
                continue
            except PodiumError as error:
                return error.message
            return await self._follow(run, ref, max(0.0, ends - loop.time()))
        return f"the time for {suite.name} was over before it was measured"

    async def _follow(self, run: Run, ref: str, seconds: float) -> str | None:
        try:
            run = (await self._benchmarks.wait(run.id, seconds)).run
        except asyncio.CancelledError:
            with contextlib.suppress(PodiumError):
                await asyncio.shield(self._benchmarks.cancel(run.id))
            raise
        if run.state is RunState.RUNNING:
            await self._benchmarks.cancel(run.id)
            return f"stopped on {run.suite} after {seconds:.3g} s"
        if run.state is RunState.DONE:
            return None
        return "; ".join(run.problems.values()) or f"run {run.id} on {run.suite} was {run.state}"

    async def _other(self, suite: Suite, ref: str) -> Run | None:
        """Somebody else's run that measures the same just now."""
        for run in await self._benchmarks.runs(Page(limit=100)):
            if run.state is RunState.RUNNING and run.digest == suite.digest and ref in run.refs:
                return run
        return None


def _keys(results: Sequence[ItemResult]) -> set[tuple[str, str]]:
    return {(result.digest, result.item) for result in results}


def _how_to_make_one(task: str, problems: Sequence[str]) -> str:
    broken = f" ({'; '.join(problems)[:300]})" if problems else ""
    return (
        f"there is no validation set for {task}{broken}: put NAME.toml with task = {task!r} and NAME.jsonl into the "
        f"folder suites of Podium's home, see docs/benchmarks.md"
    )

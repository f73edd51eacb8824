"""Learns which version is best for each task, off the request path, and publishes ready figures.

Owns the learner's state: what was observed, never which request said it. Feedback and judgements are scores of quality;
outcomes tell whether a version answers at all. What it publishes is an immutable snapshot; it never chooses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

import msgspec

from podium.core import belief_file
from podium.core.bandit import Bandit
from podium.core.history import NOT_ITS_DOING
from podium.core.selection import ANY_TASK
from podium.domain.belief import Belief
from podium.domain.decision import Feedback, Outcome
from podium.domain.model import ModelVersion

STATE = "quality"
"""The name the store keeps the state under."""
FORMAT = 1

SUCCESS_MEMORY = 0.98
"""How much of the earlier weight of answered and failed requests is left after one more (about the last 50 count)."""
SUCCESS_PRIOR = 10.0
"""Imagined answered requests, so that one failure alone does not condemn a version."""
WEIGHTS: Mapping[str, float] = MappingProxyType({"user": 1.0, "check": 1.0, "judge": 0.5, "benchmark": 0.25})
"""Worth of a score in observations, by its source; others count like a user's."""

_pack = msgspec.msgpack.Encoder()
_unpack = msgspec.msgpack.Decoder()
Publish = Callable[[Mapping[str, Mapping[str, Belief]]], None]


class Learner:
    """``versions`` names the versions that may be chosen; ``publish`` takes beliefs by task, then by version."""

    def __init__(self, publish: Publish, versions: Callable[[], Iterable[str]], bandit: Bandit | None = None) -> None:
        self._publish = publish
        self._versions = versions
        self._bandit = bandit or Bandit()
        self._success: dict[tuple[str, str], tuple[float, float]] = {}
        """(answered, all), both discounted, by (task, ref)."""
        self._tasks: set[str] = set()
        self._dirty: set[str] = {ANY_TASK}
        self._met: set[str] = set()
        self._saved = True
        self.benchmarks_pending = True
        """Results of internal benchmarks wait to be read."""
        self.observations = 0
        self.refused = 0
        """Scores that could not be learned from: not finite, out of range."""

    # ------------------------------------------------------------ observing

    def outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """Requests ended. Those that failed for the caller's, the request's or the pool's sake say nothing."""
        for outcome in outcomes:
            if outcome.error in NOT_ITS_DOING:
                continue
            key = (outcome.task, outcome.ref)
            self._saved = False
            answered, count = self._success.get(key, (0.0, 0.0))
            answered = answered * SUCCESS_MEMORY + (1.0 if outcome.success else 0.0)
            self._success[key] = (answered, count * SUCCESS_MEMORY + 1.0)
            if not outcome.success or answered < count:
                self._dirty.add(outcome.task)

    def feedback(self, given: Feedback) -> None:
        """Somebody scored an answer."""
        if given.score is not None:
            self.score(given.task, given.ref, given.score, WEIGHTS.get(given.source, 1.0))

    def revised(self, given: Feedback, earlier: Feedback) -> None:
        """Somebody gave another score in the place of an earlier one."""
        if given.score is not None and earlier.score is not None:
            self.revise(given.task, given.ref, earlier.score, given.score, WEIGHTS.get(given.source, 1.0))

    def revise(self, task: str, ref: str, old: float, new: float, weight: float = 1.0) -> None:
        """A score that was learned from is taken back and ``new`` put in its place; what is no score is counted."""
        fits = self._bandit.fits
        try:
            self._bandit.revise(task, ref, old, new, weight)
        except ValueError:
            self.refused += 1
            return
        self._tasks.add(task)
        self._dirty.add(task)
        self._saved = False
        if self._bandit.fits != fits:
            self._dirty |= self._tasks
            self._dirty.add(ANY_TASK)

    def score(self, task: str, ref: str, score: float, weight: float = 1.0) -> None:
        """A version earned a score in [0, 1] on a task; what is no score is counted and left out."""
        fits = self._bandit.fits
        try:
            self._bandit.observe(task, ref, score, weight=weight)
        except ValueError:
            self.refused += 1
            return
        self.observations += 1
        self._tasks.add(task)
        self._dirty.add(task)
        self._saved = False
        if self._bandit.fits != fits:  # shared effects moved: every task believes something else now
            self._dirty |= self._tasks
            self._dirty.add(ANY_TASK)

    def meet(self, versions: Sequence[ModelVersion]) -> None:
        """Versions came or went: what is declared of new ones, and whom they follow, is where belief in them starts.

        A version follows its parent, else the one of the same name that was registered before it.
        """
        newest: dict[str, str] = {}
        for version in sorted(versions, key=lambda one: one.created_at):
            before = version.parent or newest.get(version.name)
            newest[version.name] = version.ref
            if version.ref in self._met:
                continue
            self._met.add(version.ref)
            if version.facts.parameters and version.ref not in self._bandit.claims:
                self._bandit.expect(version.ref, log2_size=math.log2(version.facts.parameters))
            if before is not None and before != version.ref:
                self._bandit.succeed(version.ref, before)
        self._dirty |= self._tasks
        self._dirty.add(ANY_TASK)
        self._saved = False

    def expect_benchmarks(self) -> None:
        """There are new results of internal benchmarks to read."""
        self.benchmarks_pending = True

    def benchmarked(self, scores: Mapping[tuple[str, str], tuple[int, float]]) -> None:
        """Results of internal benchmarks: a claim about each version, worth what it turns out to predict."""
        self.benchmarks_pending = False
        sums: dict[str, tuple[int, float]] = {}
        for (_, ref), (count, mean) in scores.items():
            before, total = sums.get(ref, (0, 0.0))
            sums[ref] = (before + count, total + count * mean)
        for ref, (count, total) in sums.items():
            if count:
                size = self._bandit.claims.get(ref, (math.nan, math.nan))[1]
                self._bandit.expect(ref, benchmark=total / count, log2_size=None if math.isnan(size) else size)
        self.meet(())

    # ------------------------------------------------------------ keeping

    @property
    def saved(self) -> bool:
        """Nothing was learned since ``state`` was taken."""
        return self._saved

    def unsaved(self) -> None:
        """The last state could not be written."""
        self._saved = False

    def state(self) -> bytes:
        """Everything, to be kept whole."""
        self._saved = True
        answered = [(task, ref, *pair) for (task, ref), pair in self._success.items()]
        return _pack.encode((FORMAT, belief_file.dump(self._bandit), answered, self.observations))

    def resume(self, content: bytes) -> None:
        """Go on from a state. Raises ``UnreadableBeliefs`` for another version's; then it starts anew."""
        try:
            version, beliefs, answered, observations = _unpack.decode(content)
        except (msgspec.DecodeError, ValueError, TypeError) as error:
            raise belief_file.UnreadableBeliefs(f"what was learned cannot be read ({error})") from None
        if version != FORMAT:
            raise belief_file.UnreadableBeliefs(f"what was learned is of format {version}, not {FORMAT}")
        self._bandit = belief_file.load(beliefs)
        self._success = {(task, ref): (good, count) for task, ref, good, count in answered}
        self._tasks = set(self._bandit.cells.tasks)
        self._dirty = {*self._tasks, ANY_TASK}
        self._met = {*self._bandit.claims, *self._bandit.predecessors}
        self.observations = observations

    # ------------------------------------------------------------ publishing

    def publish(self) -> None:
        """Hand out what changed since the last call; quick when nothing did."""
        if not self._dirty:
            return
        refs = list(self._versions())
        dirty, self._dirty = self._dirty, set()
        if refs:
            self._publish({task: self._beliefs(task, refs) for task in dirty})

    def _beliefs(self, task: str, refs: list[str]) -> Mapping[str, Belief]:
        row = self._bandit.table(task, refs)
        return MappingProxyType(
            {
                ref: Belief(
                    mean=float(row.mean[at]),
                    sd=float(row.sd[at]),
                    index=float(row.index[at]),
                    weight=float(row.weight[at]),
                    success=self._share_answered(task, ref),
                )
                for at, ref in enumerate(refs)
            }
        )

    def _share_answered(self, task: str, ref: str) -> float:
        answered, count = self._success.get((task, ref), (0.0, 0.0))
        return (answered + SUCCESS_PRIOR) / (count + SUCCESS_PRIOR)

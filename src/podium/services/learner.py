"""Learns which version is best for each task, off the request path, and publishes ready figures.

Owns the learner's state: what was observed, never which request said it. Feedback and judgements are scores of quality;
outcomes tell whether a version answers at all. What it publishes is an immutable snapshot; it never chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from podium.core.bandit import Bandit
from podium.core.history import CLIENT_LEFT
from podium.core.selection import ANY_TASK
from podium.domain.belief import Belief
from podium.domain.decision import Feedback, Outcome

SUCCESS_MEMORY = 0.98
"""How much of the earlier weight of answered and failed requests is left after one more (about the last 50 count)."""
SUCCESS_PRIOR = 10.0
"""Imagined answered requests, so that one failure alone does not condemn a version."""
WEIGHTS: Mapping[str, float] = MappingProxyType({"user": 1.0, "check": 1.0, "judge": 0.5, "benchmark": 0.25})
"""Worth of a score in observations, by its source; others count like a user's."""

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
        self.observations = 0
        self.refused = 0
        """Scores that could not be learned from: not finite, out of range."""

    # ------------------------------------------------------------ observing

    def outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """Requests ended. Those whose caller left say nothing."""
        for outcome in outcomes:
            if outcome.error == CLIENT_LEFT:
                continue
            key = (outcome.task, outcome.ref)
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
        if self._bandit.fits != fits:  # shared effects moved: every task believes something else now
            self._dirty |= self._tasks
            self._dirty.add(ANY_TASK)

    def changed(self) -> None:
        """Versions came or went."""
        self._dirty |= self._tasks
        self._dirty.add(ANY_TASK)

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

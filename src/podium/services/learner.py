"""Learns which version is best for each task, off the request path, and publishes ready figures.

Owns the learner's state: what was observed, never which request said it. Feedback and judgements are scores of quality;
outcomes tell whether a version answers at all. What it publishes is an immutable snapshot; it never chooses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from types import MappingProxyType

import msgspec

from podium.core import belief_file
from podium.core.bandit import Bandit
from podium.core.measurements import Measurements
from podium.core.selection import ANY_TASK
from podium.domain.belief import Belief, Performance
from podium.domain.decision import Feedback, Outcome
from podium.domain.model import ModelVersion

STATE = "quality"
"""The name the store keeps the state under."""
FORMAT = 2
SUCCESS_ONLY = 1
"""The format before: of what was measured it has answered and failed requests only. It is still read."""

SUCCESS_PRIOR = 10.0
"""Imagined answered requests, so that one failure alone does not condemn a version."""
WEIGHTS: Mapping[str, float] = MappingProxyType({"user": 1.0, "check": 1.0, "judge": 0.5, "benchmark": 0.25})
"""Worth of a score in observations, by its source; others count like a user's."""

_NOTHING: Mapping[str, Belief] = MappingProxyType({})
_pack = msgspec.msgpack.Encoder()
_unpack = msgspec.msgpack.Decoder()
Publish = Callable[[Mapping[str, Mapping[str, Belief]]], None]


class Learner:
    """``versions`` names the versions that may be chosen; ``publish`` takes beliefs by task, then by version."""

    def __init__(self, publish: Publish, versions: Callable[[], Iterable[str]], bandit: Bandit | None = None) -> None:
        self._publish = publish
        self._versions = versions
        self._bandit = bandit or Bandit()
        self._measured = Measurements()
        self._published: dict[str, Mapping[str, Belief]] = {}
        self._aged = 0.0
        """The time at which what was published is true."""
        self._dirty: set[str] = {ANY_TASK}
        """Tasks of which something else is believed about quality."""
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
        if self._measured.fold(outcomes):
            self._saved = False

    def feedback(self, given: Feedback) -> None:
        """Somebody scored an answer."""
        if given.score is not None:
            self.score(given.task, given.ref, given.score, WEIGHTS.get(given.source, 1.0) * given.weight)

    def revised(self, given: Feedback, earlier: Feedback) -> None:
        """Somebody gave another score in the place of an earlier one."""
        if given.score is not None and earlier.score is not None:
            weight = WEIGHTS.get(given.source, 1.0) * given.weight
            self.revise(given.task, given.ref, earlier.score, given.score, weight)

    def revise(self, task: str, ref: str, old: float, new: float, weight: float = 1.0) -> None:
        """A score that was learned from is taken back and ``new`` put in its place; what is no score is counted."""
        fits = self._bandit.fits
        try:
            self._bandit.revise(task, ref, old, new, weight)
        except ValueError:
            self.refused += 1
            return
        self._learned(task, fits)

    def score(self, task: str, ref: str, score: float, weight: float = 1.0) -> None:
        """A version earned a score in [0, 1] on a task; what is no score is counted and left out."""
        fits = self._bandit.fits
        try:
            self._bandit.observe(task, ref, score, weight=weight)
        except ValueError:
            self.refused += 1
            return
        self.observations += 1
        self._learned(task, fits)

    def _learned(self, task: str, fits: int) -> None:
        self._dirty.add(task)
        self._saved = False
        if self._bandit.fits != fits:  # shared effects moved: every task believes something else now
            self._all_dirty()

    def _all_dirty(self) -> None:
        self._dirty |= self._published.keys() | self._bandit.cells.tasks.keys() | {ANY_TASK}

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
        self._all_dirty()
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

    def measured(self, task: str, refs: Sequence[str]) -> Mapping[str, Performance]:
        """What was measured of some versions on a task up to now; those nobody measured are left out."""
        return self._measured.on(task, refs)

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
        return _pack.encode((FORMAT, belief_file.dump(self._bandit), self._measured.dump(), self.observations))

    def resume(self, content: bytes) -> None:
        """Go on from a state. Raises ``UnreadableBeliefs`` for another version's; then it starts anew."""
        measured = Measurements()
        try:
            version, beliefs, known, observations = _unpack.decode(content)
            if version == FORMAT:
                measured.load(*known)
            elif version == SUCCESS_ONLY:
                measured.adopt(known)
        except (msgspec.DecodeError, ValueError, TypeError) as error:
            raise belief_file.UnreadableBeliefs(f"what was learned cannot be read ({error})") from None
        if version not in (FORMAT, SUCCESS_ONLY):
            raise belief_file.UnreadableBeliefs(f"what was learned is of format {version}, not {FORMAT}")
        self._bandit = belief_file.load(beliefs)
        self._measured, self._aged = measured, measured.now
        self._published = {}
        self._dirty = {*self._bandit.cells.tasks, *measured.tasks(), ANY_TASK}
        self._met = {*self._bandit.claims, *self._bandit.predecessors}
        self.observations = observations

    # ------------------------------------------------------------ publishing

    def publish(self, most: int | None = None) -> None:
        """Hand out what changed since the last call; quick when nothing did.

        ``most``: (task, version) pairs to look at, so that an event loop is not held up; the rest is for the next call.
        """
        self._age()
        if not self._dirty and not self._measured.touched:
            return
        refs = list(self._versions())
        if not refs:
            return
        if ANY_TASK not in self._published:
            self._dirty.add(ANY_TASK)
        room = None if most is None else max(1, most // len(refs))
        changed: dict[str, Mapping[str, Belief]] = {}
        if ANY_TASK in self._dirty:  # first: tasks that have no scores share its objects
            changed[ANY_TASK] = self._published[ANY_TASK] = self._beliefs(ANY_TASK, refs)
        for task in islice(self._dirty - {ANY_TASK}, room):
            changed[task] = self._beliefs(task, refs)
        self._dirty -= changed.keys()
        touched = self._measured.touched
        for task in [*islice((one for one in touched if one not in changed), room)]:
            changed[task] = self._renewed(task, refs, touched[task])
        for task in changed:
            touched.pop(task, None)
        self._published.update(changed)
        self._publish(changed)

    def _age(self) -> None:
        """When an hour has passed among the outcomes, all that was measured counts for less."""
        if self._measured.now == self._aged:
            return
        self._aged = self._measured.now
        touched = self._measured.touched
        for task, row in self._published.items():
            old = {ref for ref, one in row.items() if one.performance is not None}
            if old:
                touched[task] = touched.get(task, set()) | old

    def _beliefs(self, task: str, refs: list[str]) -> Mapping[str, Belief]:
        """All of a task; what nothing changed about is the same object as before."""
        if task != ANY_TASK and task not in self._bandit.cells.tasks:
            return self._with_measurements(task, self._published[ANY_TASK], refs)
        before, fresh = self._published.get(task, _NOTHING), self._measured.touched.get(task, ())
        row = self._bandit.table(task, refs)
        made = {}
        for ref, mean, sd, index, weight in zip(
            refs, row.mean.tolist(), row.sd.tolist(), row.index.tolist(), row.weight.tolist(), strict=True
        ):
            known = before.get(ref)
            if known is None or ref in fresh:
                success, performance = self._share_answered(task, ref), self._measured.of(task, ref)
            else:
                success, performance = known.success, known.performance
                if known.index == index and known.mean == mean and known.sd == sd and known.weight == weight:
                    made[ref] = known
                    continue
            made[ref] = Belief(mean=mean, sd=sd, index=index, weight=weight, success=success, performance=performance)
        return MappingProxyType(made)

    def _renewed(self, task: str, refs: list[str], touched: set[str]) -> Mapping[str, Belief]:
        """A task of which only measurements are new: what is believed of quality stays."""
        base = self._published.get(task)
        if base is None or base.keys() != set(refs):
            return self._beliefs(task, refs)
        return self._with_measurements(task, base, touched)

    def _with_measurements(self, task: str, base: Mapping[str, Belief], refs: Iterable[str]) -> Mapping[str, Belief]:
        fresh = {}
        for ref in refs:
            known = self._measured.of(task, ref)
            if ref in base and (known is not None or base[ref].performance is not None):
                fresh[ref] = replace(base[ref], success=self._share_answered(task, ref), performance=known)
        return MappingProxyType({**base, **fresh})

    def _share_answered(self, task: str, ref: str) -> float:
        answered, count = self._measured.answered(task, ref)
        return (answered + SUCCESS_PRIOR) / (count + SUCCESS_PRIOR)

"""Judges against people: scores labelled rows, and says per criterion and judge how far the scores can be trusted.

Owns the measuring. Reads no file, writes none and asks models only through the ``RowJudge`` it is given.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from podium.core import agreement
from podium.core.agreement import Bin, Interval
from podium.core.calibration import OUTER, Fitted, Kind, calibrate
from podium.core.graders import grade
from podium.core.held_out import Figures, HeldOut, figures, joined
from podium.core.human_scale import PASS_MARK, PassRule, pass_rule, passed
from podium.core.pair_calibration import compare_features, compare_scores
from podium.core.stacking import features_of, stack_up
from podium.domain.judgment import PASS_MARKS, RULES, STACK, Calibration, Judged, Verdict
from podium.domain.labels import Labelled
from podium.errors import InvalidRequest

Progress = Callable[[float], None]


class RowJudge(Protocol):
    """Scores one output by one criterion. Never raises for what a model does: then the verdict is ``invalid``."""

    @property
    def name(self) -> str:
        """As in ``Verdict.judge``."""
        ...

    async def judge(self, item: Judged, criterion: str) -> Verdict:
        """One verdict."""
        ...


class RulesJudge:
    """The graders that need no model."""

    name = RULES

    async def judge(self, item: Judged, criterion: str) -> Verdict:
        """Computed at once; gives way to others first, so that a long file does not hold the loop."""
        await asyncio.sleep(0)
        return grade(item, criterion)


@dataclass(frozen=True, slots=True)
class Scored:
    """The verdicts of one judge on rows of one criterion: one for each output, in the order of the rows."""

    judge: str
    rows: tuple[Labelled, ...]
    verdicts: tuple[Verdict, ...]
    seconds: float
    """Wall time of all together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """How a judge does on one source of the labels."""

    n: int
    positives: int
    auc: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """How often the better output of a pair scored higher, equal scores half."""

    n: int
    right: Interval
    ties: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One judge on one criterion. ``figures`` are of labelled rows, a pair being one; ``calibration`` is for outputs that
    come alone. Both are ``None`` where ``problem`` says why.
    """

    criterion: str
    judge: str
    outputs: int
    """Labelled outputs; two for each pair."""
    scored: int
    abstained: int
    invalid: int
    judgments_per_s: float | None
    rule: str
    """From which label on an output has passed."""
    figures: Figures | None = None
    calibration: Calibration | None = None
    kappa_raw: Interval | None = None
    """Of the raw score at the criterion's pass mark (of a pair: the higher score wins), nothing fitted."""
    graded: Interval | None = None
    """Graded labels only: kappa with quadratic weights (Lin's concordance) of raw score and label."""
    spearman: Interval | None = None
    """Graded labels only."""
    pairs: Pairs | None = None
    datasets: Mapping[str, Part] = field(default_factory=dict)
    before: tuple[Bin, ...] = ()
    after: tuple[Bin, ...] = ()
    problem: str | None = None

    @property
    def informative(self) -> bool:
        """Better than chance: the lower bound of the AUC is above one half."""
        return self.figures is not None and self.figures.auc is not None and self.figures.auc.low > 0.5


async def score(
    rows: Sequence[Labelled], judge: RowJudge, *, at_once: int = 4, progress: Progress = lambda done: None
) -> Scored:
    """Have ``judge`` score every output; at most ``at_once`` at a time. Rows must be of one criterion."""
    items = [(item, row.criterion) for row in rows for item in row.items]
    verdicts: list[Verdict | None] = [None] * len(items)
    waiting = iter(enumerate(items))
    finished = 0

    async def work() -> None:
        nonlocal finished
        for index, (item, criterion) in waiting:
            verdicts[index] = await judge.judge(item, criterion)
            finished += 1
            progress(finished / len(items))

    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(max(1, at_once)):
            group.create_task(work())
    seconds = time.monotonic() - started
    return Scored(judge.name, tuple(rows), tuple(one for one in verdicts if one is not None), seconds)


def measure(scored: Scored, *, kind: Kind = "auto", seed: int = 0, mark: float | None = None) -> Measured:
    """How one judge agrees with the labels, and its calibration. ``mark`` overrides the pass mark of the labels."""
    rows, rule = _rows(scored, mark)
    single = [row for row in rows if len(row.raw) == 1 and row.raw[0] is not None]
    pairs = [row for row in rows if len(row.raw) == 2 and None not in row.raw]
    blank = _blank(scored, rule)
    if not single and not pairs:
        return dataclasses.replace(blank, problem=_silence(scored))

    def alone(some: Sequence[_Row]) -> Fitted:
        raw = [score for row in some for score in row.raw if score is not None]
        return calibrate(
            raw, [float(one) for row in some for one in row.passed], kind=kind, seed=seed, judge=scored.judge,
            groups=[row.group for row in some for _ in row.raw], criterion=blank.criterion,
        )  # fmt: skip

    def together(some: Sequence[_Row]) -> HeldOut:
        first, second = zip(*(row.raw for row in some), strict=True)
        return compare_scores(first, second, _won(some), groups=[row.group for row in some], seed=seed)

    told = _told(blank, single, pairs, alone, together, seed)
    return _graded(told, single, seed)


def measure_stack(parts: Sequence[Scored], *, seed: int = 0, mark: float | None = None) -> Measured:
    """The stack of several judges on the same rows. Outputs that nobody scored are scored too: absence is a feature."""
    joined = Scored(STACK, parts[0].rows, parts[0].verdicts, sum(part.seconds for part in parts))
    rows, rule = _rows(joined, mark)
    outputs = iter(features_of(verdicts) for verdicts in zip(*(part.verdicts for part in parts), strict=True))
    features = {row.number: tuple(next(outputs) for _ in row.raw) for row in rows}
    blank = dataclasses.replace(_blank(joined, rule), scored=len(parts[0].verdicts), abstained=0, invalid=0)

    def alone(some: Sequence[_Row]) -> Fitted:
        return stack_up(
            [one for row in some for one in features[row.number]], [float(one) for row in some for one in row.passed],
            seed=seed, groups=[row.group for row in some for _ in row.raw], criterion=blank.criterion,
        )  # fmt: skip

    def together(some: Sequence[_Row]) -> HeldOut:
        first, second = zip(*(features[row.number] for row in some), strict=True)
        return compare_features(first, second, _won(some), groups=[row.group for row in some], seed=seed)

    single = [row for row in rows if len(row.raw) == 1]
    return _told(blank, single, [row for row in rows if len(row.raw) == 2], alone, together, seed)


def by_criterion(rows: Iterable[Labelled]) -> Mapping[str, tuple[Labelled, ...]]:
    """Rows by criterion, in the order in which these first appear."""
    found: dict[str, list[Labelled]] = {}
    for row in rows:
        found.setdefault(row.criterion, []).append(row)
    return {criterion: tuple(some) for criterion, some in found.items()}


def drawn(rows: Sequence[Labelled], most: int | None, seed: int) -> tuple[Labelled, ...]:
    """At most ``most`` of the rows, drawn at random, in their order."""
    if most is None or most >= len(rows):
        return tuple(rows)
    chosen = np.random.default_rng(seed).choice(len(rows), most, replace=False)
    return tuple(rows[int(index)] for index in np.sort(chosen))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    number: int
    dataset: str
    group: int
    level: float
    passed: tuple[bool, ...]
    raw: tuple[float | None, ...]


def _rows(scored: Scored, mark: float | None) -> tuple[list[_Row], PassRule]:
    """Outputs to the same prompt depend on each other and are of one group, unless there are too few prompts to split by."""
    rule, names, scores = pass_rule(scored.rows, mark), dict[str, int](), iter(scored.verdicts)
    prompts = {row.context for row in scored.rows if row.context}
    return [
        _Row(
            number=number,
            dataset=row.dataset,
            group=names.setdefault(row.context if row.context and len(prompts) >= OUTER else row.id, len(names)),
            level=row.scale.level(row.human),
            passed=passed(row, rule),
            raw=tuple(next(scores).score for _ in row.items),
        )
        for number, row in enumerate(scored.rows)
    ], rule


def _won(pairs: Sequence[_Row]) -> list[float]:
    """1 where the first output is the better one."""
    return [float(row.passed[0]) for row in pairs]


def _blank(scored: Scored, rule: PassRule) -> Measured:
    verdicts = scored.verdicts
    invalid = sum(verdict.invalid is not None for verdict in verdicts)
    counted = sum(verdict.score is not None for verdict in verdicts)
    return Measured(
        criterion=scored.rows[0].criterion,
        judge=scored.judge,
        outputs=len(verdicts),
        scored=counted,
        abstained=len(verdicts) - counted - invalid,
        invalid=invalid,
        judgments_per_s=len(verdicts) / scored.seconds if scored.seconds > 0 else None,
        rule=rule.says,
    )


def _silence(scored: Scored) -> str:
    for verdict in scored.verdicts:
        why = verdict.invalid or verdict.reason
        if why:
            return f"no output got a score; the first: {why}"
    return "no output got a score"


def _told(
    blank: Measured,
    single: Sequence[_Row],
    pairs: Sequence[_Row],
    alone: Callable[[Sequence[_Row]], Fitted],
    together: Callable[[Sequence[_Row]], HeldOut],
    seed: int,
) -> Measured:
    """Everything but what graded labels add. Where no output came alone, those of pairs are what calibrates."""
    parts: list[HeldOut] = []
    kept: list[_Row] = []
    problems: list[str] = []
    calibration: Calibration | None = None
    for some, what in ((single, "outputs"), (pairs, "pairs")):
        if not some:
            continue
        try:
            fitted = alone(some) if some is single or not single else None
            held = together(some) if some is pairs or fitted is None else fitted.held
        except InvalidRequest as error:
            problems.append(f"{what}: {error.message}")
            continue
        parts.append(held)
        kept += some
        calibration = calibration if fitted is None else fitted.calibration
    if not parts:
        return dataclasses.replace(blank, problem=f"{'; '.join(problems)} ({blank.rule})")
    held, rng = joined(parts), np.random.default_rng(seed)
    mark = PASS_MARKS.get(blank.criterion, PASS_MARK)
    cuts = np.array([mark if len(row.raw) == 1 else 0.5 for row in kept])
    raw_passes, truth = held.before >= cuts, held.passed
    return dataclasses.replace(
        blank,
        figures=figures(held, rng),
        calibration=calibration,
        kappa_raw=None
        if blank.judge == STACK
        else agreement.bootstrap(lambda weights: agreement.kappa(raw_passes, truth, weights), held.groups, rng),
        pairs=_pairs(parts[-1]) if len(kept[-1].raw) == 2 else None,
        datasets=_datasets(held, kept),
        before=agreement.reliability(held.before, held.labels),
        after=agreement.reliability(held.after, held.labels),
        problem="; ".join(problems) or None,
    )


def _pairs(held: HeldOut) -> Pairs:
    signs = np.where(held.passed, 1, -1) * np.sign(held.order)
    right = float((signs + 1).mean() / 2)
    return Pairs(
        n=signs.size, right=Interval(right, *agreement.wilson(right, signs.size)), ties=int((signs == 0).sum())
    )


def _datasets(held: HeldOut, kept: Sequence[_Row]) -> Mapping[str, Part]:
    names, truth = np.array([row.dataset for row in kept]), held.passed
    return {
        str(name): Part(
            n=int((names == name).sum()),
            positives=int(truth[names == name].sum()),
            auc=agreement.auc_interval(held.order[names == name], truth[names == name], held.groups[names == name]),
        )
        for name in np.unique(names)
    }


def _graded(told: Measured, single: Sequence[_Row], seed: int) -> Measured:
    """Adds what needs labels of more than two levels; pairs have none."""
    levels = np.array([row.level for row in single])
    if np.unique(levels).size <= 2:
        return told
    raw, rng = np.array([row.raw[0] for row in single], dtype=np.float64), np.random.default_rng(seed)
    groups = np.array([row.group for row in single])
    return dataclasses.replace(
        told,
        graded=agreement.bootstrap(lambda weights: agreement.graded_kappa(raw, levels, weights), groups, rng),
        spearman=agreement.bootstrap(lambda weights: agreement.spearman(raw, levels, weights), groups, rng, draws=300),
    )

"""From what several judges said of one answer to one score per criterion, and one overall. Pure.

Owns which verdict counts. What is certain (there is no answer, or not the JSON that was asked for) counts before all
opinions. Else, by criterion, the first of these that there is:

1. rules and model together, by a stored stack;
2. the model's verdict, calibrated;
3. the rules' verdict, calibrated;
4. the rules' verdict as it is, where nobody calibrated them: what they measure is there to see;
5. the model's verdict as it is.

A judge that calibration found no better than chance comes after all others and teaches nothing, unless its calibration is
``forced``; so does a model nobody calibrated (an uncalibrated judge is not evidence), unless the task says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from podium.core.calibration import apply
from podium.core.stacking import ABSENT, apply_stack, features_of
from podium.domain.judgment import OVERALL, PASS_MARKS, RULES, STACK, Calibration, Verdict

Known = Callable[[str, str], Calibration | None]
"""The stored calibration of (judge, criterion)."""
RULE_SD = 0.3
"""How far off a rule is taken to be that nobody calibrated; an assumption, so that such scores teach less."""
_SCORE = "score."
MARK = 0.7
"""The pass mark of a criterion of one's own without a rubric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """One criterion of one answer."""

    criterion: str
    verdicts: tuple[Verdict, ...]
    """Everybody's, in the order they were asked; a stack's is the last."""
    chosen: Verdict | None
    """The one that counts; ``None`` when nobody had a score."""
    score: float | None
    """After calibration, in [0, 1]."""
    calibrated: bool
    teaches: bool
    """It may be learned from."""
    why: str
    """Why it counts, or why there is none."""
    mark: float = MARK
    scores: tuple[tuple[float | None, bool], ...] = ()
    """(score, whether it is calibrated) of each of ``verdicts``."""

    @property
    def sd(self) -> float | None:
        """How far off the score may be; ``None`` when nobody knows."""
        if self.chosen is None or self.chosen.sd is not None:
            return None if self.chosen is None else self.chosen.sd
        return RULE_SD if self.chosen.judge == RULES and not self.calibrated else None

    @property
    def passed(self) -> bool | None:
        """At or above the pass mark."""
        return None if self.score is None else self.score >= self.mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Overall:
    """The mean of the criteria that count. ``teaches``: it is made of such criteria alone. ``sd``: the mean of theirs, as if
    they erred together.
    """

    score: float | None
    sd: float | None
    teaches: bool
    passed: bool | None
    """Every criterion passed; ``None`` when one has no score."""
    why: str


def settle(
    criterion: str, verdicts: Sequence[Verdict], known: Known, *, forced: bool = False, mark: float | None = None
) -> Settled:
    """Which verdict counts. ``forced``: a model that nobody calibrated teaches, too."""
    offers = _offers(criterion, verdicts, known, forced)
    mark = PASS_MARKS.get(criterion, MARK) if mark is None else mark
    made = [offer.verdict for offer in offers if offer.verdict.judge == STACK]
    everybody = (*verdicts, *made)
    by_verdict: dict[int, tuple[float | None, bool]] = {
        id(offer.verdict): (offer.score, offer.calibrated) for offer in offers
    }
    best = next((offer for offer in offers if offer.teaches), None) or next(iter(offers), None)
    if best is None:
        return Settled(
            criterion=criterion,
            verdicts=everybody,
            chosen=None,
            score=None,
            calibrated=False,
            teaches=False,
            why=_nobody(verdicts),
            mark=mark,
            scores=tuple((None, False) for _ in everybody),
        )
    return Settled(
        criterion=criterion,
        verdicts=everybody,
        chosen=best.verdict,
        score=best.score,
        calibrated=best.calibrated,
        teaches=best.teaches,
        why=best.why,
        mark=mark,
        scores=tuple(by_verdict.get(id(one), (None, False)) for one in everybody),
    )


def overall(settled: Sequence[Settled]) -> Overall:
    """The mean of the criteria that teach, else of all that have a score."""
    teaching = [one for one in settled if one.teaches and one.score is not None]
    counted = teaching or [one for one in settled if one.score is not None]
    marks = [one.passed for one in settled]
    passed = None if not marks or None in marks else all(marks)
    if False in marks:
        passed = False
    if not counted:
        return Overall(score=None, sd=None, teaches=False, passed=passed, why="no criterion has a score")
    scores = [one.score for one in counted if one.score is not None]
    spreads = [one.sd for one in counted if one.sd is not None]
    sd = sum(spreads) / len(counted) if spreads else None
    return Overall(
        score=sum(scores) / len(scores),
        sd=sd,
        teaches=bool(teaching),
        passed=passed,
        why=", ".join(f"{one.criterion}: {one.chosen.judge}" for one in counted if one.chosen is not None),
    )


def overall_verdict(found: Overall) -> Verdict:
    """The overall as a verdict, for storing."""
    return Verdict(
        criterion=OVERALL,
        judge=OVERALL,
        score=found.score,
        sd=found.sd,
        method="mean of the criteria that count",
        reason=found.why,
    )


@dataclass(frozen=True, slots=True)
class _Offer:
    verdict: Verdict
    score: float
    calibrated: bool
    teaches: bool
    why: str


def _offers(criterion: str, verdicts: Sequence[Verdict], known: Known, forced: bool) -> list[_Offer]:
    """Everybody with a score, best first."""
    scored = [verdict for verdict in verdicts if verdict.score is not None]
    models = [verdict for verdict in scored if verdict.judge != RULES]
    rules = [verdict for verdict in scored if verdict.judge == RULES]
    offers = [_Offer(one, one.score, False, True, one.reason) for one in rules if one.certain and one.score is not None]
    rules = [one for one in rules if not one.certain]
    together = None if offers else known(STACK, criterion)
    if together is not None and _asked(together, verdicts):
        offers.append(_stacked(criterion, verdicts, together))
    raw: list[_Offer] = []
    for verdict in (*models, *rules):
        calibration = known(verdict.judge, criterion)
        assert verdict.score is not None
        if calibration is not None:
            score = min(1.0, max(0.0, apply(calibration, verdict.score)))
            offers.append(_Offer(verdict, score, True, *_worth(calibration)))
        elif verdict.judge == RULES:
            raw.insert(0, _Offer(verdict, verdict.score, False, True, "what the rules measured"))
        else:
            why = "learned from by order, though nobody calibrated it" if forced else "nobody calibrated this judge"
            raw.append(_Offer(verdict, verdict.score, False, forced, why))
    return [*offers, *raw]


def _asked(together: Calibration, verdicts: Sequence[Verdict]) -> bool:
    """Whether every judge that the stack weighs was asked here, and one of them had something to say."""
    judges = {name.removeprefix(_SCORE) for name in together.weights if name.startswith(_SCORE)}
    judges = {name.removesuffix(ABSENT) for name in judges}
    return judges <= {one.judge for one in verdicts} and any(one.score is not None for one in verdicts)


def _stacked(criterion: str, verdicts: Sequence[Verdict], together: Calibration) -> _Offer:
    score = min(1.0, max(0.0, apply_stack(together, features_of(verdicts))))
    verdict = Verdict(criterion=criterion, judge=STACK, score=score, method="rules and model, weighed by labels")
    return _Offer(verdict, score, True, *_worth(together))


def _worth(calibration: Calibration) -> tuple[bool, str]:
    if calibration.informative:
        return True, f"calibrated on {calibration.n} labels"
    if calibration.forced:
        return True, "no better than chance on its labels, learned from by order"
    return False, "no better than chance on its labels"


def _nobody(verdicts: Sequence[Verdict]) -> str:
    said = [f"{one.judge}: {one.invalid or one.reason or 'no score'}" for one in verdicts]
    return "; ".join(said) or "nobody was asked"

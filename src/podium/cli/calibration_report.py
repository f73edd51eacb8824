"""What ``podium judge calibrate`` shows of one judge on one criterion: a JSON object, a row, remarks, a diagram."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from podium.core.agreement import Interval
from podium.core.picture.reliability import Diagram
from podium.services.calibrating import Measured

COLUMNS = ("criterion", "judge", "n", "AUC", "95 %", "kappa", "ECE before", "after", "per s", "no score", "verdict")
_FIGURES = ("auc", "kappa", "agreement", "ece_before", "ece_after", "sensitivity", "specificity")


def plain(one: Measured) -> dict[str, Any]:
    """Numbers by name; ``intervals`` holds [low, high] at 95 %. What there is no number for is null."""
    figures = one.figures
    found = {name: None if figures is None else getattr(figures, name) for name in _FIGURES}
    found |= {"kappa_raw": one.kappa_raw, "kappa_graded": one.graded, "spearman": one.spearman}
    calibration = one.calibration
    return {
        "criterion": one.criterion,
        "judge": one.judge,
        "n": 0 if figures is None else figures.n,
        "positives": None if figures is None else figures.positives,
        **{name: _value(interval) for name, interval in found.items()},
        "intervals": {name: [one.low, one.high] for name, one in found.items() if one is not None},
        "judgments_per_s": one.judgments_per_s,
        "invalid": one.invalid,
        "abstained": one.abstained,
        "outputs": one.outputs,
        "informative": one.informative,
        "label_rule": one.rule,
        "log_loss": None if figures is None else figures.log_loss,
        "log_loss_of_base_rate": None if figures is None else figures.log_loss_of_base_rate,
        "pairs": None
        if one.pairs is None
        else {"n": one.pairs.n, "ties": one.pairs.ties, "right": _value(one.pairs.right)},
        "datasets": {
            name: {"n": part.n, "positives": part.positives, "auc": _value(part.auc)}
            for name, part in one.datasets.items()
        },
        "calibration": None
        if calibration is None
        else {"kind": calibration.kind, "n": calibration.n, "cut": calibration.cut, "teaches": calibration.informative},
        "problem": one.problem,
    }


def as_row(one: Measured) -> tuple[object, ...]:
    """One line of the table."""
    figures = one.figures
    silent = one.abstained + one.invalid
    if figures is None:
        return one.criterion, one.judge, 0, None, None, None, None, None, _rate(one), silent, "not measured"
    auc = figures.auc
    return (
        one.criterion,
        one.judge,
        figures.n,
        _value(auc),
        "-" if auc is None else f"{auc.low:.2f}-{auc.high:.2f}",
        _value(figures.kappa),
        _value(figures.ece_before),
        _value(figures.ece_after),
        _rate(one),
        silent,
        "better than chance" if one.informative else "no better than chance",
    )


def remarks(measured: Sequence[Measured]) -> list[str]:
    """What the table cannot say: how labels were read, who is not to be learned from, what failed."""
    found = [f"{criterion}: {rule}" for criterion, rule in {one.criterion: one.rule for one in measured}.items()]
    for one in measured:
        who = f"{one.judge} on {one.criterion}"
        if one.problem is not None:
            found.append(f"{who}: {one.problem}")
        if one.figures is not None and not one.informative:
            found.append(f"{who} cannot be told from chance: nothing is learned from it unless saved with --force")
        if one.pairs is not None:
            right = one.pairs.right
            found.append(
                f"{who}: the better of {one.pairs.n} pairs scores higher in {right.value:.1%} ({right.low:.1%} to {right.high:.1%})"
            )
    return found


def diagram(one: Measured) -> Diagram:
    """Its reliability before and after."""
    figures = one.figures
    assert figures is not None
    auc = (
        "no AUC"
        if figures.auc is None
        else f"AUC {figures.auc.value:.3f} ({figures.auc.low:.3f} to {figures.auc.high:.3f})"
    )
    mapped = "" if one.calibration is None else f", {one.calibration.kind}"
    return Diagram(
        lines=(
            f"{one.criterion}, {one.judge}: {auc}, {figures.n:,} rows, {figures.positives:,} passed by people",
            one.rule,
        ),
        before=one.before,
        after=one.after,
        before_says=_said("ECE", figures.ece_before),
        after_says=_said("ECE", figures.ece_after) + mapped,
    )


def _value(interval: Interval | None) -> float | None:
    return None if interval is None else interval.value


def _said(name: str, interval: Interval | None) -> str:
    return f"no {name}" if interval is None else f"{name} {interval.value:.3f}"


def _rate(one: Measured) -> float | None:
    return one.judgments_per_s

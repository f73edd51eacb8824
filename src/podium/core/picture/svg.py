"""One picture that says why a rollout went as it did, as SVG: arms, difference, traffic, the decision, all readings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from podium.core.picture import panels, words
from podium.core.picture.canvas import Canvas, cut, width_of, wrap
from podium.core.picture.curves import Curves, curves
from podium.core.picture.facts import TITLES, difference, telling
from podium.core.picture.panels import Frame, Place
from podium.core.picture.style import SHEET
from podium.domain.rollout import FINAL, Metric, RolloutReport, RolloutState

WIDTH = 960.0
_LEFT, _RIGHT, _EDGE = 84.0, 800.0, 28.0
_GOOD = frozenset({RolloutState.PROMOTED})
_BAD = frozenset({RolloutState.ROLLED_BACK, RolloutState.FAILED, RolloutState.ABORTED})
_COLUMNS = (("metric", 28.0), ("baseline", 104.0), ("candidate", 234.0), ("difference", 364.0),
            ("bounds at all times", 462.0), ("limit", 624.0), ("verdict", 754.0))  # fmt: skip
_HEIGHTS = (190.0, 150.0, 56.0)
_BETWEEN = 46.0


def draw(report: RolloutReport, now: float, *, metric: Metric | None = None) -> str:
    """The SVG document; ``metric`` is drawn, the telling one unless named. Times in it are UTC."""
    canvas = Canvas(WIDTH)
    y = _head(canvas, report, now)
    chosen = metric or telling(report)
    curve = None if chosen is None else curves(report, chosen, now)
    if curve is None:
        what = "no answer of this rollout was measured" + (f" by {metric}" if metric is not None else "")
        canvas.text((_EDGE, y + 26), f"Nothing to draw yet: {what}.", "body dim")
        y += 48
    else:
        y = _Stack(canvas, report, curve).draw(y)
    y = _table(canvas, report, y)
    y = _foot(canvas, report, y)
    rollout = report.rollout
    title = f"Rollout {rollout.id} of {rollout.task}: {rollout.baseline} to {rollout.candidate}"
    description = f"{words.state(rollout)}. {rollout.ending or words.awaits(report, now)}"
    backed = Canvas(WIDTH)
    backed.rect((0, 0), WIDTH, y, "page")
    backed.take(canvas)
    return backed.document(y, title=title, description=description, style_sheet=SHEET)


def _tone(state: RolloutState) -> str:
    return "good" if state in _GOOD else "bad" if state in _BAD else "busy"


def _head(canvas: Canvas, report: RolloutReport, now: float) -> float:
    rollout = report.rollout
    name = rollout.state.value.replace("_", " ") if not rollout.concluded else "concluded"
    wide = 9.0 * len(name) + 24
    canvas.rect((WIDTH - _EDGE - wide, 20), wide, 26, _tone(rollout.state), radius=13)
    canvas.text((WIDTH - _EDGE - wide / 2, 37.5), name, "pill on", anchor="middle")
    title = f"{rollout.task}: {rollout.baseline} → {rollout.candidate}"
    canvas.text((_EDGE, 40), cut(title, 19, WIDTH - 3 * _EDGE - wide), "h1 ink")
    y = 62.0
    said = rollout.ending or f"{words.state(rollout)}; {words.awaits(report, now)}".rstrip("; ")
    for line in wrap(said, 13, WIDTH - 2 * _EDGE, 4):
        canvas.text((_EDGE, y), line, "body ink")
        y += 18
    return y


@dataclass(frozen=True, slots=True)
class _Stack:
    """The panels, one below the other on one time axis, and what crosses them all."""

    canvas: Canvas
    report: RolloutReport
    curve: Curves

    def draw(self, y: float) -> float:
        canvas, curve = self.canvas, self.curve
        title, rollout = TITLES[curve.metric], self.report.rollout
        tops = [y + 40]
        for height in _HEIGHTS[:-1]:
            tops.append(tops[-1] + height + _BETWEEN)
        bottom = tops[-1] + _HEIGHTS[-1]
        whole = Frame(_LEFT, _RIGHT, tops[0], bottom, curve.start, curve.end, 0, 1)
        for top, height in zip(tops, _HEIGHTS, strict=True):
            self._times(whole, top, height)
        self._title(
            tops[0], title[0].upper() + title[1:], f"baseline {rollout.baseline}, candidate {rollout.candidate}"
        )
        panels.arms(canvas, curve, self._frame(tops[0], _HEIGHTS[0]))
        banded = any(point.lower is not None or point.upper is not None for point in curve.points)
        band = "band: holds at all times at once, however often one looks" if banded else "no bounds yet"
        self._title(tops[1], "Candidate minus baseline", band)
        panels.differences(canvas, curve, self._frame(tops[1], _HEIGHTS[1]))
        self._title(tops[2], "Candidate's share of the traffic", "")
        panels.traffic(canvas, curve, self._frame(tops[2], _HEIGHTS[2]))
        panels.time_axis(canvas, whole, curve)
        self._ending(whole)
        return bottom + 34

    def _times(self, whole: Frame, top: float, height: float) -> None:
        """Pauses and ramp steps, behind everything else."""
        for since, to in self.curve.pauses:
            self.canvas.rect((whole.x(since), top), whole.x(to) - whole.x(since), height, "pause")
            if top == whole.top and whole.x(to) - whole.x(since) > 46:
                self.canvas.text((whole.x(since) + 4, top + 12), "paused", "dim small")
        for since, share in self.curve.shares:
            if share > 0 and since > self.curve.start:
                self.canvas.line((whole.x(since), top), (whole.x(since), top + height), "ramp")

    def _frame(self, top: float, height: float) -> Place:
        def place(low: float, high: float) -> Frame:
            return Frame(_LEFT, _RIGHT, top, top + height, self.curve.start, self.curve.end, low, high)

        return place

    def _title(self, top: float, title: str, aside: str) -> None:
        self.canvas.text((_EDGE, top - 12), title, "h2 ink")
        if aside:
            text = cut(aside, 11, _RIGHT - _EDGE - width_of(title, 13) - 30)
            self.canvas.text((_RIGHT, top - 12), text, "dim small", anchor="end")

    def _ending(self, whole: Frame) -> None:
        rollout = self.report.rollout
        if rollout.finished_at is None or rollout.state not in FINAL:
            return
        column = whole.x(rollout.finished_at)
        self.canvas.line((column, whole.top - 2), (column, whole.bottom), f"end-{_tone(rollout.state)}")
        text = f"{rollout.state.value.replace('_', ' ')} after {words.duration(rollout.finished_at - self.curve.start)}"
        self.canvas.text(
            (whole.right + 10, whole.bottom - 22), text.split(" after", maxsplit=1)[0], f"strong {_tone(rollout.state)}"
        )
        self.canvas.text((whole.right + 10, whole.bottom - 6), f"after{text.split(' after')[1]}", _tone(rollout.state))


def _table(canvas: Canvas, report: RolloutReport, y: float) -> float:
    rollout = report.rollout
    y += 18
    for name, x in _COLUMNS:
        canvas.text((x, y), name, "dim small")
    canvas.line((_EDGE, y + 7), (WIDTH - _EDGE, y + 7), "axis")
    for reading in report.readings:
        y += 23
        needed = report.needed.get(reading.metric) if rollout.open else None
        said = words.judged(rollout.plan, reading, needed)
        tone = {"worse": "bad strong", "fine": "good strong"}.get(said, "ink")
        canvas.text((_COLUMNS[0][1], y), reading.metric.value, "ink strong")
        if reading.baseline is None and reading.candidate is None:
            canvas.text((_COLUMNS[1][1], y), cut(said, 12, WIDTH - _EDGE - _COLUMNS[1][1]), "dim")
            continue
        cells = (
            f"{words.value(reading.metric, reading.baseline)} (n {reading.baseline_n:,})",
            f"{words.value(reading.metric, reading.candidate)} (n {reading.candidate_n:,})",
            words.gap(reading.metric, difference(reading)), words.bounds(reading), words.limit(rollout.plan, reading),
        )  # fmt: skip
        for (_, x), text in zip(_COLUMNS[1:6], cells, strict=True):
            canvas.text((x, y), text, "ink")
        canvas.text((_COLUMNS[6][1], y), cut(said, 12, WIDTH - _EDGE - _COLUMNS[6][1]), tone)
    return y + 12


def _foot(canvas: Canvas, report: RolloutReport, y: float) -> float:
    rollout = report.rollout
    ordered = datetime.fromtimestamp(rollout.requested_at, UTC)
    promise = (
        f"Looked at after every answer: a candidate that is no worse is rolled back with a probability of at most "
        f"{words.percent(rollout.plan.false_alarm)} over the whole rollout and all metrics together."
    )
    about = f"{rollout.id}, {rollout.plan.mode.value}, ordered {ordered:%Y-%m-%d %H:%M} UTC by {rollout.by}"
    y += 14
    for line in (*wrap(promise, 11, WIDTH - 2 * _EDGE, 2), cut(about, 11, WIDTH - 2 * _EDGE)):
        canvas.text((_EDGE, y), line, "dim small")
        y += 16
    return y + 8

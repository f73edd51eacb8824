"""Rollouts: which run and how they stand, how earlier ones ended, and one of them with its evidence, live."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from podium.core.picture import facts, passing, words
from podium.core.rollout import Order, command
from podium.core.rollout_plan import share_of
from podium.domain.rollout import Metric, Reading, Rollout, RolloutMode, RolloutPlan, RolloutReport, RolloutState
from podium.domain.unmeasured import NO_ENERGY
from podium.errors import Conflict, NotFound
from podium.ports import Page as Window
from podium.server import rollout_views as views
from podium.server.control.charges import charged
from podium.web.page import Data, Look, Page
from podium.web.series.rollout import arms, share

ON_A_PAGE = 30
KINDS = {
    RolloutState.PROMOTED: "good",
    RolloutState.ROLLED_BACK: "bad",
    RolloutState.FAILED: "bad",
    RolloutState.PAUSED: "warn",
    RolloutState.CANARY: "accent",
    RolloutState.SHADOW: "accent",
}
"""Colours of states; the others have none."""
_VERDICTS = {facts.Verdict.WORSE: "bad", facts.Verdict.FINE: "good"}
_ASKED = {
    "pause": "Send all requests of {task} to {baseline} for now? What was measured is kept.",
    "resume": "Go on where it was paused?",
    "promote": "Give {candidate} all requests of {task} now, whatever the evidence says?",
    "abort": "End this rollout without a verdict? {baseline} serves on.",
    "rollback": "Send {candidate} back? {baseline} serves all requests of {task} again.",
}
_TEXTS = {"pause": "Pause", "resume": "Resume", "promote": "Promote", "abort": "Abort", "rollback": "Roll back"}
_MOST_STEPS = 40
"""Ramp steps drawn one by one."""


async def every(look: Look) -> Data:
    """Those that run, with a sentence on each, and a page of those that have ended."""
    rollouts = look.services.rollouts
    task = look.query.get("task") or None
    offset = int(look.query["from"]) if look.query.get("from", "").isdecimal() else 0
    now = look.services.clock.now()
    running = [await rollouts.report(one.id) for one in rollouts.running() if task in (None, one.task)]
    found = await rollouts.listed(task, Window(limit=ON_A_PAGE + 1 + len(running), offset=offset))
    ended = [one for one in found if not one.open]
    return {
        "running": [_card(report, now) for report in running],
        "past": [{"view": views.rollout(one), "kind": KINDS.get(one.state, "")} for one in ended[:ON_A_PAGE]],
        "more": offset + ON_A_PAGE + len(running) if len(found) > ON_A_PAGE + len(running) else None,
        "from": offset,
        "task": task,
        "tasks": sorted({*(spec.name for spec in look.services.tasks.specs()), *((task,) if task else ())}),
    }


def _card(report: RolloutReport, now: float) -> Data:
    item, metric = report.rollout, facts.telling(report)
    reading = next((one for one in report.readings if one.metric is metric), None)
    return {
        "view": views.rollout(item),
        "kind": KINDS.get(item.state, ""),
        "says": _says(report, now),
        "ramp": _ramp(item),
        "reading": None if reading is None else _reading(item.plan, reading, report.needed.get(reading.metric)),
    }


async def one(look: Look) -> Data:
    """Everything about one rollout. Raises ``NotFound``."""
    report = await look.services.rollouts.report(look.path["rollout_id"])
    item, now = report.rollout, look.services.clock.now()
    if "part" in look.query:
        return {"charged": await _charged(look, item.id)}
    metric = _metric(look.query.get("metric")) or facts.telling(report) or Metric.QUALITY
    readings = [_reading(item.plan, one, report.needed.get(one.metric)) for one in report.readings]
    return {
        "title": f"Rollout on {item.task}",
        "view": views.rollout(item),
        "checks": _checks(item),
        "kind": KINDS.get(item.state, ""),
        "says": _says(report, now),
        "traffic": passing.told(report, now).replace("`", ""),
        "hungry": bool(passing.starved(report, now)),
        "ramp": _ramp(item),
        "orders": _orders(item, now) if look.may("operator") else [],
        "readings": readings,
        "metric": metric,
        "drawn": [found for found in Metric if any(point.metric is found for point in report.trace)],
        "arms": arms(report, metric, now),
        "share": share(report, metric, now),
        "told": _told(report, metric),
        "steps": [views.step(step) for step in reversed(report.steps)],
        "kinds": KINDS,
        "plan_words": _plan(item.plan),
    }


async def _charged(look: Look, rollout_id: str) -> Data:
    """What was done because of it, with the reason where nobody could tell the energy."""
    found = await charged(rollout_id, look.services)
    parts = [one["cost"] for one in (*found["attempts"], *found["operations"])]
    reasons = [cost["missing"].get("energy_mwh") for cost in parts]
    return {**found, "no_energy": next(filter(None, reasons), NO_ENERGY)}


def _checks(item: Rollout) -> list[str]:
    """What compatibility has to say beside what blocks, each once."""
    found = item.compatibility
    return [] if found is None else list(dict.fromkeys((*found.strict_gaps, *found.warnings)))


def _says(report: RolloutReport, now: float) -> str:
    """How it stands and what comes next; the buttons beside it say what can be ordered."""
    item = report.rollout
    parts = [words.state(item), item.ending]
    if item.state is not RolloutState.PAUSED:
        parts.append(words.awaits(report, now))
    text = ". ".join(part for part in parts if part)
    return text[:1].upper() + text[1:]


def _ramp(item: Rollout) -> list[Data]:
    """The steps of a canary: share, and whether each is over, under way or to come."""
    if item.plan.mode is not RolloutMode.GRADUAL:
        return []
    over, here = item.state is RolloutState.PROMOTED, "now" if item.open else "reached"
    count = facts.steps(item.plan)
    if count > _MOST_STEPS:
        return []
    return [
        {
            "share": share_of(item.plan, step),
            "state": "done" if over or step < item.step else here if step == item.step else "next",
        }
        for step in range(1, count + 1)
    ]


def _orders(item: Rollout, now: float) -> list[Data]:
    """What makes sense now, each with the question that is asked first."""
    found: list[Data] = []
    for order in get_args(Order):
        try:
            command(item, order, now)
        except Conflict:
            continue
        asked = _ASKED[order].format(task=item.task, baseline=item.baseline, candidate=item.candidate)
        found.append({"name": order, "text": _TEXTS[order], "ask": asked})
    return found


def _reading(plan: RolloutPlan, reading: Reading, needed: int | None) -> Data:
    seen = views.reading(reading, plan)
    return {
        "view": seen,
        "title": facts.TITLES[reading.metric],
        "baseline": words.value(reading.metric, reading.baseline),
        "candidate": words.value(reading.metric, reading.candidate),
        "difference": words.gap(reading.metric, seen.difference),
        "bounds": words.bounds(reading) if seen.lower is not None or seen.upper is not None else "none yet",
        "limit": words.limit(plan, reading),
        "judged": words.judged(plan, reading, needed),
        "kind": _VERDICTS.get(seen.verdict, ""),
        "drawing": _drawing(seen),
    }


def _drawing(seen: views.ReadingView) -> Data | None:
    """The interval around no difference, in per cent of the width: what decides, on a scale that shows the limit."""
    if seen.difference is None or seen.baseline is None:
        return None
    limit = None if seen.limit_value is None else seen.limit_value - seen.baseline
    known = [abs(value) for value in (limit, seen.difference) if value is not None]
    reach = max((*known, 1e-9)) * 2.5

    def at(value: float | None, beyond: float) -> float:
        return 50 + 50 * max(-1.0, min(1.0, (beyond if value is None else value) / reach))

    return {
        "low": at(seen.lower, -reach),
        "high": at(seen.upper, reach),
        "at": at(seen.difference, 0.0),
        "limit": None if limit is None else at(limit, 0.0),
        "bounded": seen.lower is not None or seen.upper is not None,
    }


def _told(report: RolloutReport, metric: Metric) -> str:
    """What the chart shows, for those who do not see it."""
    reading = next((one for one in report.readings if one.metric is metric), None)
    if reading is None:
        return f"{metric} of both versions over time"
    plan = report.rollout.plan
    return (
        f"{facts.TITLES[metric]} over time: {report.rollout.baseline} {words.value(metric, reading.baseline)}, "
        f"{report.rollout.candidate} {words.value(metric, reading.candidate)}, difference within {words.bounds(reading)}, "
        f"limit {words.limit(plan, reading)}: {words.judged(plan, reading)}"
    )


def _metric(name: str | None) -> Metric | None:
    if not name:
        return None
    try:
        return Metric(name)
    except ValueError:
        raise NotFound(f"there is no metric {name[:40]!r}; a rollout compares {', '.join(Metric)}") from None


def _plan(plan: RolloutPlan) -> Sequence[tuple[str, str]]:
    """The plan in words, what applies to its mode."""
    rows = [("mode", str(plan.mode))]
    match plan.mode:
        case RolloutMode.GRADUAL:
            rows.append(("steps", f"{words.percent(plan.start_share)}, then {words.percent(plan.step_share)} more"))
            early = ", sooner when all is certain" if plan.early else ""
            rows.append(("length of a step", words.duration(plan.step_s) + early))
        case RolloutMode.AB:
            rows.append(("split", f"{words.percent(plan.split)} for {words.duration(plan.max_s)} at most"))
        case RolloutMode.SHADOW:
            rows.append(("sample", words.percent(plan.shadow_sample)))
    rows.append(("answers each step needs", f"{plan.min_samples:,}"))
    rows.append(("without them", f"rolled back after {words.duration(plan.silence_s)}"))
    limits = ", ".join(f"{metric} {ratio:g}" for metric, ratio in plan.limits.items()) or "none"
    rows.append(("limits, of the old version", limits))
    rows.append(("risk of a false alarm", words.percent(plan.false_alarm)))
    return rows


PAGES = (
    Page(
        path="/rollouts",
        title="Rollouts",
        template="rollouts.html",
        data=every,
        tab="rollouts",
        live=("running", "past"),
        every_s=2.0,
    ),
    Page(
        path="/rollouts/{rollout_id}",
        title="Rollout",
        template="rollout.html",
        data=one,
        tab="rollouts",
        live=("standing", "orders", "moved", "evidence", "log"),
        every_s=2.0,
    ),
)

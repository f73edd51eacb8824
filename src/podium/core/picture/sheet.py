"""All there is to say about a rollout as plain text: what it is, what comes next, readings, history, the chart."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from podium.core.picture import chart, passing, words
from podium.core.picture.facts import difference
from podium.domain.rollout import Metric, Rollout, RolloutReport

_LEAST_ROOM = 24
"""Columns below which wrapping would make ribbons."""
_PLAIN = str.maketrans({"→": "->", "…": "..."})


def sheet(
    report: RolloutReport, now: float, *, metric: Metric | None = None, width: int = 80, ascii_only: bool = False
) -> str:
    """Lines without a newline at the end, about ``width`` wide: numbers are never broken, texts are wrapped."""
    rollout = report.rollout
    parts = [
        f"{rollout.task}: {rollout.baseline} → {rollout.candidate}",
        *aligned([(name, text) for name, text in _facts(report, now) if text], width),
        "",
        *table(READINGS, [reading_row(report, index) for index in range(len(report.readings))], width),
        "",
        *table(("after", "state", "share", "why"), history(report), width),
        "",
        chart.chart(report, now, metric=metric, width=width, ascii_only=ascii_only),
    ]
    text = "\n".join(parts)
    return text.translate(_PLAIN).encode("ascii", "replace").decode() if ascii_only else text


READINGS = ("metric", "baseline", "candidate", "difference", "bounds at all times", "limit", "verdict")


def reading_row(report: RolloutReport, index: int) -> tuple[str, ...]:
    """One reading in the columns of ``READINGS``."""
    reading, plan = report.readings[index], report.rollout.plan
    metric = reading.metric
    needed = report.needed.get(metric) if report.rollout.open else None
    return (
        metric.value,
        counted(metric, reading.baseline, reading.baseline_n),
        counted(metric, reading.candidate, reading.candidate_n),
        words.gap(metric, difference(reading)),
        words.bounds(reading),
        words.limit(plan, reading),
        words.judged(plan, reading, needed),
    )


def counted(metric: Metric, number: float | None, samples: int) -> str:
    """A value and how many samples it comes from."""
    return f"{words.value(metric, number)} ({samples:,})" if samples else words.value(metric, number)


def history(report: RolloutReport) -> list[tuple[str, ...]]:
    """When, which state, the candidate's share then, and why."""
    return [
        (
            words.duration(step.at - report.rollout.requested_at),
            step.after.value.replace("_", " "),
            words.percent(step.share),
            step.reason or "-",
        )
        for step in report.steps
    ]


def _facts(report: RolloutReport, now: float) -> list[tuple[str, str]]:
    rollout = report.rollout
    ordered = f"{rollout.plan.mode.value}, {rollout.id}, ordered {words.duration(now - rollout.requested_at)} ago"
    return [
        ("rollout", f"{ordered} by {rollout.by}{f': {rollout.reason}' if rollout.reason else ''}"),
        ("state", words.state(rollout)),
        ("because", rollout.ending or ""),
        ("next", words.awaits(report, now)),
        ("traffic", passing.told(report, now)),
        *(("note", said) for said in rollout.notes),
        ("can see", rollout.detects or ""),
        ("validation", validated(rollout)),
        ("warnings", "; ".join(rollout.compatibility.warnings) if rollout.compatibility else ""),
    ]


def validated(rollout: Rollout) -> str:
    """What the validation set showed; empty before it ran."""
    found = rollout.validation
    if found is None:
        return ""
    if found.candidate_score is None:
        return f"not measured: {found.missing or 'no score'}"
    against = "" if found.baseline_score is None else f" against {found.baseline_score:.3f}"
    bounds = ""
    if found.lower is not None and found.upper is not None:
        bounds = f" (difference {found.lower:+.3f} to {found.upper:+.3f})"
    took = ""
    if found.candidate_latency_ms is not None and found.baseline_latency_ms is not None:
        took = f", {found.candidate_latency_ms:,.0f} ms against {found.baseline_latency_ms:,.0f} ms"
    aside = f"{took} ({found.missing})" if found.missing else took
    return f"{found.candidate_score:.3f}{against}{bounds} on {found.items} items of {found.suite}{aside}"


def aligned(pairs: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Names and texts, wrapped beside their names."""
    names = max((len(name) for name, _ in pairs), default=0)
    return [line for name, text in pairs for line in _hanging(name.ljust(names), text, width)]


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Aligned columns, the last one wrapped; nothing without rows."""
    if not rows:
        return []
    widths = [max(len(row[index]) for row in (columns, *rows)) for index in range(len(columns) - 1)]
    lines = []
    for row in (tuple(name.upper() for name in columns), *rows):
        before = "  ".join(cell.ljust(wide) for cell, wide in zip(row, widths, strict=False))
        lines += _hanging(before, row[-1], width)
    return lines


def _hanging(before: str, text: str, width: int) -> list[str]:
    """``text`` beside ``before``, going on below itself; one line where there is too little room to wrap."""
    room = width - len(before) - 2
    parts = textwrap.wrap(text, room) if room >= _LEAST_ROOM else [text]
    lines = [before if index == 0 else " " * len(before) for index in range(max(1, len(parts)))]
    return [f"{line}  {part}".rstrip() for line, part in zip(lines, parts or [""], strict=True)]

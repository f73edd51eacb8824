"""Costs: what was spent by version, task and key in a period; what answers take; advice and trends.

What is quick is on the page at once. Profiles, advice and trends read cells of the record: the page asks for them once it
is shown.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from podium.core.picture.costs import titled
from podium.core.spending import HOUR_S, hour_of
from podium.domain.cost import Cause, SpentRow
from podium.domain.costing import Trend
from podium.domain.unmeasured import NO_ENERGY
from podium.errors import NotFound, StoreError
from podium.server import cost_views
from podium.server.control.costs import over_time as spent_over_time
from podium.services.cost_profiles import Look as CostLook
from podium.web.page import Data, Look, Page
from podium.web.series.spending import Measure, over_time

HOUR, DAY = 1, 24
GROUPS = MappingProxyType({"model": "ref", "task": "task", "key": "key"})
ASKED = frozenset({Cause.REQUEST.value, Cause.RETRY.value, Cause.CANARY.value})
CAUSES = MappingProxyType(
    {
        "request": "requests",
        "retry": "another try after a failure",
        "canary": "rollouts, seen by users",
        "shadow": "rollouts, unseen",
        "validation": "rollouts, validation",
        "judge": "judging answers",
        "benchmark": "benchmarks",
    }
)
MOST_ROWS = 200
MOST_TRENDS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A choice of time. ``hours`` is ``None`` for all there is; ``span``: hours that one point of the chart stands for."""

    name: str
    text: str
    hours: int | None
    span: int


PERIODS = (
    Period(name="3h", text="3 hours", hours=3, span=HOUR),
    Period(name="24h", text="24 hours", hours=24, span=HOUR),
    Period(name="7d", text="7 days", hours=7 * 24, span=HOUR),
    Period(name="30d", text="30 days", hours=30 * 24, span=DAY),
    Period(name="all", text="all", hours=None, span=DAY),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A figure that the chart can draw."""

    name: str
    text: str
    unit: str
    measure: Measure


FIGURES = (
    Shown(name="requests", text="operations", unit="", measure=lambda row: float(row.operations)),
    Shown(name="time", text="time", unit="s", measure=lambda row: row.wall_ms / 1000),
    Shown(name="cpu", text="processor", unit="s", measure=lambda row: row.cpu_ms / 1000 if row.cpu_samples else None),
    Shown(name="energy", text="energy", unit="mWh", measure=lambda row: row.energy_mwh if row.energy_samples else None),
    Shown(
        name="tokens",
        text="tokens",
        unit="",
        measure=lambda row: float(row.input_tokens + row.output_tokens) if row.token_samples else None,
    ),
    Shown(
        name="money",
        text="money",
        unit="$",
        measure=lambda row: row.price_microusd / 1e6 if row.price_samples else None,
    ),
)


async def data(look: Look) -> Data:
    """The page, or (``part``) what it asks for afterwards. Raises ``NotFound`` for choices there are not."""
    period = _chosen(PERIODS, look.query.get("period") or "24h", "period")
    now = look.services.clock.now()
    with contextlib.suppress(StoreError):  # while the disk is full, what is on it can be read all the same
        await look.services.recorder.flush()
    since = None if period.hours is None else (hour_of(now) - period.hours + 1) * HOUR_S
    seen = CostLook(since=since)
    match look.query.get("part"):
        case "answers":
            return await _answers(look, seen)
        case "advice":
            return {"advised": await look.services.cost_profiles.advice(seen)}
        case "trends":
            return await _trends(look, seen)
        case None:
            return await _page(look, period, since, now)
        case other:
            raise NotFound(f"this page has no part {other[:40]!r}")


def _chosen(choices: Sequence[Any], name: str, what: str) -> Any:
    for one in choices:
        if one.name == name:
            return one
    raise NotFound(f"there is no {what} {name[:40]!r}; choose {', '.join(one.name for one in choices)}")


async def _page(look: Look, period: Period, since: float | None, now: float) -> Data:
    by = look.query.get("by") or "model"
    if by not in GROUPS:
        raise NotFound(f"costs are shown by {', '.join(GROUPS)}, not by {by[:40]!r}")
    figure = _chosen(FIGURES, look.query.get("figure") or "time", "figure")
    first, last = 0 if since is None else hour_of(since), hour_of(now)
    costs, keys = look.services.costs, look.services.key_costs
    causes = {str(cause): row for (cause,), row in (await costs.spending_by(("cause",), first)).items()}
    if by == "key":
        groups = await keys.spent(since)
    else:
        groups = {str(name): row for (name,), row in (await costs.spending_by((GROUPS[by],), first)).items()}
    timed = await spent_over_time(look.services, by, since or 0.0, period.span)
    start = first or min((hour for hour, _ in timed), default=last)
    names = {one.id: one.name for one in look.services.keys.all()} if by == "key" and look.may("admin") else {}
    series = over_time(timed, figure.measure, figure.unit, first=start, last=last, span=period.span)
    for line in series["lines"] if series is not None else ():
        line["name"] = names.get(line["name"], line["name"])
    total = cost_views.spent(causes.values())
    return {
        "period": period.name,
        "periods": PERIODS,
        "by": by,
        "groups": tuple(GROUPS),
        "figure": figure,
        "figures": FIGURES,
        "total": total,
        "asked": cost_views.spent(row for cause, row in causes.items() if cause in ASKED),
        "no_energy": None if total["energy_mwh"] is not None or not total["operations"] else await _why(look),
        "rows": _rows(groups, names, figure.measure),
        "hidden": max(0, len(groups) - MOST_ROWS),
        "causes": [
            {"name": name, "text": CAUSES.get(name, name), **cost_views.spent((row,))}
            for name, row in sorted(causes.items(), key=lambda pair: -pair[1].wall_ms)
        ],
        "series": series,
        "told": _told(series, figure, period),
    }


def _rows(groups: Mapping[str, SpentRow], names: Mapping[str, str], measure: Measure) -> list[Data]:
    """By what the chart shows, the most first, with each one's part of all of it. ``names``: of keys, for admins."""
    whole = math.fsum(measure(row) or 0.0 for row in groups.values())
    ranked = sorted(groups.items(), key=lambda pair: (-(measure(pair[1]) or 0.0), pair[0]))[:MOST_ROWS]
    return [
        {
            "name": name,
            "called": names.get(name),
            "part": None if measure(row) is None or not whole else (measure(row) or 0.0) / whole,
            **cost_views.spent((row,)),
        }
        for name, row in ranked
    ]


async def _why(look: Look) -> str:
    """Why nobody can tell the energy, as the newest decisions say it."""
    from podium.ports import Page as Window  # noqa: PLC0415 - this module has a Page of its own

    for _, outcome in await look.services.store.recent_decisions(Window(limit=20)):
        reason = dict(outcome.cost.missing).get("energy_mwh")
        if reason is not None:
            return reason
    return NO_ENERGY


def _told(series: Mapping[str, Any] | None, figure: Shown, period: Period) -> str:
    if series is None:
        return f"no {figure.text} is on record in this period"
    sums = [(line["name"], math.fsum(value or 0.0 for value in line["values"])) for line in series["lines"]]
    parts = ", ".join(f"{name} {total:.4g} {figure.unit}".strip() for name, total in sums)
    return f"{figure.text} over {period.text}: {parts}"


async def _answers(look: Look, seen: CostLook) -> Data:
    """What an answer takes, by version, and by task and version."""
    found = await look.services.cost_profiles.profiles(seen)
    measured = {name for one in found.profiles for name, figure in one.figures.items() if figure.n}
    whys: dict[str, list[str]] = {}
    for one in found.profiles[:1]:
        for name, figure in one.figures.items():
            if figure.why and name not in measured and not name.endswith("_per_token"):
                whys.setdefault(figure.why, []).append(titled(name).partition(",")[0])
    return {
        "answers": {
            "versions": [one for one in found.profiles if one.task is None],
            "pairs": [one for one in found.profiles if one.task is not None and one.ref is not None],
            "unmeasured": whys,
            "behind": found.behind,
        }
    }


async def _trends(look: Look, seen: CostLook) -> Data:
    found = await look.services.cost_profiles.trends(seen)
    clear = [one for one in found if one.direction in ("rising", "falling")]
    clear.sort(key=lambda one: (one.worse is not True, one.worse is None, -abs(one.change or 0.0)))
    return {
        "trends": [{"of": one, "says": titled(one.figure), "spark": _spark(one)} for one in clear[:MOST_TRENDS]],
        "flat": sum(one.direction == "no trend" for one in found),
        "unknown": sum(one.direction == "unknown" for one in found),
    }


def _spark(one: Trend) -> str:
    """Points of a line 100 wide and 30 high."""
    means = [point.mean for point in one.points]
    low, high = min(means), max(means)
    begin, end = one.points[0].at, one.points[-1].at
    return " ".join(
        f"{100 * (point.at - begin) / ((end - begin) or 1):.1f},{28 - 26 * (point.mean - low) / ((high - low) or 1):.1f}"
        for point in one.points
    )


PAGE = Page(path="/costs", title="Costs", template="costs.html", data=data, tab="costs")

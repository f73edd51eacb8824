"""What was spent over time, as curves: the largest groups one by one, the others together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from podium.core.spending import HOUR_S
from podium.domain.cost import SpentRow

MOST_LINES = 5
OTHERS = "others"
_FIGURES = 5
Json = dict[str, Any]
Measure = Callable[[SpentRow], float | None]


def over_time(
    rows: Mapping[tuple[int, str], SpentRow], measure: Measure, unit: str, *, first: int, last: int, span: int
) -> Json | None:
    """One line a group over the hours from ``first`` to ``last`` since 1970, in steps of ``span``; ``None``: no numbers.

    Nothing spent in an hour is 0; a figure that nobody could measure leaves a gap.
    """
    begin = first - first % span
    hours = list(range(begin, last + 1, span))
    totals: defaultdict[str, float] = defaultdict(float)
    for (_, name), row in rows.items():
        totals[name] += measure(row) or 0.0
    known = [name for name in totals if any(measure(row) is not None for (_, of), row in rows.items() if of == name)]
    ranked = sorted(known, key=lambda name: (-totals[name], name))
    shown = ranked[: MOST_LINES if len(ranked) > MOST_LINES + 1 else MOST_LINES + 1]
    if not shown:
        return None
    place = {hour: index for index, hour in enumerate(hours)}
    lines: dict[str, list[float | None]] = {name: [0.0] * len(hours) for name in shown}
    if len(ranked) > len(shown):
        lines[OTHERS] = [0.0] * len(hours)
    for (hour, name), row in rows.items():
        line = lines.get(name, lines.get(OTHERS) if name in totals and name in known else None)
        index = place.get(hour)
        if line is None or index is None:
            continue
        value, before = measure(row), line[index]
        line[index] = None if value is None or before is None else before + value
    return {
        "x": [hour * HOUR_S for hour in hours],
        "lines": [
            {
                "name": name or "without a key",
                "values": [None if value is None else float(f"{value:.{_FIGURES}g}") for value in values],
                "kind": "area",
                "unit": unit,
                "color": index % 6 + 1,
            }
            for index, (name, values) in enumerate(lines.items())
        ],
        "min": 0,
        "unit": unit,
    }

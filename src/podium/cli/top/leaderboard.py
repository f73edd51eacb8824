"""Draws the page *Leaderboard*: per task the versions with quality, its interval, time, energy, share, and who leads why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from podium.cli.output import cell
from podium.cli.top.gathering import Look, Task
from podium.cli.top.now import grid, milliseconds

WIDTH = 20
"""Characters from quality 0 to 1."""
Json = Mapping[str, Any]


def page(look: Look, height: int, first: int) -> RenderableType:
    """``height``: lines there is room for; ``first``: the task at the top."""
    if not look.tasks:
        return Text("no requests on record yet; a task shows up with its first one", "dim")
    parts: list[RenderableType] = []
    room = height
    for task in look.tasks[first:]:
        lines = len(task.rows) + 4
        if parts and lines > room:
            break
        parts += [_heading(task), _table(task), Text()]
        room -= lines
    left = len(look.tasks) - first - len(parts) // 3
    if left > 0:
        parts.append(Text(f"{left} more: arrow down", "dim"))
    return Group(*parts)


def _heading(task: Task) -> Text:
    line = Text.assemble((task.name, "bold"), f"  {task.requests} requests")
    line.append(f"  → {task.chosen}" if task.chosen else "  → nobody", "bold green" if task.chosen else "red")
    line.append(f"  {task.reason}", "dim")
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def _table(task: Task) -> Table:
    table = grid("version", "quality", "0 interval 1", "scores", "took", "95 %", "success", "energy", "share")
    names = sorted({*task.rows, *task.lately}, key=lambda ref: (-_quality(task, ref), ref))
    for ref in names:
        row: Json = task.rows.get(ref) or {}
        lately: Json = task.lately.get(ref) or {}
        quality = lately.get("quality")
        energy = lately.get("energy_mwh")
        share = (row.get("samples") or 0) / task.requests
        table.add_row(
            Text(ref, "bold" if ref == task.chosen else ""),
            "-" if quality is None else f"{quality['mean']:.2f}",
            interval(quality),
            cell(row.get("quality_samples")),
            milliseconds(row.get("latency_ms")),
            milliseconds(row.get("latency_p95_ms")),
            "-" if row.get("success_rate") is None else f"{row['success_rate']:.0%}",
            "-" if energy is None else f"{energy['mean']:.2g} mWh",
            f"{share:.0%}",
        )
    return table


def _quality(task: Task, ref: str) -> float:
    found = (task.lately.get(ref) or {}).get("quality")
    return -1.0 if found is None else float(found["mean"])


def interval(quality: Json | None) -> Text:
    """Where the true quality lies, as a line from 0 to 1; nothing where nobody scored."""
    if quality is None:
        return Text("·" * WIDTH, "dim")
    low, mean, high = (round(min(1.0, max(0.0, quality[name])) * (WIDTH - 1)) for name in ("low", "mean", "high"))
    line = Text()
    for place in range(WIDTH):
        if place == mean:
            line.append("●", "bold")
        else:
            line.append("─" if low <= place <= high else "·", "" if low <= place <= high else "dim")
    return line

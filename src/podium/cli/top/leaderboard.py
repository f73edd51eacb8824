"""Draws the page *Leaderboard*: per task the versions with quality, its interval, time, energy, share, and who leads why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from podium.cli.top.gathering import Look
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
        lines = len(task["versions"]) + 4
        if parts and lines > room:
            break
        parts += [_heading(task), _table(task), Text()]
        room -= lines
    left = len(look.tasks) - first - len(parts) // 3
    if left > 0:
        parts.append(Text(f"{left} more: arrow down", "dim"))
    return Group(*parts)


def _heading(task: Json) -> Text:
    leader = task["leader"]
    line = Text.assemble((task["task"], "bold"), f"  {task['requests']} requests")
    line.append(f"  → {leader}" if leader else "  → nobody", "bold green" if leader else "red")
    if task["rollout"]:
        line.append("  rollout", "yellow")
    line.append(f"  {task['why']}", "dim")
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def _table(task: Json) -> Table:
    table = grid("version", "quality", "0  90 % interval  1", "scores", "took", "95 %", "success", "energy", "24 h")
    for row in task["versions"]:
        quality, took, success, energy = (row[name] for name in ("quality", "latency_ms", "success", "energy_mwh"))
        share = row["share_24h"]
        table.add_row(
            Text(row["ref"], "bold" if row["leads"] else "dim" if row["dropped"] else ""),
            "-" if quality is None else f"{quality['mean']:.2f}",
            interval(quality),
            str(row["scores"]),
            milliseconds(took and took["mean"]),
            milliseconds(took and took["p95"]),
            "-" if success is None else f"{success['mean']:.0%}",
            "-" if energy is None else f"{energy['mean']:.2g} mWh",
            "-" if share is None else f"{share:.0%}",
        )
    return table


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

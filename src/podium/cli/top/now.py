"""Draws the page *Now*: instances with their memory, who waits, the newest requests and events."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from podium.cli.output import age, cell
from podium.cli.top.gathering import Look

BAR = 12
STATES = {"ready": "green", "loading": "yellow", "draining": "yellow", "failed": "red", "crashed": "red"}
Json = Mapping[str, Any]


def page(look: Look, height: int) -> RenderableType:
    """``height``: lines there is room for."""
    pool = _pool(look)
    parts: list[RenderableType] = [_memory(look), Text(), pool]
    left = height - 4 - pool.row_count
    if look.alerts:
        parts += [Text(), _alerts(look)]
        left -= len(look.alerts) + 3
    events = look.events[-min(4, left - 9) :] if left > 9 else ()
    left -= len(events) + 3 if events else 0
    if left > 3:
        parts += [Text(), _requests(look, left - 3)]
    if events:
        parts += [Text(), _events(events)]
    return Group(*parts)


def _memory(look: Look) -> Text:
    budget = look.pool.get("memory_budget_mb") or 0
    held = sum(one["memory_mb"] or 0 for one in look.pool.get("instances", ()))
    line = Text("memory ")
    line.append(bar(held / budget if budget else 0.0, 24))
    line.append(f" {held:.0f} of {budget} MB")
    for name, size in sorted(look.pool.get("gpu_budget_mb", {}).items()):
        used = sum(
            one["gpu_memory_mb"] or 0 for one in look.pool["instances"] if one["device"] == name
        )  # what is known of it
        line.append(f"   {name} ")
        line.append(bar(used / size if size else 0.0, BAR))
        line.append(f" {used:.0f} of {size} MB")
    return line


def _pool(look: Look) -> Table:
    table = grid("instance", "state", "requests", "waiting", "memory", "served", "last used")
    budget = look.pool.get("memory_budget_mb") or 0
    for one in look.pool.get("instances", ()):
        memory = Text("-")
        if one["memory_mb"] is not None:
            memory = Text.assemble(bar(one["memory_mb"] / budget if budget else 0, 8), f" {one['memory_mb']:.0f} MB")
        table.add_row(
            Text(one["id"]),
            Text(one["state"], STATES.get(one["state"], "")),
            f"{one['active']}/{one['concurrency']}",
            str(one["waiting"]),
            memory,
            str(one["served"]),
            "now" if one["active"] else age(one["last_used_at"]),
        )
    loaded = {one["ref"] for one in look.pool.get("instances", ())}
    for queue in look.pool.get("queues", ()):
        if queue["ref"] not in loaded:
            table.add_row(Text(queue["ref"]), Text("wanted", "yellow"), "-", str(queue["waiting"]), "-", "-", "-")
    if not table.row_count:
        table.add_row(Text("nothing is loaded; a request loads what it needs", "dim"), *[""] * 6)
    return table


def _requests(look: Look, most: int) -> RenderableType:
    if not look.recent:
        return Text('no requests yet; try: podium run "Hello"', "dim")
    table = grid("at", "task", "model", "took", "first token", "tokens", "ended")
    for one in look.recent[:most]:
        outcome = one["outcome"]
        when = time.strftime("%H:%M:%S", time.localtime(one["at"]))
        if outcome is None:
            table.add_row(when, Text(one["task"]), Text(one["served"]), "-", "-", "-", "under way")
            continue
        error = outcome["error"]
        tokens = outcome["cost"]["output_tokens"]
        table.add_row(
            when,
            Text(one["task"]),
            Text(one["served"]),
            milliseconds(outcome["latency_ms"]),
            milliseconds(outcome["ttft_ms"]),
            cell(tokens),
            Text(error or "ok", "red" if error else "green"),
        )
    return table


def _alerts(look: Look) -> Table:
    table = grid("open alerts")
    for one in look.alerts:
        table.add_row(Text(f"{one.get('task') or ''} {one.get('says') or one.get('kind') or ''}".strip(), "red"))
    return table


def _events(events: tuple[Json, ...]) -> Table:
    table = grid("event", "about", "when")
    for one in reversed(events):
        table.add_row(Text(one["kind"]), Text(str(one["subject"])), age(one["at"]))
    return table


def grid(*columns: str) -> Table:
    """A table without lines; its first column is never cut."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", expand=False)
    for number, name in enumerate(columns):
        table.add_column(name, no_wrap=True, overflow="ellipsis", min_width=8 if number == 0 else None)
    return table


def bar(share: float, width: int) -> Text:
    """A share of something that has an end."""
    filled = round(min(1.0, max(0.0, share)) * width)
    style = "red" if share > 0.9 else "yellow" if share > 0.7 else "green"
    return Text.assemble(("█" * filled, style), ("░" * (width - filled), "dim"))


def milliseconds(value: float | None) -> str:
    """Short."""
    if value is None:
        return "-"
    return f"{value:.0f} ms" if value < 10_000 else f"{value / 1000:.1f} s"

"""Who is best at what: per task the versions with what they showed lately, and why the leader leads."""

from __future__ import annotations

from podium.server.control import standings
from podium.web.page import Data, Look, Page

MOST = 20
COLOURS = 6


async def data(look: Look) -> Data:
    """The busiest tasks, or the one that is asked for; scales that all rows of a task share."""
    task = look.query.get("task") or None
    found = await standings.leaderboard(look.services, task=task, limit=MOST)
    for one in found["tasks"]:
        one["scales"] = {name: _top(one["versions"], name) for name in ("latency_ms", "energy_mwh")}
        one["shares"] = [
            (row["share_24h"], f"{row['ref']}: {row['requests_24h']}") for row in one["versions"] if row["share_24h"]
        ]
        served = [row["ref"] for row in one["versions"] if row["share_24h"]]
        for row in one["versions"]:
            row["color"] = served.index(row["ref"]) % COLOURS + 1 if row["ref"] in served else None
        known = [row for row in one["versions"] if row["quality"] is not None]
        one["leads"] = any(row["leads"] for row in known)
        one["best"] = max(known, key=lambda row: row["quality"]["mean"], default=None)
        one["because"] = _because(one["leader"] or "", one["why"] or "")
    return {**found, "task": task, "known": sorted(spec.name for spec in look.services.tasks.specs())}


def _because(leader: str, why: str) -> str:
    """The reason as the rest of a sentence that begins with the leader."""
    return f": it{why[len(leader) :]}" if leader and why.startswith(f"{leader} ") else f": {why}"


def _top(rows: list[dict[str, dict[str, float] | None]], name: str) -> float:
    """The end of the scale of a figure."""
    return max((figure["high"] for row in rows if (figure := row[name]) is not None), default=1.0)


PAGE = Page(
    path="/leaderboard",
    title="Leaderboard",
    template="leaderboard.html",
    data=data,
    tab="leaderboard",
    live=("tasks",),
    every_s=2.0,
)

"""``podium alerts ls``, and what ``podium stats`` shows of alerts and objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from podium.cli import output
from podium.cli.session import AsJson, ask

app = typer.Typer(help="What became worse, and error budgets that are used up too fast.", no_args_is_help=True)


@app.command("ls")
def ls(
    task: Annotated[str | None, typer.Option(help="Of this task only.")] = None,
    only_open: Annotated[bool, typer.Option("--open", help="Only those that are not over.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: AsJson = False,
) -> None:
    """List alerts, newest first."""
    query = {"limit": limit, "state": "open" if only_open else "all", "task": task}
    found = ask(lambda podium: podium.call("GET", "/api/v1/alerts", query=query))
    if as_json:
        output.emit_json(found)
        return
    rows = [
        [
            one["id"],
            output.age(one["opened_at"]),
            "open" if one["open"] else f"over {output.age(one['closed_at'])}",
            one["says"] if one["open"] else f"{one['says']}; {one['ending']}",
        ]
        for one in found["alerts"]
    ]
    output.table(("id", "opened", "state", "says"), rows, empty="no alerts")


def show_alerts(alerts: Sequence[Mapping[str, Any]]) -> None:
    """Those that are open, one a line."""
    for one in alerts:
        output.say(f"alert since {output.age(one['opened_at'])}: {one['says']}")


def show_objectives(objectives: Sequence[Mapping[str, Any]]) -> None:
    """Each objective with what is left of its error budget and how fast that is used."""
    if not objectives:
        return
    rows = [
        [
            one["task"],
            one["aspect"],
            one["objective"],
            "-" if one["left"] is None else f"{one['left']:.0%}",
            one["events"],
            *(f"{output.cell(burn['long'])} of {burn['limit']:.3g}" for burn in one["burns"]),
        ]
        for one in objectives
    ]
    output.say()
    output.table(("task", "objective", "value", "budget left", "events", "fast burn", "slow burn"), rows)

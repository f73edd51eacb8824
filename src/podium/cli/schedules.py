"""``podium schedules``: swaps that wait for a window, and batches that go together."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from podium.cli import output
from podium.cli.session import AsJson, ask, fail
from podium.errors import InvalidRequest

app = typer.Typer(help="Swaps that wait for a quiet time.", no_args_is_help=True, rich_markup_mode=None)
Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the schedule.")]
_ROUTE = "/api/v1/schedules"


@app.command()
def ls(as_json: AsJson = False) -> None:
    """List schedules, newest first, and the windows of the configuration."""
    found = ask(lambda podium: podium.call("GET", _ROUTE))
    if as_json:
        output.emit_json(found)
        return
    rows = [
        [one["id"], one["state"], moves(one), one["when"], first(one["next"]), one["says"]]
        for one in found["schedules"]
    ]
    output.table(("id", "state", "swaps", "when", "next", "why"), rows, empty="no schedules")
    for name, window in found["windows"].items():
        output.say(f"window {name}: {window['cron']} in {window['timezone']}, next {first(window['next'])}")


@app.command()
def add(
    task: Annotated[str, typer.Argument(metavar="TASK", help="Name of the task.")],
    to: Annotated[str, typer.Argument(metavar="NAME@VERSION", help="The version that shall serve it.")],
    also: Annotated[
        list[str] | None,
        typer.Option(metavar="TASK=NAME@VERSION", help="Another swap of the same batch, all or none; repeatable."),
    ] = None,
    cron: Annotated[str | None, typer.Option(help="When it opens: minute hour day month weekday.")] = None,
    window: Annotated[str | None, typer.Option(help="A window of the configuration.")] = None,
    at: Annotated[str | None, typer.Option(help="One time: 2027-03-28T04:00, with or without an offset.")] = None,
    low_traffic: Annotated[
        bool, typer.Option("--low-traffic", help="When the tasks usually get the fewest requests.")
    ] = False,
    now: Annotated[bool, typer.Option("--now", help="No waiting: the batch goes at once.")] = False,
    timezone: Annotated[str | None, typer.Option(help="IANA name such as Europe/Berlin; UTC.")] = None,
    duration: Annotated[str | None, typer.Option(help="How long it stays open: 90m, 2h; 1h.")] = None,
    repeat: Annotated[bool, typer.Option("--repeat", help="At every opening instead of at one.")] = False,
    gradual: Annotated[bool, typer.Option("--gradual", help="Start rollouts instead of moving at once.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Also refuse when it did worse before.")] = False,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    as_json: AsJson = False,
) -> None:
    """Swap one task, or several as one unit, when a window opens."""
    swaps = [{"task": task, "to": to}, *map(another, also or [])]
    body: dict[str, Any] = {"swaps": swaps, "mode": "gradual" if gradual else "immediate", "strict": strict}
    body["reason"] = reason
    when = {"cron": cron, "window": window, "at": at, "timezone": timezone, "duration": duration}
    given: dict[str, Any] = {name: value for name, value in when.items() if value is not None}
    given |= {"low_traffic": True} if low_traffic else {}
    given |= {"repeat": True} if repeat else {}
    if now and given:
        raise InvalidRequest(f"--now goes without --{next(iter(given)).replace('_', '-')}", param="now")
    if not now and not given.keys() & {"cron", "window", "at", "low_traffic"}:
        raise typer.BadParameter("say when: --at TIME, --cron RULE, --window NAME, --low-traffic, or --now")
    route = "/api/v1/swaps/batch" if now else _ROUTE
    made = ask(lambda podium: podium.call("POST", route, body if now else {**body, **given}))
    show_one(made, as_json)


@app.command()
def show(schedule_id: Id, as_json: AsJson = False) -> None:
    """One schedule: what it waits for, and what became of its openings."""
    found = ask(lambda podium: podium.call("GET", _path(schedule_id)))
    if as_json:
        output.emit_json(found)
        return
    names = ("id", "state", "says", "when", "timezone", "duration_s", "repeat", "mode", "expected_requests", "by")
    output.facts({"swaps": moves(found), **{name: found[name] for name in names}, "reason": found["reason"]})
    opens(found)
    rows = [[run["state"], output.age(run["at"]), run["missed"], run["batch"], run["reason"]] for run in found["runs"]]
    output.table(("run", "when", "openings", "batch", "why"), rows, empty="it has not run yet")


@app.command()
def rm(schedule_id: Id, as_json: AsJson = False) -> None:
    """Take a schedule back."""
    gone = ask(lambda podium: podium.call("DELETE", _path(schedule_id)))
    if as_json:
        output.emit_json(gone)
    else:
        output.say(f"{gone['id']} is cancelled")


def _path(schedule_id: str) -> str:
    return f"{_ROUTE}/{quote(schedule_id, safe='')}"


def another(text: str) -> dict[str, str]:
    """``TASK=NAME@VERSION``. Raises ``InvalidRequest``."""
    task, equals, to = text.partition("=")
    if not (task and equals and to):
        raise InvalidRequest(f"--also is TASK=NAME@VERSION, not {text!r}", param="also")
    return {"task": task, "to": to}


def show_one(made: dict[str, Any], as_json: bool) -> None:
    """What was ordered; exit 1 when it went at once and failed."""
    if as_json:
        output.emit_json(made)
    elif made["ok"]:
        output.say(f"{made['id']} {made['state']}: {moves(made)}; {made['says']}")
        opens(made)
    if not made["ok"]:
        raise fail(f"{made['id']} {made['state']}: {made['says']}")


def opens(one: dict[str, Any]) -> None:
    """The next openings, one a line."""
    for opening in one["next"]:
        output.say(f"  {opening['local']}" + (f" ({opening['note']})" if opening["note"] else ""))


def first(coming: list[dict[str, Any]]) -> str | None:
    """The next opening in local time."""
    return coming[0]["local"] if coming else None


def moves(one: dict[str, Any]) -> str:
    """The swaps in one line."""
    return ", ".join(f"{swap['task']} → {swap['to']}" for swap in one["swaps"])

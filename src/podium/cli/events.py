"""``podium events``, ``podium webhooks``, ``podium swaps``: what happened, live too, who is told of it, what it adds up to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from podium.cli import output
from podium.cli.session import AsJson, ask, gateway

if TYPE_CHECKING:
    from podium.client import Podium

webhooks = typer.Typer(help="Servers that are told of events.", no_args_is_help=True, rich_markup_mode=None)
swaps = typer.Typer(help="Swaps and rollbacks on record.", no_args_is_help=True, rich_markup_mode=None)
Kinds = Annotated[list[str] | None, typer.Option("--kind", help="Such as 'swap.*' or instance.crashed; repeatable.")]
OfTask = Annotated[str | None, typer.Option("--task", help="Only of this task.")]


def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens from now on.")] = False,
    kind: Kinds = None,
    last: Annotated[int, typer.Option(min=0, max=1000, help="How many of the newest to show first.")] = 20,
    after: Annotated[int | None, typer.Option(min=0, help="Show what came after this id instead.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: one document, or with --follow one a line.")] = (
        False
    ),
) -> None:
    """Show the newest events, oldest first."""
    kinds = kind or []
    if follow:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_follow(kinds, last, after, as_json=as_json))
        return
    found = ask(lambda podium: _first(podium, kinds, last, after))
    if as_json:
        output.emit_json({"events": found})
        return
    output.table(_COLUMNS, [_row(event) for event in found], empty="no such event is on record")


_COLUMNS = ("id", "time", "kind", "about", "data")


async def _first(podium: Podium, kinds: list[str], last: int, after: int | None) -> list[dict[str, Any]]:
    if after is not None:
        return await podium.events(after, kinds=kinds, limit=1000)
    return await podium.events(kinds=kinds, limit=last, newest=True) if last else []


async def _follow(kinds: list[str], last: int, after: int | None, *, as_json: bool) -> None:
    async with gateway(embed=False) as podium:
        if after is None and last:
            shown = await _first(podium, kinds, last, after)
            for event in shown:
                _tell(event, as_json=as_json)
            after = shown[-1]["id"] if shown else None
        async with contextlib.aclosing(podium.follow(*kinds, after=after)) as live:
            async for event in live:
                _tell(event, as_json=as_json)


def _tell(event: Mapping[str, Any], *, as_json: bool) -> None:
    output.say(json.dumps(event) if as_json else "  ".join(output.cell(value) for value in _row(event)))
    sys.stdout.flush()


def _row(event: Mapping[str, Any]) -> list[object]:
    at = "-" if event["at"] is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["at"]))
    data = {key: value for key, value in event["data"].items() if value not in (None, "")}
    return [event["id"], at, event["kind"], event["subject"], data]


@webhooks.command(name="ls")
def list_webhooks(as_json: AsJson = False) -> None:
    """List webhooks, what waits for them and how the last call went."""
    found = ask(lambda podium: podium.call("GET", "/api/v1/webhooks"))
    if as_json:
        output.emit_json(found)
        return
    names = ("name", "url", "events", "state", "waiting", "delivered", "failed", "given_up")
    rows = [
        [*output.pick(one, *names), output.age(one["last_at"]), one["problem"] or one["last_error"]]
        for one in found["webhooks"]
    ]
    output.table((*names, "last call", "problem"), rows, empty="no webhooks are configured: see docs/events.md")


@webhooks.command(name="test")
def call_one(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the webhook.")],
    as_json: AsJson = False,
) -> None:
    """Call one now with an event of kind webhook.test; exits with 1 when that fails."""
    done = ask(lambda podium: podium.call("POST", f"/api/v1/webhooks/{quote(name, safe='')}/test"))
    if as_json:
        output.emit_json(done)
    elif done["ok"]:
        output.say(f"{name} answered {done['status']} in {done['took_ms']:.0f} ms")
    else:
        output.note(f"podium: {name}: {done['error']}")
    if not done["ok"]:
        raise typer.Exit(1)


@swaps.command(name="ls")
def list_swaps(
    task: OfTask = None, limit: Annotated[int, typer.Option(min=1, max=1000)] = 50, as_json: AsJson = False
) -> None:
    """List swaps and rollbacks, newest first."""
    found = ask(lambda podium: podium.call("GET", "/api/v1/swaps", query={"task": task, "limit": limit}))
    if as_json:
        output.emit_json(found)
        return
    rows = [
        [
            output.age(one["requested_at"]), one["task"], one["kind"], f"{one['before'] or '-'} → {one['after']}",
            one["state"], one["swap_ms"], one["load_ms"], one["by"], one["error"] or one["reason"],
        ]
        for one in found["swaps"]
    ]  # fmt: skip
    columns = ("ordered", "task", "kind", "versions", "state", "swap_ms", "load_ms", "by", "why")
    output.table(columns, rows, empty="no swap was ordered yet")


@swaps.command()
def stats(task: OfTask = None, as_json: AsJson = False) -> None:
    """Count swaps, rollbacks and rollouts per task by how they ended, with median times."""
    found = ask(lambda podium: podium.call("GET", "/api/v1/swaps/stats", query={"task": task}))
    if as_json:
        output.emit_json(found)
        return
    names = ("task", "swaps", "rollbacks", "rollouts", "swap_ms", "load_ms", "rollout_s")
    rows = [[*output.pick(one, *names), output.age(one["last_at"])] for one in found["tasks"]]
    output.table((*names, "newest"), rows, empty="no swap was ordered yet")

"""``podium rollouts``: follow swaps that take their time, command them, and get the picture that says why."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import textwrap
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli import output
from podium.cli.session import AsJson, ask, fail

if TYPE_CHECKING:
    from podium.client import Podium
    from podium.client.rollouts import Rollouts
    from podium.domain.rollout import RolloutReport

app = typer.Typer(
    help="Swaps that take their time and decide by evidence.", no_args_is_help=True, rich_markup_mode=None
)
Id = Annotated[str, typer.Argument(metavar="ID", help="Of the rollout; a task's name means its newest one.")]
Reason = Annotated[str, typer.Option(help="Why, for the record.")]


class Curve(StrEnum):
    """Which metric is drawn."""

    SUCCESS = "success"
    QUALITY = "quality"
    LATENCY = "latency"
    MEMORY = "memory"
    ENERGY = "energy"


class State(StrEnum):
    """Which rollouts are listed."""

    OPEN = "open"
    REQUESTED = "requested"
    VALIDATING = "validating"
    WARMING = "warming"
    SHADOW = "shadow"
    CANARY = "canary"
    PAUSED = "paused"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"
    FAILED = "failed"


Drawn = Annotated[Curve | None, typer.Option("--metric", help="Draw this one instead of the one that says most.")]
Ascii = Annotated[bool, typer.Option("--ascii", help="Draw with ASCII only; the default where nothing else works.")]


@app.command()
def ls(
    task: Annotated[str | None, typer.Option(help="Only of this task.")] = None,
    state: Annotated[State | None, typer.Option(help="Only in this state; `open`: all that have not ended.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    offset: Annotated[int, typer.Option(min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """List rollouts, newest first."""
    found = ask(lambda podium: podium.rollouts.ls(task, state=state and state.value, limit=limit, offset=offset))
    if as_json:
        output.emit_json({"rollouts": found})
        return
    rows = [
        [
            one["id"], one["task"], f"{one['baseline']} → {one['candidate']}", one["plan"]["mode"],
            "concluded" if one["concluded"] else one["state"].replace("_", " "), f"{100 * one['share']:.3g} %",
            output.age(one["requested_at"]), textwrap.shorten(one["ending"] or "", 80, placeholder=" …"),
        ]
        for one in found
    ]  # fmt: skip
    columns = ("rollout", "task", "versions", "mode", "state", "share", "ordered", "because")
    filtered = task is not None or state is not None or offset
    none = "no rollout fits; `podium rollouts ls` lists all"
    start = "no rollouts yet; `podium swap TASK NAME@VERSION --gradual` starts one"
    output.table(columns, rows, empty=none if filtered else start)


@app.command()
def show(
    rollout: Id,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again and again until it ends.")] = False,
    every: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between looks.")] = 2.0,
    metric: Drawn = None,
    ascii_only: Ascii = False,
    as_json: AsJson = False,
) -> None:
    """Where it stands, what comes next, the evidence, the history, and both arms over time."""
    if as_json and not watch:
        output.emit_json(ask(lambda podium: shown(podium, rollout)))
        return

    async def work(podium: Podium) -> None:
        from podium.client.rollouts import over  # noqa: PLC0415 - keeps `podium --help` fast

        name = await resolve(podium, rollout)
        screen = Screen(sys.stdout.isatty() and watch)
        while True:
            found = await podium.rollouts.show(name)
            if as_json:
                screen.lines(output.json_line(found))
            else:
                screen.page(drawn(await podium.rollouts.report(name), metric, ascii_only=ascii_only))
            if not watch or over(found):
                return
            await asyncio.sleep(every)

    ask(work)


@app.command()
def pause(rollout: Id, reason: Reason = "", as_json: AsJson = False) -> None:
    """Send all traffic to the old version until it is resumed."""
    _order(rollout, lambda rollouts, name: rollouts.pause(name, reason=reason), as_json)


@app.command()
def resume(rollout: Id, reason: Reason = "", as_json: AsJson = False) -> None:
    """Go on at the step it was paused on."""
    _order(rollout, lambda rollouts, name: rollouts.resume(name, reason=reason), as_json)


@app.command()
def promote(rollout: Id, reason: Reason = "", as_json: AsJson = False) -> None:
    """Give the new version all of the traffic now."""
    _order(rollout, lambda rollouts, name: rollouts.promote(name, reason=reason), as_json)


@app.command()
def abort(rollout: Id, reason: Reason = "", as_json: AsJson = False) -> None:
    """End it without a verdict; the old version serves on."""
    _order(rollout, lambda rollouts, name: rollouts.abort(name, reason=reason), as_json)


@app.command()
def rollback(rollout: Id, reason: Reason = "", as_json: AsJson = False) -> None:
    """End it as a failure of the new version; the old one serves on."""
    _order(rollout, lambda rollouts, name: rollouts.rollback(name, reason=reason), as_json)


def _order(rollout: str, order: Callable[[Rollouts, str], Any], as_json: bool) -> None:
    async def work(podium: Podium) -> dict[str, Any]:
        done: dict[str, Any] = await order(podium.rollouts, await resolve(podium, rollout))
        return done

    done = ask(work)
    if as_json:
        output.emit_json(done)
    else:
        output.say(f"{done['id']} of {done['task']}: {done['state'].replace('_', ' ')}, {100 * done['share']:.3g} %")


@app.command()
def report(
    rollout: Id,
    file: Annotated[
        Path | None, typer.Option("-o", "--output", help="A .svg, .png, .json or .txt file; without it text on stdout.")
    ] = None,
    metric: Drawn = None,
    ascii_only: Ascii = False,
    as_json: AsJson = False,
) -> None:
    """Everything about a rollout in one picture, as SVG or PNG, or as text or JSON."""
    kinds = {".svg": "svg", ".png": "png", ".json": "json", ".txt": "text"}
    kind = None if file is None else kinds.get(file.suffix.lower())
    if file is not None and kind is None:
        raise typer.BadParameter(f"{file.name} ends in none of {', '.join(kinds)}", param_hint="--output")

    async def work(podium: Podium) -> bytes | str:
        name = await resolve(podium, rollout)
        if file is None and not as_json:
            return drawn(await podium.rollouts.report(name), metric, ascii_only=ascii_only)
        query = {"format": kind or "json", "metric": metric, "ascii": ascii_only or None}
        return await podium.fetch(f"/api/v1/rollouts/{name}/report", query=query)

    content = ask(work)
    if file is not None:
        try:
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        except OSError as error:
            raise fail(f"cannot write {file}: {error.strerror or error}") from None
        if as_json:
            output.emit_json({"file": str(file), "bytes": len(content)})
        else:
            output.note(f"wrote {file}")
    elif isinstance(content, str):
        output.say(content)
    else:
        output.say(content.decode())


# ------------------------------------------------------------ shared with `podium swap`


async def resolve(podium: Podium, name: str) -> str:
    """The id ``name`` is, or the id of the newest rollout of the task it names."""
    from podium.errors import NotFound  # noqa: PLC0415 - keeps `podium --help` fast

    try:
        await podium.rollouts.show(name)
    except NotFound:
        found = await podium.rollouts.ls(name, limit=1)
        if not found:
            raise NotFound(
                f"there is no rollout {name!r}, and no task of that name had one; `podium rollouts ls` lists all"
            ) from None
        return str(found[0]["id"])
    return name


async def shown(podium: Podium, name: str) -> dict[str, Any]:
    """What ``show`` prints as JSON."""
    return await podium.rollouts.show(await resolve(podium, name))


def drawn(report: RolloutReport, metric: Curve | None, *, ascii_only: bool) -> str:
    """The sheet of a report, as wide as the terminal and in characters it has."""
    import time  # noqa: PLC0415 - keeps `podium --help` fast

    from podium.core.picture.sheet import sheet  # noqa: PLC0415 - same
    from podium.domain.rollout import Metric  # noqa: PLC0415 - same

    chosen = None if metric is None else Metric(metric.value)
    width = shutil.get_terminal_size((100, 24)).columns
    return sheet(
        report, time.time(), metric=chosen, width=min(width, 120), ascii_only=ascii_only or not unicode_works()
    )


def unicode_works() -> bool:
    """Whether stdout can hold the characters of the chart."""
    if os.environ.get("TERM") in ("dumb", "linux"):
        return False
    try:
        "─●◉·╌┤▁█‖→…".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


class Screen:
    """Shows a page in place of the one before on a terminal; elsewhere one after the other."""

    def __init__(self, redraw: bool) -> None:
        self._redraw = redraw
        self._first = True

    def page(self, text: str) -> None:
        """One page."""
        if self._redraw:
            sys.stdout.write("\x1b[H\x1b[2J")
        elif not self._first:
            output.say()
        self._first = False
        output.say(text)
        sys.stdout.flush()

    def lines(self, text: str) -> None:
        """Lines as they come."""
        output.say(text)
        sys.stdout.flush()

"""``podium bench``: measure models on suites of questions, and rank them per task."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli import output
from podium.cli.session import AsJson, ask, fail

if TYPE_CHECKING:
    from podium.client import Podium

app = typer.Typer(
    help="Measure models on suites of questions, and rank them.", no_args_is_help=True, rich_markup_mode=None
)
_POLL_S = 0.2
_ROUTE = "/api/v1/benchmarks"


@app.command()
def run(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="Name of a suite, or the path of its .toml or .jsonl.")],
    models: Annotated[str, typer.Option("--models", help="Versions, names or aliases, with commas between.")],
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Keep answers that were graded before, or ask everything again.")
    ] = True,
    parallel: Annotated[int | None, typer.Option(min=1, max=64, help="Items at a time; default: what fits.")] = None,
    keep_answers: Annotated[bool, typer.Option("--keep-answers", help="Store the answers themselves, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask models every question of a suite and grade the answers."""
    order = {
        "suite": _suite(suite), "models": [name.strip() for name in models.split(",") if name.strip()],
        "fresh": not resume, "parallel": parallel, "keep_answers": keep_answers,
    }  # fmt: skip

    async def work(podium: Podium) -> dict[str, Any]:
        begun = asyncio.ensure_future(podium.call("POST", f"{_ROUTE}/runs", order))
        try:
            state = await asyncio.shield(begun)
            kept = {part["ref"]: part["kept"] for part in state["results"]}
            with _bars(state) as update:
                while state["state"] == "running":
                    await asyncio.sleep(_POLL_S)
                    state = await podium.call("GET", f"{_ROUTE}/runs/{state['id']}")
                    update(state)
        except asyncio.CancelledError:  # Ctrl-C: a server would go on without anybody watching
            await podium.call("DELETE", f"{_ROUTE}/runs/{(await begun)['id']}")
            raise
        return {**state, "results": [{**part, "kept": kept[part["ref"]]} for part in state["results"]]}

    done = ask(work)
    if as_json:
        output.emit_json(done)
    else:
        _show(done)
    if done["state"] != "done":
        reasons = [f"{ref}: {why}" if ref else why for ref, why in done["problems"].items()]
        raise fail("; ".join(reasons) or f"the run ended as {done['state']}; run it again to continue")


def _suite(text: str) -> str | dict[str, Any]:
    """A name, or the content of a suite's files."""
    path = Path(text)
    if path.suffix not in (".toml", ".jsonl"):
        return text
    from podium.suites import read_files  # noqa: PLC0415 - keeps `podium --help` fast

    head, items = read_files(path)
    return {"name": path.stem, "head": head, "items": items}


@contextlib.contextmanager
def _bars(state: dict[str, Any]) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Progress on stderr: bars for people, nothing when it is not a terminal."""
    from rich.console import Console  # noqa: PLC0415 - only this command needs it
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415 - same

    console = Console(stderr=True)
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bars = {
            part["ref"]: progress.add_task(part["ref"], total=part["total"], completed=part["done"])
            for part in state["results"]
        }

        def update(now: dict[str, Any]) -> None:
            for part in now["results"]:
                score = "" if part["mean"] is None else f"  {part['mean']:.2f}"
                progress.update(bars[part["ref"]], completed=part["done"], description=f"{part['ref']}{score}")

        update(state)
        yield update


def _show(done: dict[str, Any]) -> None:
    rows = [
        [part["ref"], f"{part['done']}/{part['total']}", part["kept"], part["mean"], _interval(part), part["problem"]]
        for part in sorted(done["results"], key=lambda part: -(part["mean"] or 0.0))
    ]
    output.table(("version", "answers", "from before", "score", "95 % interval", "problem"), rows)
    if all(part["kept"] == part["total"] for part in done["results"]):
        output.note("every answer was there already; --fresh asks again")


def _interval(row: dict[str, Any]) -> str | None:
    return f"{row['interval'][0]:.2f} to {row['interval'][1]:.2f}" if row["interval"] else None


@app.command()
def leaderboard(
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    as_json: AsJson = False,
) -> None:
    """Rank versions per task by what benchmarks showed."""
    found = ask(lambda podium: podium.call("GET", f"{_ROUTE}/leaderboard", query={"task": task}))
    if as_json:
        output.emit_json(found)
        return
    rows = [
        [
            *output.pick(row, "task", "ref", "mean"),
            _interval(row),
            *output.pick(row, "p_best", "n", "latency_ms", "suites"),
        ]
        for row in found["leaderboard"]
    ]
    columns = ("task", "version", "score", "95 % interval", "p vs best", "answers", "latency ms", "suites")
    output.table(columns, rows, empty="nothing measured yet; `podium bench run SUITE --models A,B` does")


@app.command()
def ls(as_json: AsJson = False) -> None:
    """List suites and runs, and say what confines generated code here."""
    found = ask(lambda podium: podium.call("GET", _ROUTE))
    if as_json:
        output.emit_json(found)
        return
    names = ("name", "task", "items", "graders", "title")
    output.table(names, [output.pick(suite, *names) for suite in found["suites"]], empty="no suites")
    for name, why in found["problems"].items():
        output.note(f"{name}: {why}")
    if found["runs"]:
        output.say()
        rows = [
            [one["id"], one["suite"], one["state"], output.age(one["started_at"]), one["models"]]
            for one in found["runs"]
        ]
        output.table(("run", "suite", "state", "started", "models"), rows)
    output.say()
    output.say(f"generated code is confined by: {output.cell(found['sandbox'])}")

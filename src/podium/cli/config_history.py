"""``podium config history``, ``diff`` and ``restore``: what was in force, what was changed, and back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from podium.cli import output
from podium.cli.session import AsJson, ask

if TYPE_CHECKING:
    from podium.client import Podium

T = TypeVar("T")
Number = Annotated[int, typer.Argument(min=1, help="As `podium config history` lists it.")]
_ROUTE = "/api/v1/config"


def history(
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    as_json: AsJson = False,
) -> None:
    """List the configurations that were put in force, newest first; the first one is in force."""
    found = _asked(lambda podium: podium.call("GET", f"{_ROUTE}/history", query={"limit": limit}))
    if as_json:
        output.emit_json(found)
        return
    rows = [
        [one["number"], output.age(one["at"]), one["by"], one["how"], _changes(one), one["redacted"] or None]
        for one in found["configurations"]
    ]
    output.table(("number", "applied", "by", "how", "changed", "left out"), rows, empty="nothing was put in force yet")


def _changes(one: dict[str, Any]) -> str:
    names = one["changes"]
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more


def diff(
    a: Annotated[int | None, typer.Argument(min=1, help="As the history has it; without it, the one in force.")] = None,
    b: Annotated[int | None, typer.Argument(min=1, help="The other one; without it, the file as it is now.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what was changed from one configuration to another."""
    found = _asked(lambda podium: podium.call("GET", f"{_ROUTE}/diff", query={"a": a, "b": b}))
    if as_json:
        output.emit_json(found)
    elif found["diff"]:
        output.say(found["diff"])
    else:
        output.note("nothing was changed")


def restore(
    number: Number,
    force: Annotated[
        bool, typer.Option("--force", help="Also when the file was changed and not read again; a copy of it is kept.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write a configuration back into the file and put it in force; the present file is kept beside it."""
    done = _asked(lambda podium: podium.call("POST", f"{_ROUTE}/restore", {"number": number, "force": force}))
    if as_json:
        output.emit_json(done)
        return
    output.say(f"configuration {number} is in force again: {done['file']}")
    if done["copy"]:
        output.say(f"the file as it was is kept: {done['copy']}")
    for problem in done.get("problems", ()):
        output.note(f"problem: {problem}")


def _asked(work: Callable[[Podium], Awaitable[T]]) -> T:
    """As ``ask``; without a server also while the file cannot be used, for then one needs this most."""
    from podium.client import Podium, find_server  # noqa: PLC0415 - keeps `podium --help` fast
    from podium.config import Config, configured_file, default_home, load  # noqa: PLC0415 - same
    from podium.errors import ConfigError  # noqa: PLC0415 - same

    if find_server() is None:
        try:
            load()
        except ConfigError:
            bare = Config(home=default_home(), file=configured_file())

            async def run() -> T:
                async with Podium.open(bare, actor="cli") as podium:
                    return await work(podium)

            return asyncio.run(run())
    return ask(work)

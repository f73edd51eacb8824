"""``ps``, ``load``, ``unload``, ``pin``: the warm instances of a running server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli import output
from podium.cli.session import AsJson, ask
from podium.errors import InvalidRequest

if TYPE_CHECKING:
    from podium.client import Podium

TICK_S = 5.0
Ref = Annotated[str, typer.Argument(metavar="REF", help="name@version, name or alias.")]


def ps(as_json: AsJson = False) -> None:
    """List the loaded models of the running server."""
    found = ask(lambda podium: podium.instances(), embed=False)
    if as_json:
        output.emit_json({"instances": found})
        return
    names = ("id", "state", "pid", "device", "active", "waiting", "concurrency", "memory_mb", "cpu_s")
    rows = [
        [*output.pick(one, *names), output.age(one["last_used_at"]), one["pinned"], _first_line(one["error"])]
        for one in found
    ]
    columns = ("instance", "state", "pid", "device", "active", "waiting", "places", "memory MB", "CPU s", "used")
    output.table((*columns, "pinned", "error"), rows, empty="no model is loaded")
    waiting = ask(lambda podium: podium.queues(), embed=False)
    for one in waiting:
        left = "" if one["expected_s"] is None else f"; a newcomer waits about {one['expected_s']:.1f} s"
        output.say(
            f"{one['waiting']} wait for {one['ref']}, the first for {one['oldest_s']:.1f} s: {one['waits_for']}{left}"
        )


def _first_line(error: str | None) -> str | None:
    return None if error is None else error.partition("\n")[0]


def load(ref: Ref, as_json: AsJson = False) -> None:
    """Load a version now; returns when it is ready."""
    output.note(f"loading {ref} …")
    done = ask(lambda podium: podium.load_model(ref), embed=False)
    if as_json:
        output.emit_json(done)
    else:
        output.say(f"{done['ref']} is ready")


def unload(ref: Ref, as_json: AsJson = False) -> None:
    """Let its requests finish, then stop it; a load that only an order waits for is called off."""
    done = ask(lambda podium: _unload(podium, ref), embed=False)
    if as_json:
        output.emit_json(done)
    else:
        output.say(f"{done['ref']} is unloaded")


async def _unload(podium: Podium, ref: str) -> dict[str, Any]:
    """Unload, and say every few seconds what that waits for."""
    work = asyncio.create_task(podium.unload_model(ref))
    try:
        while not (await asyncio.wait({work}, timeout=TICK_S))[0]:
            states = [one for one in await podium.instances() if ref in (one["ref"], one["ref"].partition("@")[0])]
            said = ", ".join(f"{one['ref']} is {one['state']}, {one['active']} requests in work" for one in states)
            lines = [one for one in await podium.queues() if one["ref"] in {one["ref"] for one in states}]
            said += "".join(f"; {one['waiting']} in line, which are answered first" for one in lines)
            output.note(f"waiting: {said or ref}")
        return work.result()
    finally:
        work.cancel()


def pin(
    ref: Ref,
    off: Annotated[bool, typer.Option("--off", help="Allow eviction again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Never evict this version."""
    done = ask(lambda podium: podium.pin(ref, pinned=not off), embed=False)
    if as_json:
        output.emit_json(done)
    else:
        output.say(f"{done['ref']} is {'pinned' if done['pinned'] else 'no longer pinned'}")


def keep(
    ref: Ref,
    alive: Annotated[
        str | None, typer.Option("--alive", help='Idle time until it is unloaded: 300, "5m", 0, or -1 for ever.')
    ] = None,
    preload: Annotated[bool | None, typer.Option(help="Load it at start and after a crash.")] = None,
    copies: Annotated[
        str | None, typer.Option("--copies", metavar="MIN[:MAX]", help="Copies to keep, and to start when busy.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Standing orders: how long it stays loaded and in how many copies. Kept over restarts."""
    orders: dict[str, object] = {}
    if alive is not None:
        orders["keep_alive"] = _number(alive)
    if preload is not None:
        orders["preload"] = preload
    if copies is not None:
        least, _, most = copies.partition(":")
        if not least.isdigit() or (most and not most.isdigit()):
            raise InvalidRequest(f"--copies is MIN or MIN:MAX, such as 1:3, not {copies!r}", param="copies")
        orders["min_copies"] = int(least)
        orders["max_copies"] = int(most or max(1, int(least)))
    if not orders:
        raise InvalidRequest("say what to keep: --alive, --preload or --copies", param="keep")
    done = ask(lambda podium: podium.keep(ref, **orders), embed=False)
    if as_json:
        output.emit_json(done)
    else:
        kept = done["keep_alive_s"]
        alive_words = "as configured" if kept is None else "for ever" if kept < 0 else f"{kept:g} s"
        output.say(f"{done['ref']}: kept {alive_words}, {done['min_copies']} to {done['max_copies']} copies")


def _number(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text

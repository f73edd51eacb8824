"""``ps``, ``load``, ``unload``, ``pin``: the warm instances of a running server."""

from __future__ import annotations

from typing import Annotated

import typer

from podium.cli import output
from podium.cli.session import AsJson, ask

Ref = Annotated[str, typer.Argument(metavar="REF", help="name@version, name or alias.")]


def ps(as_json: AsJson = False) -> None:
    """List the loaded models of the running server."""
    found = ask(lambda podium: podium.instances(), embed=False)
    if as_json:
        output.emit_json({"instances": found})
        return
    names = ("ref", "state", "pid", "active", "waiting", "concurrency", "memory_mb", "cpu_s")
    rows = [[*output.pick(one, *names), output.age(one["last_used_at"]), one["pinned"], one["error"]] for one in found]
    columns = ("version", "state", "pid", "active", "waiting", "parallel", "memory MB", "CPU s", "used", "pinned")
    output.table((*columns, "error"), rows, empty="no model is loaded")


def load(ref: Ref, as_json: AsJson = False) -> None:
    """Load a version now; returns when it is ready."""
    output.note(f"loading {ref} …")
    done = ask(lambda podium: podium.load_model(ref), embed=False)
    if as_json:
        output.emit_json(done)
    else:
        output.say(f"{done['ref']} is ready")


def unload(ref: Ref, as_json: AsJson = False) -> None:
    """Let its requests finish, then stop it."""
    done = ask(lambda podium: podium.unload_model(ref), embed=False)
    if as_json:
        output.emit_json(done)
    else:
        output.say(f"{done['ref']} is unloaded")


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

"""``podium config``: is the file right, and what may stand in it."""

from __future__ import annotations

import dataclasses
import json

import typer

from podium.cli import output
from podium.cli.session import AsJson, ConfigFile, ask, fail
from podium.errors import ConfigError

app = typer.Typer(help="Check the configuration and print its schema.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def check(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Read the configuration as the server would; exit 1 with every problem, its file and line."""
    from podium.config import load  # noqa: PLC0415 - keeps `podium --help` fast

    try:
        found = load(config)
    except ConfigError as error:
        if as_json:
            output.emit_json({"ok": False, "problems": error.details.get("problems", [error.message])})
        raise fail(error.message) from None
    if as_json:
        output.emit_json({"ok": True, "file": str(found.file) if found.file else None, "config": _plain(found)})
        return
    where = str(found.file) if found.file else f"no file in {found.home}; the defaults apply"
    output.say(f"ok: {where}")
    output.facts({"listens on": f"{found.server.host}:{found.server.port}", "home": str(found.home)})
    output.facts({"models": sorted(found.models), "tasks": sorted(found.tasks)})


def _plain(found: object) -> object:
    """The configuration as JSON values."""
    whole = dataclasses.asdict(found)  # type: ignore[call-overload]  # a dataclass instance
    whole.pop("text")
    return json.loads(json.dumps(_sets_to_lists(whole), default=str))


def _sets_to_lists(value: object) -> object:
    match value:
        case dict():
            return {key: _sets_to_lists(item) for key, item in value.items()}
        case frozenset():
            return sorted(value)
        case _:
            return value


@app.command()
def schema(as_json: AsJson = False) -> None:
    """Print the JSON Schema of the file, for editors and checks; it is JSON with and without --json."""
    from podium.config import json_schema  # noqa: PLC0415 - keeps `podium --help` fast

    output.say(json.dumps(json_schema(), indent=2))


@app.command()
def reload(as_json: AsJson = False) -> None:
    """Let the running server read its file again and apply the difference."""
    done = ask(lambda podium: podium.reload(), embed=False)
    if as_json:
        output.emit_json(done)
        return
    changed = {key: value for key, value in done.items() if isinstance(value, list) and value and key != "problems"}
    output.facts(changed or {"changed": "nothing"})
    for problem in done.get("problems", ()):
        output.note(f"problem: {problem}")

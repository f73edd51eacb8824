"""``podium config``: is the file right, and what may stand in it."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli import output
from podium.cli.session import AsJson, ConfigFile, ask, fail
from podium.errors import ConfigError

if TYPE_CHECKING:
    from podium.config import Config

app = typer.Typer(help="Check the configuration and print its schema.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def check(
    config: ConfigFile = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings are problems, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read the configuration as the server would; exit 1 with every problem, its file and line.

    Files that it names must be there. Names that nothing has, declared or on record in this home, are warnings.
    """
    from podium.config import load  # noqa: PLC0415 - keeps `podium --help` fast

    try:
        found = load(config)
    except ConfigError as error:
        if as_json:
            output.emit_json({"ok": False, "problems": error.details.get("problems", [error.message])})
        raise fail(error.message) from None
    problems, warnings = _advised(found)
    bad = problems + (warnings if strict else [])
    if as_json:
        whole = {"file": str(found.file) if found.file else None, "config": _plain(found)}
        output.emit_json({"ok": not bad, "problems": problems, "warnings": warnings, **whole})
    for warning in warnings:
        output.note(warning)
    if bad:
        raise fail("\n".join(problems) if problems else f"{len(warnings)} warnings, and --strict")
    if as_json:
        return
    where = str(found.file) if found.file else f"no file in {found.home}; the defaults apply"
    output.say(f"ok: {where}")
    output.facts({"listens on": f"{found.server.host}:{found.server.port}", "home": str(found.home)})
    output.facts({"models": sorted(found.models), "tasks": sorted(found.tasks)})


def _advised(found: Config) -> tuple[list[str], list[str]]:
    """What else is to be said, with its place: problems, warnings."""
    import os  # noqa: PLC0415 - keeps `podium --help` fast
    from importlib.metadata import entry_points  # noqa: PLC0415 - keeps `podium --help` fast

    from podium.config.advice import Known, advice, located  # noqa: PLC0415 - keeps `podium --help` fast
    from podium.config.schema import Problem  # noqa: PLC0415 - keeps `podium --help` fast
    from podium.runtime.exposure import tls_files  # noqa: PLC0415 - keeps `podium --help` fast
    from podium.server.tls import Tls  # noqa: PLC0415 - keeps `podium --help` fast
    from podium.store.recorded_names import recorded_names  # noqa: PLC0415 - keeps `podium --help` fast

    names = recorded_names(found.database)
    known = Known(**names, recorded=True) if names is not None else Known()
    installed = {point.name for point in entry_points(group="podium.providers")}
    known = dataclasses.replace(known, providers=known.providers | installed)
    said = advice(found, known, os.environ)
    problems = list(said.problems)
    files = tls_files(found)
    if files is not None:
        try:
            Tls(files)
        except ConfigError as error:
            which = "tls_key" if error.message.startswith(str(files.key)) else "tls_certificate"
            problems.append(Problem(("server", which), error.message))
    return (
        [located(one, found) for one in problems],
        [located(one, found, "warning: ") for one in said.warnings],
    )


def _plain(found: object) -> object:
    """The configuration as JSON values, without what may be secret."""
    from podium.transport.addresses import target  # noqa: PLC0415 - keeps `podium --help` fast

    whole = dataclasses.asdict(found)  # type: ignore[call-overload]  # a dataclass instance
    whole.pop("text")
    for hook in whole["webhooks"].values():
        hook["url"] = str(target(hook["url"]))  # its path may be somebody's secret
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

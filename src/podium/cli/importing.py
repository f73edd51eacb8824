"""``podium models scan`` and ``import``: what is there already, as commands to type, or registered at once."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli import output
from podium.cli.session import AsJson, ask, fail, gateway
from podium.errors import InvalidRequest

if TYPE_CHECKING:
    from podium.importing import Report
    from podium.importing.registering import Done

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Register without asking.")]


class Kind(StrEnum):
    """What is imported."""

    LLAMA_SWAP = "llama-swap"
    LITELLM = "litellm"
    OLLAMA = "ollama"


def scan(
    path: Annotated[list[Path] | None, typer.Option(help="Look for files here instead of the usual folders.")] = None,
    url: Annotated[list[str] | None, typer.Option(help="Ask this address, too; repeatable.")] = None,
    servers: Annotated[bool, typer.Option("--servers/--no-servers", help="Ask servers on this machine.")] = True,
    files: Annotated[bool, typer.Option("--files/--no-files", help="Look for GGUF files.")] = True,
    add: Annotated[bool, typer.Option("--add", help="Register what was found and is not registered yet.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Find running model servers and GGUF files, and propose how to register them."""
    from podium.importing import Report  # noqa: PLC0415 - keeps `podium --help` fast
    from podium.importing.files import find_files, usual_folders  # noqa: PLC0415 - same
    from podium.importing.ollama_library import library, read_ollama  # noqa: PLC0415 - same
    from podium.importing.running import find_servers, usual_addresses  # noqa: PLC0415 - same

    report = Report()
    asyncio.run(find_servers(usual_addresses(os.environ) if servers else (), report, url or ()))
    if files:
        current = Path.cwd()
        folders = usual_folders(os.environ, Path.home(), current)
        find_files({one: str(one) for one in path} if path else folders, report)
        stock = library(os.environ)
        if (
            not path
            and (stock / "manifests").is_dir()
            and not any(one.provider == "ollama" for one in report.proposals)
        ):
            found = read_ollama(stock, direct=True)
            report.proposals += found.proposals
            report.notes += found.notes
    _finish(report, add=add or yes, yes=yes, as_json=as_json)


def import_(
    kind: Annotated[Kind, typer.Argument(help="Whose models: llama-swap, litellm or ollama.")],
    path: Annotated[Path | None, typer.Argument(metavar="[PATH]", help="Its file; of Ollama, its folder.")] = None,
    direct: Annotated[
        bool, typer.Option("--direct", help="Of Ollama: run the GGUF files by themselves, without Ollama.")
    ] = False,
    host: Annotated[str | None, typer.Option(help="Of Ollama: the server that runs them.")] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Propose every model of another tool, with what does not carry over; registered after a question, or with --yes."""
    _finish(_read(kind, path, direct=direct, host=host), add=True, yes=yes, as_json=as_json)


def alias(
    name: Annotated[str, typer.Argument(metavar="ALIAS", help="Another name, such as champion.")],
    ref: Annotated[str | None, typer.Argument(metavar="[REF]", help="name@version, or the name of a model.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the alias back.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let another name stand for a version or a model."""
    if (ref is None) != remove:
        raise InvalidRequest("give what the alias stands for, or --remove", param="ref")
    done = ask(lambda podium: podium.call("PUT", f"/api/v1/aliases/{_part(name)}", {"target": ref}))
    if as_json:
        output.emit_json(done)
    else:
        output.say(f"{name} stands for {ref}" if ref is not None else f"{name} is gone")


def _part(name: str) -> str:
    from podium.client.wire import part_of  # noqa: PLC0415 - keeps `podium --help` fast

    return part_of(name)


def _read(kind: Kind, path: Path | None, *, direct: bool, host: str | None) -> Report:
    from podium.importing.litellm import read_litellm  # noqa: PLC0415 - keeps `podium --help` fast
    from podium.importing.llama_swap import read_llama_swap  # noqa: PLC0415 - same
    from podium.importing.ollama_library import library, read_ollama  # noqa: PLC0415 - same

    if kind is not Kind.OLLAMA and (direct or host is not None):
        raise InvalidRequest("--direct and --host go with ollama", param="direct")
    if kind is Kind.OLLAMA:
        if direct and host is not None:
            raise InvalidRequest("--direct needs no --host: no server runs the files", param="host")
        return read_ollama(path or library(os.environ), direct=direct, host=host)
    if path is None:
        raise InvalidRequest(f"name the file: podium models import {kind} FILE", param="path")
    return (read_llama_swap if kind is Kind.LLAMA_SWAP else read_litellm)(path, os.environ)


def _finish(report: Report, *, add: bool, yes: bool, as_json: bool) -> None:
    """Show it, ask, register; exit 1 when something that was to be registered is not."""
    asyncio.run(_mark(report))
    fresh = [one for one in report.proposals if one.registered is None]
    if not as_json:
        _show(report)
    done: list[Done] = []
    if add and fresh:
        if not yes and (as_json or not sys.stdin.isatty()):
            output.note("nothing was registered: give --yes, or type the commands")
        elif yes or typer.confirm(f"register these {len(fresh)}?", err=True):
            done = asyncio.run(_register(report))
    if as_json:
        output.emit_json(_json(report, done))
    for one in done:
        if not as_json:
            output.say(f"{one.ref or one.name}: {one.problem or 'registered'}")
    failed = sum(one.problem is not None for one in done)
    if failed:
        raise fail(f"{failed} of {len(done)} could not be registered, or not be made ready")
    if not report.proposals and any(note.wrong for note in report.notes):
        raise fail("nothing in it can be imported")


async def _mark(report: Report) -> None:
    from podium.importing.registering import mark  # noqa: PLC0415 - keeps `podium --help` fast

    if report.proposals:
        async with gateway() as podium:
            await mark(report, podium)


async def _register(report: Report) -> list[Done]:
    from podium.importing.registering import register  # noqa: PLC0415 - keeps `podium --help` fast

    async with gateway() as podium:
        return await register(report.proposals, podium, output.note)


def _show(report: Report) -> None:
    for one in report.proposals:
        about = f" ({one.about})" if one.about else ""
        output.say(f"# {one.origin}{about}")
        lines = (f"# registered as {one.registered}",) if one.registered is not None else one.commands()
        for line in lines:
            output.say(line)
    if report.config:
        output.say("# for podium.toml:")
        for line in report.config:
            output.say(f"#   {line}")
    if not report.proposals:
        output.note("nothing was found")
    for note in report.notes:
        place = ", ".join(part for part in (note.where, f"line {note.line}" if note.line else "") if part)
        output.note(f"{'!' if note.wrong else '-'} {place}: {note.said}")


def _json(report: Report, done: Sequence[Done]) -> dict[str, Any]:
    proposals = [
        {**asdict(one), "settings": dict(one.settings), "commands": one.commands()} for one in report.proposals
    ]
    return {
        "proposals": proposals,
        "config": report.config,
        "not_carried_over": [asdict(note) for note in report.notes],
        "registered": [asdict(one) for one in done],
    }

"""``podium audit``: what was done, by whom; and whether the record of it is whole."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from podium.cli import output
from podium.cli.session import AsJson, ask, fail

app = typer.Typer(help="Who did what, and whether that record is whole.", invoke_without_command=True)
Known = Annotated[
    str | None,
    typer.Option("--head", metavar="ROW:HASH", help="A row and its hash, as printed earlier and kept elsewhere."),
]
_ROUTE = "/api/v1/audit"
_MOST_MADE = 6
_LIMITS = (
    "This shows rows that were altered, removed or moved, and rows cut off at the end. Whoever can write this user's files "
    "can write a new log and a new audit.head: keep the line above elsewhere and give it to --head later."
)


@app.callback()
def audit(
    context: typer.Context,
    task: Annotated[str | None, typer.Option(help="About this task only.")] = None,
    by: Annotated[str | None, typer.Option(help="Id or name of who acted.")] = None,
    subject: Annotated[str | None, typer.Option(help="As model:m@1, key:abcdefgh, task:code.")] = None,
    since: Annotated[str | None, typer.Option(help="2026-01-31T08:00, a Unix time, or an age such as 7d.")] = None,
    until: Annotated[str | None, typer.Option(help="The same.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: AsJson = False,
) -> None:
    """List actions, newest first: who, what, on what, from where, and how it ended."""
    if context.invoked_subcommand is not None:
        return
    query: dict[str, object] = {"task": task, "by": by, "subject": subject, "limit": limit}
    query |= {"since": _moment(since, "since"), "until": _moment(until, "until")}
    found = ask(lambda podium: podium.call("GET", _ROUTE, query=query))
    if as_json:
        output.emit_json(found)
        return
    rows = [
        [
            one["rows"][0],
            output.age(one["at"]),
            one["by"]["name"],
            one["origin"],
            one["what"].replace("/api/v1", ""),
            one["subject"],
            _outcome(one),
            _change(one),
        ]
        for one in found["actions"]
    ]
    columns = ("row", "when", "who", "from", "what", "about", "outcome", "change")
    asked = any(value is not None for name, value in query.items() if name != "limit")
    output.table(columns, rows, empty="nothing that was done is like that" if asked else "nothing was done yet")
    if found["since_start"]["not_written"]:
        output.note(f"{found['since_start']['not_written']} refusals were counted and not written since the start")


def _outcome(one: Mapping[str, Any]) -> str:
    if one["phase"] == "asked" and one["outcome"] is None:
        return "under way"
    more = f" (and {one['missed']} more)" if one["missed"] else ""
    return f"{one['outcome'] or '-'}{more}"


def _change(one: Mapping[str, Any]) -> str:
    """What differs between before and after, in a few words; of what was made, how it is."""
    before, after = one["before"] or {}, one["after"] or {}
    if not before:
        made = {name: value for name, value in after.items() if value not in (None, "", [], {})}
        return "; ".join(f"{name}: {output.cell(value)}" for name, value in list(made.items())[:_MOST_MADE])
    names = [name for name in after if after[name] != before.get(name)]
    return "; ".join(f"{name}: {output.cell(before.get(name))} → {output.cell(after[name])}" for name in names[:3])


@app.command()
def verify(
    file: Annotated[Path | None, typer.Argument(help="An export to check instead of this home's log.")] = None,
    head: Known = None,
    as_json: AsJson = False,
) -> None:
    """Compute the chain of hashes anew; exit 1 with the first row that is altered, missing or moved."""
    row, mark, found_hash = (head or "").partition(":")
    if head is not None and not (mark and row.isdecimal() and len(found_hash) == 64):
        raise typer.BadParameter("write ROW:HASH as `podium audit verify` prints it", param_hint="--head")
    if file is not None:
        found = _checked(file, (int(row), found_hash) if head else None)
    else:
        query = {"row": int(row), "hash": found_hash} if head else {}
        found = ask(lambda podium: podium.call("GET", f"{_ROUTE}/verify", query=query))
    if as_json:
        output.emit_json(found)
    else:
        for note in found["earlier"]:
            output.say(f"noted {output.age(note['at'])}: {note['says']}")
        if found["ok"]:
            output.say(f"whole: {found['rows']} rows")
            output.say(f"{found['head']['row']}:{found['head']['hash']}")
            output.note(_LIMITS)
    if not found["ok"]:
        raise fail(f"the audit log is not whole: {found['problem'] or 'something was missing earlier'}")


def _checked(file: Path, known: tuple[int, str] | None) -> dict[str, Any]:
    from podium.core.audit_file import verify_lines  # noqa: PLC0415 - keeps `podium --help` fast
    from podium.domain.audit import Head  # noqa: PLC0415 - same

    noted = None if known is None else Head(seq=known[0], hash=known[1])
    try:
        with file.open(encoding="utf-8") as lines:
            verdict = verify_lines(lines, noted)
    except (OSError, UnicodeDecodeError) as error:
        raise fail(f"{file} cannot be read: {error}") from None
    return {
        "ok": verdict.problem is None,
        "rows": verdict.rows,
        "after": verdict.after,
        "head": {"row": verdict.head.seq, "hash": verdict.head.hash},
        "problem": verdict.problem,
        "earlier": [],
    }


@app.command()
def export(
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write; without it, stdout.")] = None,
    after: Annotated[int, typer.Option(min=0, help="Rows with greater numbers, to go on behind an earlier file.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the log as lines of JSON, to be kept elsewhere; `podium audit verify FILE` checks it anywhere."""
    if out is not None and out.exists() and not force:
        raise fail(f"{out} is there already; --force replaces it")
    content = ask(lambda podium: podium.fetch(f"{_ROUTE}/export", query={"after": after}))
    with _written(out) as target:
        target.write(content.decode())
    if out is None:
        return
    found = _checked(out, None)
    if as_json:
        output.emit_json({"file": str(out), **found})
    elif found["ok"]:
        output.say(f"{out}: {found['rows']} rows after row {after}")
        output.say(f"{found['head']['row']}:{found['head']['hash']}")
    if not found["ok"]:
        raise fail(f"the audit log is not whole: {found['problem']}")


@contextlib.contextmanager
def _written(out: Path | None) -> Iterator[TextIO]:
    """A file for this user only, whole or not at all."""
    if out is None:
        yield sys.stdout
        return
    partial = out.with_name(f".{out.name}.partial")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as target:
            yield target
            target.flush()
            os.fsync(target.fileno())
        partial.replace(out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise fail(f"{out} cannot be written: {error.strerror}") from None


def _moment(text: str | None, name: str) -> float | None:
    import time  # noqa: PLC0415 - keeps `podium --help` fast

    from podium.cli.exporting import moment  # noqa: PLC0415 - same

    return None if text is None else moment(text, time.time(), name)

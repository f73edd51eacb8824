"""``podium export``: what this home recorded, as training data; and whether such a file is whole."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, TypeVar

import typer

from podium.cli import output
from podium.cli.evaluation import progress_of
from podium.cli.session import AsJson, fail
from podium.errors import InvalidRequest, NotFound, StoreError

if TYPE_CHECKING:
    from podium.ports import Window

T = TypeVar("T")
_TELL = 500
"""Rows between two reports of progress."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
Moment = Annotated[str | None, typer.Option(help="2026-01-31, 2026-01-31T08:00, a Unix time, or an age such as 7d.")]


def export(
    kind: Annotated[str, typer.Option("--format", help="jsonl, parquet (needs podium[replay]) or vw.")] = "jsonl",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write; without it, stdout.")] = None,
    since: Moment = None,
    until: Moment = None,
    task: Annotated[str | None, typer.Option(help="This task only.")] = None,
    with_prompts: Annotated[bool, typer.Option("--with-prompts", help="Refused: prompts are not stored.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    verify: Annotated[Path | None, typer.Option(metavar="FILE", help="Check an export instead of making one.")] = None,
    last: Annotated[str | None, typer.Option(metavar="HASH", help="With --verify: the hash of its last row.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write one row for each attempt at a request: what was known, chosen and with what chance, what came of it."""
    if verify is not None:
        _verify(verify, last, as_json=as_json)
        return
    if last is not None:
        raise fail("--last belongs to --verify FILE", 2)
    if with_prompts:
        raise InvalidRequest(
            "prompts and answers are not stored, so there are none to export; leave --with-prompts out",
            param="with_prompts",
        )
    _export(kind, out, _window(since, until, task), force=force, as_json=as_json)


def _export(kind: str, out: Path | None, window: Window, *, force: bool, as_json: bool) -> None:
    from podium.config import load  # noqa: PLC0415 - keeps `podium --help` fast
    from podium.config.export_key import export_key  # noqa: PLC0415 - same
    from podium.core.pseudonyms import Pseudonyms  # noqa: PLC0415 - same
    from podium.datasets.export_file import writer  # noqa: PLC0415 - same
    from podium.services.export import Exporter, sealed  # noqa: PLC0415 - same
    from podium.store.exporting import RecordReader  # noqa: PLC0415 - same

    if kind == "parquet" and out is None:
        raise InvalidRequest("Parquet cannot be streamed: name a file with --out", param="out")
    if as_json and out is None:
        raise InvalidRequest("with --json the summary goes to stdout: name a file for the rows with --out", param="out")
    config = load()
    with contextlib.ExitStack() as opened:
        record = opened.enter_context(RecordReader(config.database))
        within = record.extent(window)
        if within.attempts == 0:
            raise NotFound("there is nothing to export: no attempt at a request is on record for this choice")
        exporter = Exporter(Pseudonyms(export_key(config.home, os.environ)))
        heard = opened.enter_context(_counting("exporting", within.attempts, quiet=as_json))
        file = opened.enter_context(_destination(out, force=force))
        rows = writer(kind, file)
        for one in heard(sealed(record.attempts(window, within), exporter)):
            rows.write(one)
        rows.close()
        if rows.rows == 0:
            raise NotFound(f"none of {exporter.rows} rows was a choice that somebody scored: nothing to train on")
    shown = {
        "format": kind,
        "rows": rows.rows,
        "left_out": rows.left_out,
        "last": rows.last,
        "out": None if out is None else str(out),
    }
    if as_json:
        output.emit_json(shown)
        return
    beside = f", {rows.left_out} left out (nobody scored them, or they were fallbacks)" if rows.left_out else ""
    output.note(f"{rows.rows} rows{beside}; hash of the last: {rows.last}")
    if out is not None:
        output.note(f"check it: podium export --verify {shlex.quote(str(out))} --last {rows.last}")


def _verify(file: Path, last: str | None, *, as_json: bool) -> None:
    from podium.datasets.export_file import verify  # noqa: PLC0415 - keeps `podium --help` fast

    with progress_of(f"checking {file.name}", quiet=as_json) as heard:
        kind, verdict = verify(file, last, heard)
    if as_json:
        output.emit_json(
            {
                "file": str(file),
                "format": kind,
                "intact": verdict.intact,
                "rows": verdict.rows,
                "last": verdict.last,
                "problems": verdict.problems,
                "more": verdict.more,
            }
        )
    elif verdict.intact:
        output.say(f"intact: {verdict.rows} rows, hash of the last {verdict.last}")
    else:
        for problem in verdict.problems:
            output.say(problem)
        if verdict.more:
            output.say(f"and {verdict.more} more")
    if not verdict.intact:
        raise fail(f"{file} is not what was exported")


@contextlib.contextmanager
def _destination(out: Path | None, *, force: bool) -> Iterator[BinaryIO]:
    from podium.datasets.export_file import full_disk_told, whole_file  # noqa: PLC0415 - keeps `podium --help` fast

    if out is not None:
        with whole_file(out, force=force) as file:
            yield file
        return
    try:
        with full_disk_told("the output", "what was written ends early, which --verify tells"):
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
    except StoreError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the same error comes again at the end
        raise


@contextlib.contextmanager
def _counting(label: str, total: int, *, quiet: bool) -> Iterator[Callable[[Iterable[T]], Iterator[T]]]:
    """Rows done, rows a second and time left on stderr for people; silence when piped or with --json."""
    if quiet or not sys.stderr.isatty():
        yield iter
        return
    from rich import progress  # noqa: PLC0415 - only for people, and slow to import
    from rich.console import Console  # noqa: PLC0415 - same

    class Rate(progress.ProgressColumn):
        def render(self, task: progress.Task) -> str:
            return "" if task.speed is None else f"{task.speed:,.0f} rows/s"

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        Rate(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task(label, total=total)

        def counted(items: Iterable[T]) -> Iterator[T]:
            for done, item in enumerate(items, start=1):
                yield item
                if done % _TELL == 0:
                    bars.update(bar, completed=done)

        yield counted


def _window(since: str | None, until: str | None, task: str | None) -> Window:
    from podium.ports import Window  # noqa: PLC0415 - keeps `podium --help` fast

    now = time.time()
    window = Window(
        since=None if since is None else moment(since, now, "since"),
        until=None if until is None else moment(until, now, "until"),
        task=task,
    )
    if window.since is not None and window.until is not None and window.since >= window.until:
        raise InvalidRequest(f"--since {since} is not before --until {until}", param="since")
    return window


def moment(text: str, now: float, name: str) -> float:
    """Unix time of a date, a date with time (local where it names no zone), a Unix time, or an age such as ``7d``."""
    age = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([smhdw])", text)
    if age:
        return now - float(age[1]) * _UNITS[age[2]]
    if re.fullmatch(r"\d{9,11}(\.\d+)?", text):
        return float(text)
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise InvalidRequest(
            f"--{name} {text!r} is no time: write 2026-01-31, 2026-01-31T08:00, a Unix time, or an age such as 7d",
            param=name,
        ) from None

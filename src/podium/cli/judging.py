"""``podium judge``: judges against people. Prints and draws what ``services.calibrating`` measures; computes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli import output
from podium.cli.evaluation import progress_of
from podium.cli.session import AsJson, ConfigFile, fail

if TYPE_CHECKING:
    from podium.domain.judgment import Calibration
    from podium.domain.labels import Labelled
    from podium.services.calibrating import Measured

app = typer.Typer(
    help="How good answers are, and who may say so. `podium judge FILE` is short for `podium judge run FILE`.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class Mapping(StrEnum):
    """How raw scores become probabilities."""

    AUTO = "auto"
    ISOTONIC = "isotonic"
    PLATT = "platt"


@app.callback()
def judging() -> None:
    """Keeps `podium judge` a group, however few commands it has."""


@app.command()
def calibrate(
    file: Annotated[
        Path, typer.Argument(help="Labelled outputs as JSON lines, plain or gzipped; see docs/judging.md.")
    ],
    judge: Annotated[
        list[str] | None,
        typer.Option(
            help="rules, stack (rules and all judges named, together) or NAME@VERSION; repeatable. Rules and stack."
        ),
    ] = None,
    criterion: Annotated[list[str] | None, typer.Option(help="Only this criterion; repeatable.")] = None,
    kind: Annotated[Mapping, typer.Option(help="Mapping of a single judge's score.")] = Mapping.AUTO,
    label_pass: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="Labels pass from here on, as a share of their scale; the criterion's mark."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many rows of each criterion, drawn at random.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of every draw and split.")] = 0,
    plot: Annotated[Path | None, typer.Option(help="Reliability diagrams into this .svg or .png file.")] = None,
    save: Annotated[
        bool, typer.Option("--save", help="Apply the mappings to what these judges say from now on.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --save: learn even from a judge that is no better than chance.")
    ] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Measure judges against human labels: AUC, kappa, calibration error, and a mapping that makes scores honest."""
    if plot is not None and plot.suffix.lower() not in (".svg", ".png"):
        raise typer.BadParameter(f"{plot.name} ends in neither .svg nor .png", param_hint="--plot")
    if force and not save:
        raise typer.BadParameter("it says what --save may do; give both", param_hint="--force")
    from podium.datasets.labels import read_labels  # noqa: PLC0415 - keeps `podium --help` fast
    from podium.services.calibrating import by_criterion, drawn  # noqa: PLC0415 - same

    rows = by_criterion(read_labels(file, criterion or ()))
    rows = {name: drawn(found, limit, seed) for name, found in rows.items()}
    measured = asyncio.run(_measure(list(rows.values()), judge or ["rules", "stack"], kind, label_pass, seed, as_json))
    saved = asyncio.run(_save(measured, force=force, config=config)) if save else []
    found = any(one.figures for one in measured)
    drawn_to = plot if found else None
    if drawn_to is not None:
        _draw(drawn_to, measured, file.name)
    _show(file, measured, saved, drawn_to, as_json=as_json, asked_to_save=save)
    if plot is not None and not found:
        output.note(f"{plot} was not written: there is nothing to draw")
    if not found:
        raise typer.Exit(1)


async def _measure(
    groups: Sequence[tuple[Labelled, ...]],
    judges: Sequence[str],
    kind: Mapping,
    mark: float | None,
    seed: int,
    quiet: bool,
) -> list[Measured]:
    from podium.cli.row_judges import open_judges  # noqa: PLC0415 - keeps `podium --help` fast
    from podium.domain.judgment import RULES, STACK  # noqa: PLC0415 - same
    from podium.services.calibrating import measure, measure_stack, score  # noqa: PLC0415 - same

    found: list[Measured] = []
    async with open_judges(judges) as opened:
        for rows in groups:
            parts = []
            for one in opened:
                with progress_of(f"{one.name} on {rows[0].criterion}", quiet=quiet) as heard:
                    parts.append(await score(rows, one, progress=heard))
            wanted = [part for part in parts if part.judge != RULES or RULES in judges]
            found += [measure(part, kind=kind.value, seed=seed, mark=mark) for part in wanted]
            if STACK in judges:
                found.append(measure_stack(parts, seed=seed, mark=mark))
    return found


async def _save(measured: Sequence[Measured], *, force: bool, config: Path | None) -> list[Calibration]:
    """Into the store of this home; a running server reads them within seconds."""
    import time  # noqa: PLC0415 - keeps `podium --help` fast
    from dataclasses import replace  # noqa: PLC0415 - same

    from podium.config import load  # noqa: PLC0415 - same
    from podium.store.opening import open_store  # noqa: PLC0415 - same

    made = [replace(one.calibration, at=time.time(), forced=force) for one in measured if one.calibration is not None]
    if made:
        store = open_store(load(config).database)
        try:
            for calibration in made:
                await store.save_calibration(calibration)
        finally:
            await store.close()
    return made


def _draw(plot: Path, measured: Sequence[Measured], name: str) -> None:
    from podium.cli.calibration_report import diagram  # noqa: PLC0415 - keeps `podium --help` fast
    from podium.core.picture.reliability import draw  # noqa: PLC0415 - same

    svg = draw([diagram(one) for one in measured if one.figures is not None], title=f"Judges against people: {name}")
    if plot.suffix.lower() == ".png":
        from podium.server.pictures import png_of  # noqa: PLC0415 - an extra that need not be installed

        content = png_of(svg)
    else:
        content = svg.encode()
    try:
        plot.write_bytes(content)
    except OSError as error:
        raise fail(f"cannot write {plot}: {error.strerror or error}") from None


def _show(
    file: Path,
    measured: Sequence[Measured],
    saved: Sequence[Calibration],
    plot: Path | None,
    *,
    as_json: bool,
    asked_to_save: bool,
) -> None:
    from podium.cli.calibration_report import COLUMNS, as_row, plain, remarks  # noqa: PLC0415 - keeps --help fast

    if as_json:
        output.emit_json(
            {
                "file": str(file),
                "results": [plain(one) for one in measured],
                "saved": [
                    {"criterion": one.criterion, "judge": one.judge, "teaches": one.informative or one.forced}
                    for one in saved
                ],
                "plot": None if plot is None else str(plot),
            }
        )
        return
    output.table(COLUMNS, [as_row(one) for one in measured])
    output.say()
    for line in remarks(measured):
        output.say(line)
    for one in saved:
        taught = "" if one.informative else "; learned from by order" if one.forced else "; shown, never learned from"
        output.say(f"saved: {one.judge} on {one.criterion}, {one.kind} on {one.n} labels{taught}")
    if asked_to_save and not saved:
        output.note("nothing was saved: no judge could be calibrated")
    if plot is not None:
        output.note(f"wrote {plot}")

"""``podium costs``: what models took, two of them compared, trends, advice; as tables, JSON, CSV and pictures."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli import output
from podium.cli.session import AsJson, ask, fail

if TYPE_CHECKING:
    from podium.domain.costing import CostProfile, Trend

app = typer.Typer(help="What models took and cost.", invoke_without_command=True, rich_markup_mode=None)
Task = Annotated[str | None, typer.Option(help="This task only.")]
Model = Annotated[str | None, typer.Option(help="This version (NAME@VERSION) only.")]
Since = Annotated[str | None, typer.Option(help="2026-01-31, 2026-01-31T08:00, a Unix time, or an age such as 7d.")]
SHOWN = ("wall_ms", "wait_ms", "cpu_ms", "gpu_ms", "peak_memory_mb", "energy_mwh", "price_microusd", "tokens_per_s")
RARE = frozenset({"gpu_ms", "price_microusd", "wait_ms"})
"""Not worth a column where nobody has it."""


@app.callback()
def costs(
    context: typer.Context,
    task: Task = None,
    model: Model = None,
    since: Since = None,
    until: Since = None,
    figure: Annotated[str, typer.Option(help="The figure whose percentiles are shown and drawn.")] = "wall_ms",
    everything: Annotated[bool, typer.Option("--all", help="Also what no client got, such as judging.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="All figures as CSV, one a line.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the figure into this .svg or .png file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what answers took, by version and task: means, percentiles, energy, tokens, price."""
    if context.invoked_subcommand is not None:
        return
    _known(figure)
    if plot is not None and plot.suffix.lower() not in (".svg", ".png"):
        raise typer.BadParameter(f"{plot.name} ends in neither .svg nor .png", param_hint="--plot")
    if as_csv and as_json:
        raise typer.BadParameter("choose one of --csv and --json")
    look = {"task": task, "model": model, "since": _moment(since, "since")}

    async def work(podium: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        found = await podium.costs(**look, until=_moment(until, "until"), everything=everything)
        return found, (await podium.cost_trends(**look) if plot is not None else [])

    found, trends = ask(work)
    if plot is not None:
        _draw(plot, [_profile(one) for one in found["profiles"]], [_trend(one) for one in trends], figure)
    if as_json:
        output.emit_json(found)
    elif as_csv:
        _csv(found["profiles"])
    elif plot is None:
        _tables(found, figure)


def _tables(found: Mapping[str, Any], figure: str) -> None:
    profiles = found["profiles"]
    shown = [name for name in SHOWN if name not in RARE or any(one["figures"][name]["n"] for one in profiles)]
    groups = (
        ("version", [one for one in profiles if one["task"] is None]),
        ("task and version", [one for one in profiles if one["task"] is not None and one["ref"] is not None]),
    )
    for title, rows in groups:
        lines = [
            [
                _name(one), one["operations"], one["failed"],
                *(one["figures"][name]["mean"] for name in shown),
                *(one["figures"][figure][part] for part in ("p50", "p95", "p99")),
                one["figures"]["energy_mwh_per_token"]["mean"],
                *([one["cpu_share"]] if title == "version" else []),
            ]
            for one in rows
        ]  # fmt: skip
        names = (
            title,
            "requests",
            "failed",
            *shown,
            *(f"{figure} {part}" for part in ("50 %", "95 %", "99 %")),
            "mWh/token",
        )
        output.table((*names, *(["cpu use"] if title == "version" else [])), lines, empty="no requests recorded yet")
    for name in SHOWN:
        whys = sorted({one["figures"][name]["why"] for one in profiles if one["figures"][name]["why"]})
        for why in whys if name not in RARE else ():
            output.note(f"{name}: {why}")
    if found["behind"]:
        output.note(f"{found['behind']} rows of the record are not in these figures yet")


def _name(one: Mapping[str, Any]) -> str:
    return " ".join(part for part in (one["task"], one["ref"]) if part) or "all"


@app.command()
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="The one that is compared with.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The other one.")],
    task: Task = None,
    since: Since = None,
    as_json: AsJson = False,
) -> None:
    """What B takes more or less than A, with 95 % intervals."""
    found = ask(lambda podium: podium.compare_costs(a, b, task=task, since=_moment(since, "since")))
    if as_json:
        output.emit_json(found)
        return
    where = ", ".join(found["tasks"]) or "no task that both served"
    output.say(f"{found['b']} against {found['a']} on {where}")
    rows = []
    for one in found["differences"]:
        if one["a"] is None or one["b"] is None:
            continue
        ends = "-" if one["low"] is None else f"{one['low']:+.3g} to {one['high']:+.3g}"
        ratio = "-" if one["ratio"] is None else f"{one['ratio']:.2f}"
        rows.append(
            [f"{one['figure']} {one['statistic']}", one["a"], one["b"], one["difference"], ends, ratio, one["verdict"]]
        )
    columns = ("figure", "A", "B", "B - A", "95 %", "B / A", "B takes")
    output.table(columns, rows, empty="nothing that both have")
    unmeasured = {one["figure"]: one["why"] for one in found["differences"] if one["a"] is None}
    for name, why in unmeasured.items():
        output.note(f"{name}: {why}")
    for note in found["notes"]:
        output.note(note)


@app.command()
def trends(
    task: Task = None,
    model: Model = None,
    since: Since = None,
    window: Annotated[str | None, typer.Option(metavar="TIME", help="1h, 6h, 1d … Left out: by what there is.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Also where nothing changes.")] = False,
    figure: Annotated[str, typer.Option(help="With --plot: the figure that is drawn.")] = "wall_ms",
    plot: Annotated[Path | None, typer.Option(help="Draw them into this .svg or .png file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what gets slower or dearer, and how sure that is."""
    from podium.cli.swapping import seconds  # noqa: PLC0415 - keeps `podium --help` fast

    _known(figure)
    begin, length = _moment(since, "since"), None if window is None else seconds(window)
    found = ask(lambda podium: podium.cost_trends(task=task, model=model, since=begin, window_s=length))
    if plot is not None:
        _draw(plot, [], [_trend(one) for one in found], figure)
    if as_json:
        output.emit_json({"trends": found})
        return
    told = [one for one in found if every or one["direction"] in ("rising", "falling")]
    rows = [
        [
            f"{one['task']} {one['ref']}", one["figure"], one["direction"],
            None if one["change"] is None else f"{one['change']:+.0%} ({one['low']:+.0%} to {one['high']:+.0%})",
            one["p"], f"{len(one['points'])} of {one['window_s'] / 3600:g} h",
            "worse" if one["worse"] else "better" if one["worse"] is False else one["why"],
        ]
        for one in told
    ]  # fmt: skip
    columns = ("task and version", "figure", "trend", "change", "p", "windows", "")
    unclear = sum(one["direction"] == "unknown" for one in found)
    output.table(columns, rows, empty=f"no trend in {len(found) - unclear} figures that could be asked")
    if unclear and not every:
        output.note(f"{unclear} figures have too few windows to ask; --all shows them")


@app.command()
def advice(since: Since = None, as_json: AsJson = False) -> None:
    """Say what is under-used, over-used, or dearer than what is as good, and what to do."""
    found = ask(lambda podium: podium.cost_advice(since=_moment(since, "since")))
    if as_json:
        output.emit_json(found)
        return
    for one in found["advice"]:
        output.say(f"{one['kind']}: {one['says']}")
        output.say(f"  what to do: {one['do']}")
        if one["command"]:
            output.say(f"  by: {one['command']}")
    if not found["advice"]:
        output.note("nothing to advise by what is on record")
    for one in found["unknown"]:
        output.note(f"not known ({one['kind']}, {one['ref']}): {one['why']}")


# ------------------------------------------------------------ shared


def _known(figure: str) -> None:
    from podium.core.cost_cells import FIGURES  # noqa: PLC0415 - keeps `podium --help` fast

    if figure not in FIGURES:
        raise typer.BadParameter(f"{figure!r} is none of {', '.join(FIGURES)}", param_hint="--figure")


def _moment(text: str | None, name: str) -> float | None:
    import time  # noqa: PLC0415 - keeps `podium --help` fast

    from podium.cli.exporting import moment  # noqa: PLC0415 - same

    return None if text is None else moment(text, time.time(), name)


def _csv(profiles: Sequence[Mapping[str, Any]]) -> None:
    from podium.core.cost_cells import FIGURES  # noqa: PLC0415 - keeps `podium --help` fast
    from podium.core.cost_profile import rows  # noqa: PLC0415 - same

    lines = rows([_profile(one) for one in profiles], FIGURES)
    if not lines:
        output.note("no requests recorded yet")
        return
    table = csv.DictWriter(sys.stdout, list(lines[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(lines)


def _profile(data: Mapping[str, Any]) -> CostProfile:
    import msgspec  # noqa: PLC0415 - keeps `podium --help` fast

    from podium.domain.costing import CostProfile  # noqa: PLC0415 - same

    return msgspec.convert(data, CostProfile)


def _trend(data: Mapping[str, Any]) -> Trend:
    import msgspec  # noqa: PLC0415 - keeps `podium --help` fast

    from podium.domain.costing import Trend  # noqa: PLC0415 - same

    return msgspec.convert(data, Trend)


def _draw(plot: Path, profiles: Sequence[CostProfile], trends: Sequence[Trend], figure: str) -> None:
    from podium.core.picture.costs import draw  # noqa: PLC0415 - keeps `podium --help` fast

    svg = draw(profiles, trends, figure)
    content = svg.encode()
    if plot.suffix.lower() == ".png":
        from podium.server.pictures import png_of  # noqa: PLC0415 - an extra that need not be installed

        content = png_of(svg)
    try:
        plot.write_bytes(content)
    except OSError as error:
        raise fail(f"cannot write {plot}: {error.strerror or error}") from None
    output.note(f"wrote {plot}")

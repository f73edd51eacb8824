"""``podium judge FILE`` and ``podium judgments``: have outputs judged, and see what was judged of live traffic."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from podium.cli import output
from podium.cli.evaluation import progress_of
from podium.cli.session import AsJson, ask, fail, gateway
from podium.errors import InvalidRequest

TEXTS = ("id", "task", "prompt", "expected", "context", "finish")
MOST_ROWS = 100_000
Json = dict[str, Any]


class FileOrCommand(TyperGroup):
    """``podium judge FILE`` is short for ``podium judge run FILE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As click's, with ``run`` in front of what is no command."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["run", *args]
        return super().parse_args(ctx, args)


def run(
    file: Annotated[Path, typer.Argument(help="JSON lines: output, and as known task, prompt, context, expected, id.")],
    judge: Annotated[
        str | None, typer.Option(help="NAME@VERSION, auto, or none for rules alone; the task's own, else auto.")
    ] = None,
    criterion: Annotated[list[str] | None, typer.Option(help="Only this criterion; repeatable.")] = None,
    as_json: AsJson = False,
) -> None:
    """Judge the outputs in a file: each criterion's mean and pass rate, and how many outputs pass all of them."""
    rows = read_rows(file)
    started = time.monotonic()
    results = asyncio.run(_judged(rows, criterion, judge, quiet=as_json))
    took = time.monotonic() - started
    found = summary(results)
    verdicts = sum(len(one["verdicts"]) for result in results for one in result["criteria"])
    found |= {"judgments": verdicts, "judgments_per_s": verdicts / took if took > 0 else None, "seconds": took}
    if as_json:
        output.emit_json({"file": str(file), **found, "results": results})
        return
    columns = ("criterion", "scored", "mean", "pass mark", "passed", "failed", "no score", "invalid", "evidence")
    output.table(columns, [[name, *(one[key] for key in _SHOWN)] for name, one in found["criteria"].items()])
    output.say()
    output.facts({"outputs": found["items"], "overall mean": found["overall"], "pass all criteria": found["passed"]})
    unproven = [name for name, one in found["criteria"].items() if one["scored"] and not one["evidence"]]
    if unproven:
        output.note(
            f"no calibrated judge for {', '.join(unproven)}: `podium judge calibrate` measures one against people"
        )


_SHOWN = ("scored", "mean", "pass_mark", "passed", "failed", "no_score", "invalid", "evidence")


def judgments(
    task: Annotated[str | None, typer.Option(help="This task only.")] = None,
    ref: Annotated[str | None, typer.Option(help="Answers of this NAME@VERSION only.")] = None,
    criterion: Annotated[str | None, typer.Option(help="This criterion only; overall is one.")] = None,
    request: Annotated[str | None, typer.Option(help="What was said of the answer to this request.")] = None,
    invalid: Annotated[
        bool | None, typer.Option("--invalid", help="Only what a judge said that is no verdict.")
    ] = None,
    stats: Annotated[bool, typer.Option("--stats", help="What they say of all answers, judged or not.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Judgments of live traffic, newest first; with --stats means with intervals, costs, and the state of judging."""
    from podium.client.judging import Judging  # noqa: PLC0415 - keeps `podium --help` fast

    if stats:
        found = ask(lambda podium: Judging(podium).stats(task))
        if as_json:
            output.emit_json(found)
            return
        _show_stats(found)
        return
    query: Json = {"ref": ref, "criterion": criterion, "request_id": request, "invalid": invalid}
    rows = ask(lambda podium: Judging(podium).ls(task, limit=limit, **query))
    if as_json:
        output.emit_json({"judgments": rows})
        return
    columns = ("when", "task", "version", "criterion", "judge", "score", "passed", "picked by", "says")
    shown = [
        [
            output.age(one["at"]),
            *(one[name] for name in ("task", "ref", "criterion", "judge", "score", "passed")),
            one["signal"] or f"chance {one['probability']:.3g}",
            (f"invalid: {one['invalid']}" if one["invalid"] else one["reason"])[:60],
        ]
        for one in rows
    ]
    output.table(columns, shown, empty=_nothing(filtered=any(one is not None for one in (task, *query.values()))))


def _nothing(*, filtered: bool) -> str:
    if filtered:
        return "no judgment is like that; without filters `podium judgments` shows the newest"
    return "nothing was judged; `[judging] enabled = true` in podium.toml begins"


def _show_stats(found: Json) -> None:
    rows = [
        [
            *(one[name] for name in ("task", "ref", "criterion", "judge", "judgments", "mean")),
            _between(one),
            *_corrected(one),
            round(one["stands_for"]),
            one["invalid"],
        ]
        for one in found["estimates"]
    ]
    columns = ("task", "version", "criterion", "judge", "judged", "mean", "95 % interval", "by people", "95 % interval",
               "pass by people", "95 % interval", "stands for", "invalid")  # fmt: skip
    output.table(columns, rows, empty="nothing was judged yet")
    for line in _methods(found["estimates"]):
        output.note(line)
    output.say()
    asked = ("criterion", "judge", "judgments", "invalid", "seconds", "seconds each", "tokens")
    output.table(asked, by_judge(found["estimates"]), empty="no model was asked yet")
    output.say()
    costs = [[one["task"], one["judgments"], one["seconds"], one["tokens"]] for one in found["costs"]]
    output.table(("task", "judgments", "seconds of judges", "tokens"), costs, empty="judging cost nothing yet")
    live = found["live"]
    output.say()
    output.facts(
        {
            "judging": "on" if live["enabled"] else "off",
            "answers seen": live["seen"],
            "picked": live["picked"],
            "waiting": live["waiting"],
            "given up for want of room": live["thinned"],
            "waited for the budget": live["deferred"],
            "short of": live["budget"]["short_of"],
            "taught": live["taught"],
        }
    )
    for name, why in live["problems"].items():
        output.note(f"{name}: {why}")


def by_judge(estimates: Sequence[Json]) -> list[list[object]]:
    """What models as judges took, by criterion: their latency and cost over all tasks and versions."""
    from podium.domain.judgment import OVERALL, RULES, STACK  # noqa: PLC0415 - keeps `podium --help` fast

    sums: dict[tuple[str, str], list[float]] = {}
    for one in estimates:
        if one["judge"] in (RULES, STACK, OVERALL):
            continue
        row = sums.setdefault((one["criterion"], one["judge"]), [0, 0, 0.0, 0])
        for at, name in enumerate(("judgments", "invalid", "seconds", "tokens")):
            row[at] += one[name]
    return [
        [*key, many, invalid, seconds, seconds / many if many else None, tokens]
        for key, (many, invalid, seconds, tokens) in sorted(sums.items())
    ]


def _between(one: Json | None) -> str:
    return "-" if one is None or one["low"] is None else f"{one['low']:.3f} … {one['high']:.3f}"


def _corrected(one: Json) -> list[object]:
    """The mean and the share of passes as people would have them, each with its interval."""
    mean, passing = one["corrected"], (one["pass_rate"] or {}).get("corrected")
    return [mean and mean["mean"], _between(mean), passing and passing["share"], _between(passing)]


def _methods(estimates: Sequence[Json]) -> list[str]:
    """How means were corrected, and why not."""
    means = sorted({f"{one['corrected']['method']}" for one in estimates if one["corrected"]})
    shares = [one["pass_rate"]["corrected"] for one in estimates if one["pass_rate"]]
    methods = sorted({one["method"] for one in shares if one["missing"] is None})
    found = [f"by people: {', '.join(means)} means from the labels of the calibration"] if means else []
    found += [f"pass by people: {', '.join(methods)}"] if methods else []
    return found + [
        f"no share of passes by people: {why}" for why in sorted({one["missing"] for one in shares if one["missing"]})
    ]


async def _judged(
    rows: Sequence[Json], criteria: Sequence[str] | None, judge: str | None, *, quiet: bool
) -> list[Json]:
    from podium.client.judging import Judging  # noqa: PLC0415 - keeps `podium --help` fast

    results: list[Json] = []
    with progress_of(f"judging {len(rows)} outputs", quiet=quiet) as heard:
        async with gateway() as podium:
            async for result in Judging(podium).batch(rows, criteria=criteria, judge=judge):
                results.append(result)
                heard(len(results) / len(rows))
    return results


def read_rows(file: Path) -> list[Json]:
    """The rows of a file of outputs. Raises ``InvalidRequest`` that names file, line and field."""
    rows: list[Json] = []
    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    rows.append(_row(f"{file}, line {number}", line, number))
                if len(rows) > MOST_ROWS:
                    raise InvalidRequest(f"{file} has more than {MOST_ROWS} rows; judge a part of them", param="file")
    except OSError as error:
        raise fail(f"cannot read {file}: {error.strerror or error}") from None
    if not rows:
        raise InvalidRequest(f"{file} has no rows: it needs one JSON object with an output a line", param="file")
    return rows


def _row(where: str, line: str, number: int) -> Json:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{where} is not JSON: {error}", param="file") from None
    if not isinstance(fields, dict):
        raise InvalidRequest(f"{where} is not a JSON object", param="file")
    if not isinstance(fields.get("output"), str):
        raise InvalidRequest(f"{where}: 'output' must be a text", param="output")
    row: Json = {"output": _whole(fields["output"]), "id": _whole(str(fields.get("id", number)))}
    for name in TEXTS[1:]:
        value = fields.get(name)
        if value is None:
            continue
        if not isinstance(value, str):
            raise InvalidRequest(f"{where}: {name!r} must be a text", param=name)
        row[name] = _whole(value)
    schema = fields.get("schema", fields.get("output_schema"))
    if isinstance(schema, dict):
        row["output_schema"] = schema
    return row


def _whole(text: str) -> str:
    """Text that can be sent: JSON may hold half characters."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def summary(results: Sequence[Json]) -> Json:
    """Per criterion and over all; a mean is ``None`` without a score."""
    criteria: dict[str, Json] = {}
    for name in dict.fromkeys(one["criterion"] for result in results for one in result["criteria"]):
        mine = [one for result in results for one in result["criteria"] if one["criterion"] == name]
        scores = [one["score"] for one in mine if one["score"] is not None]
        criteria[name] = {
            "scored": len(scores),
            "mean": _mean(scores),
            "pass_mark": mine[0]["pass_mark"],
            "passed": sum(one["passed"] is True for one in mine),
            "failed": sum(one["passed"] is False for one in mine),
            "no_score": len(mine) - len(scores),
            "invalid": sum(verdict["invalid"] is not None for one in mine for verdict in one["verdicts"]),
            "evidence": bool(scores) and all(one["evidence"] for one in mine if one["score"] is not None),
        }
    overall = [result["overall"] for result in results if result["overall"] is not None]
    passed = sum(result["passed"] is True for result in results)
    return {"items": len(results), "criteria": criteria, "overall": _mean(overall), "passed": passed}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None

"""``podium replay`` and ``podium evaluate``: how a policy does on a file of scores, or on a log of decisions."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from podium.cli import output
from podium.cli.session import AsJson, fail

Progress = Callable[[float], None]
PolicyName = Annotated[str, typer.Option(help="Which policy; --policies lists them.")]
ListPolicies = Annotated[bool, typer.Option("--policies", help="List the names of the policies.")]


@contextlib.contextmanager
def progress_of(label: str, *, quiet: bool) -> Iterator[Progress]:
    """A bar on stderr for people; silence when piped or with --json."""
    if quiet or not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console  # noqa: PLC0415 - only for people, and slow to import
    from rich.progress import Progress as Bars  # noqa: PLC0415 - same

    with Bars(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task(label, total=1.0)
        yield lambda done: bars.update(bar, completed=done)


def _list_policies(as_json: bool) -> None:
    from podium.services.replay import POLICIES  # noqa: PLC0415 - keeps `podium --help` fast

    if as_json:
        output.emit_json({"policies": list(POLICIES)})
        return
    for name in POLICIES:
        output.say(name)


def replay(
    file: Annotated[Path | None, typer.Argument(help="Parquet or JSON lines: prompt_id, task, q__MODEL …")] = None,
    policy: PolicyName = "default",
    seed: Annotated[int, typer.Option(min=0, help="Order of the stream and every draw.")] = 0,
    degrade: Annotated[
        float | None,
        typer.Option(metavar="AT", help="From this request on (a share below 1) the best models lose quality."),
    ] = None,
    degrade_tasks: Annotated[int, typer.Option(min=1, help="With --degrade: in how many tasks, largest first.")] = 6,
    degrade_to: Annotated[float, typer.Option(min=0.0, max=1.0, help="With --degrade: what is left of it.")] = 0.5,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many rows of the shuffled stream.")] = None,
    policies: ListPolicies = False,
    as_json: AsJson = False,
) -> None:
    """Replay scored prompts once, in random order, showing the policy only the score of the model it chose."""
    if policies:
        _list_policies(as_json)
        return
    if file is None:
        raise fail("give a FILE to replay; docs/replay.md describes it", 2)
    from podium.datasets.replay_file import ReplayFile  # noqa: PLC0415 - keeps `podium --help` fast
    from podium.services.replay import loss_at, make  # noqa: PLC0415 - same
    from podium.services.replay import replay as run  # noqa: PLC0415 - same

    chosen = make(policy)
    with contextlib.ExitStack() as opened:
        with progress_of(f"reading {file.name}", quiet=as_json) as heard:
            source = opened.enter_context(ReplayFile(file, seed, heard))
        if source.repeated:
            output.note(f"{source.repeated} rows repeat an earlier row of the same prompt_id; they count again")
        loss, length = None, min(limit or source.totals.rows, source.totals.rows)
        if degrade is not None:
            loss = loss_at(degrade, length, tasks=degrade_tasks, left=degrade_to)
        with progress_of(f"replaying {policy}", quiet=as_json) as heard:
            result = run(source, chosen, loss=loss, limit=length, progress=heard)
    shown = {"policy": policy, "seed": seed, **dataclasses.asdict(result)}
    if loss is None:
        for name in ("recovery", "never_recovered", "degraded"):
            del shown[name]
    if as_json:
        output.emit_json(shown)
        return
    shares = shown.pop("shares")
    output.facts(shown)
    ranked = sorted(shares.items(), key=lambda item: -item[1])
    output.table(("model", "share"), [(model, f"{share:.1%}") for model, share in ranked])


def evaluate(
    file: Annotated[Path | None, typer.Argument(help="Parquet or JSON lines of logged decisions.")] = None,
    policy: Annotated[
        str, typer.Option(help="always:MODEL, target (the column), or a name of --policies.")
    ] = "default",
    log: Annotated[bool, typer.Option("--log", help="Instead of a file: what this home's own log holds.")] = False,
    warm_up: Annotated[int, typer.Option(min=0, help="Rows at the start that only teach.")] = 0,
    policies: ListPolicies = False,
    as_json: AsJson = False,
) -> None:
    """Estimate what a policy would have earned on decisions that another one made and logged."""
    if policies:
        _list_policies(as_json)
        return
    if (file is None) is not log:
        raise fail("give either a FILE of logged decisions or --log; docs/replay.md describes the file", 2)
    from podium.services.evaluating import evaluate as run  # noqa: PLC0415 - keeps `podium --help` fast

    unrewarded = forced = 0
    if file is None:
        from podium.config import load  # noqa: PLC0415 - keeps `podium --help` fast
        from podium.store.evaluable import scored_decisions  # noqa: PLC0415 - same

        report = run(scored_decisions(load().database), policy, warm_up=warm_up)
    else:
        from podium.datasets.decision_log import DecisionLog  # noqa: PLC0415 - keeps `podium --help` fast

        with progress_of(f"reading {file.name}", quiet=as_json) as heard:
            rows = DecisionLog(file)
            report = run(rows.rows(heard), policy, warm_up=warm_up)
        unrewarded, forced = rows.without_reward, rows.no_choice
    shown = dataclasses.asdict(report.evaluation)
    overall, tasks = shown["overall"], shown["tasks"]
    if as_json:
        counts = {
            "left_out": report.left_out,
            "certain": report.certain,
            "without_reward": unrewarded,
            "no_choice": forced,
        }
        output.emit_json({"policy": policy, **counts, **overall, "tasks": tasks})
        return
    _show(
        policy,
        overall,
        tasks,
        {
            "rows": overall["n"],
            "without reward": unrewarded,
            "no choice": forced,
            "left out": report.left_out,
            "without alternative": report.certain,
        },
    )


def _show(policy: str, overall: dict[str, Any], tasks: dict[str, Any], counts: dict[str, int]) -> None:
    """The verdict, the estimates, and one line for each task."""
    output.say(f"{policy}: {overall['reason']}")
    output.facts(
        {
            **counts,
            **{name.replace("_", " "): overall[name] for name in ("effective_samples", "mean_weight", "max_weight")},
        }
    )
    names = {"logging": "logged", "ips": "IPS", "snips": "SNIPS", "doubly_robust": "doubly robust"}
    estimates = [(label, overall[name]) for name, label in (*names.items(), ("difference", "difference"))]
    rows = [(label, one["value"], f"{one['low']:.4f} … {one['high']:.4f}") for label, one in estimates if one]
    output.table(("estimate", "value", "95 % interval"), rows)
    output.table(("task", "rows", "effective", "verdict"), [_task_row(name, one) for name, one in tasks.items()])


def _task_row(name: str, one: dict[str, Any]) -> tuple[object, ...]:
    return name, one["n"], one["effective_samples"], one["reason"]

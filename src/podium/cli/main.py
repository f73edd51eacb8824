"""The ``podium`` command: its tree of commands, and the one place that turns errors into an exit code.

Imports nothing heavy: a command imports what it needs when it runs.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from podium import __version__
from podium.cli import (
    alerts,
    answers,
    audit,
    bench,
    budgets,
    calibrations,
    classification,
    config_history,
    configuration,
    costs,
    evaluation,
    events,
    exporting,
    importing,
    insight,
    judged,
    judged_pairs,
    judging,
    keys,
    model_sets,
    models,
    pool,
    rollouts,
    rules,
    schedules,
    secrets,
    serving,
    swapping,
    tasks,
)
from podium.cli.top import command as top
from podium.errors import PodiumError

app = typer.Typer(
    name="podium",
    help="A local pool of language models behind one OpenAI-compatible endpoint that picks the best per task.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Options before the command."""


app.command()(answers.run)
app.command()(serving.serve)
app.add_typer(models.app, name="models")
models.app.command("add-set")(model_sets.add_set)
models.app.command()(importing.scan)
models.app.command("import")(importing.import_)
models.app.command()(importing.alias)
for instance_command in (pool.ps, pool.load, pool.unload, pool.pin, pool.keep):
    app.command()(instance_command)
app.add_typer(tasks.app, name="tasks")
app.command()(classification.classify)
tasks.app.command()(classification.classify)
for move in (swapping.swap, swapping.rollback):
    app.command()(move)
app.add_typer(rollouts.app, name="rollouts")
app.add_typer(schedules.app, name="schedules")
for look in (insight.explain, insight.feedback, insight.stats):
    app.command()(look)
app.command()(top.top)
app.add_typer(costs.app, name="costs")
app.add_typer(alerts.app, name="alerts")
app.add_typer(budgets.app, name="budgets")
app.add_typer(keys.app, name="keys")
app.add_typer(secrets.app, name="secrets")
app.command()(events.events)
app.add_typer(events.webhooks, name="webhooks")
app.add_typer(events.swaps, name="swaps")
app.add_typer(bench.app, name="bench")
judging.app.command("run")(judged.run)
judging.app.command()(judged_pairs.pairs)
judging.app.command()(calibrations.calibrations)
judging.app.command()(calibrations.forget)
app.add_typer(judging.app, name="judge", cls=judged.FileOrCommand)
app.command()(judged.judgments)
app.add_typer(rules.app, name="rules")
for kept in (config_history.history, config_history.diff, config_history.restore):
    configuration.app.command()(kept)
app.add_typer(configuration.app, name="config")
app.add_typer(audit.app, name="audit")
app.command()(insight.doctor)
for measure in (evaluation.replay, evaluation.evaluate, exporting.export):
    app.command()(measure)


def main() -> None:
    """Entry point. An expected error is one line on stderr and exit code 1; 130 when interrupted."""
    try:
        app()
    except PodiumError as error:
        sys.stderr.write(f"podium: {error.message}\n")
        dropped = error.details.get("dropped")
        if isinstance(dropped, dict):
            for ref, why in dropped.items():
                sys.stderr.write(f"  {ref}: {why}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)

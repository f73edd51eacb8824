"""``podium tasks``: what tasks ask for, and which version serves them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli import classification, output
from podium.cli.session import AsJson, ask
from podium.domain.task import Preference
from podium.errors import NotFound

if TYPE_CHECKING:
    from podium.client import Podium

app = typer.Typer(help="Kinds of work and what they ask of a model.", no_args_is_help=True, rich_markup_mode=None)
Task = Annotated[str, typer.Argument(metavar="TASK", help="Name of the task.")]


@app.command()
def ls(as_json: AsJson = False) -> None:
    """List tasks, where they are bound and what was measured."""

    async def work(podium: Podium) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        return await podium.tasks(), await podium.classifier()

    found, learned = ask(work)
    if as_json:
        output.emit_json({"tasks": found, "classifier": learned})
        return
    rows = [
        [
            one["task"], one["bound_to"] or "(selected)", one["strategy"], limits(one["criteria"]), samples(one),
            classification.labelled(learned, one["task"]), classification.accuracy(learned, one["task"]),
        ]
        for one in found
    ]  # fmt: skip
    columns = ("task", "served by", "strategy", "criteria", "samples", "examples", "recognised")
    output.table(columns, rows, empty="no tasks yet")
    output.note(classification.summary(learned))


def limits(criteria: dict[str, Any]) -> str:
    """The criteria that say something."""
    return ", ".join(f"{key}={output.cell(value)}" for key, value in criteria.items() if value not in (None, [], 0))


def samples(task: dict[str, Any]) -> int:
    """Recorded outcomes over all versions."""
    return sum(item["samples"] for item in task["evidence"].values())


@app.command()
def show(task: Task, as_json: AsJson = False) -> None:
    """One task: criteria, binding, and what each version showed on it."""

    async def work(podium: Podium) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
        found = await podium.task(task)
        return found, await podium.classifier(), await podium.rollouts.ls(task, state="open", limit=1)

    one, learned, rollouts = ask(work)
    rollout = rollouts[0] if rollouts else None
    if as_json:
        output.emit_json({**one, "recognition": learned["tasks"].get(task), "rollout": rollout and rollout["id"]})
        return
    previous = one["binding"]["previous"] if one["binding"] else []
    plain = {"task": one["task"], "served by": one["bound_to"] or "selected per request", "before it": previous}
    if rollout is not None:
        state = "concluded" if rollout["concluded"] else rollout["state"].replace("_", " ")
        plain["rollout"] = f"{rollout['id']}: {rollout['candidate']}, {state}, {100 * rollout['share']:.3g} %"
    output.facts({**plain, "strategy": one["strategy"], "criteria": limits(one["criteria"]), "words": one["keywords"]})
    output.facts(classification.facts_of(learned, task))
    names = ("samples", "success_rate", "quality", "latency_ms", "latency_p95_ms", "ttft_ms", "tokens_per_s")
    rows = [[ref, *output.pick(item, *names)] for ref, item in one["evidence"].items()]
    output.table(("version", *names), rows, empty="nothing measured yet")
    lately(one["lately"])
    _learned(one["learned"])
    for item in one["findings"]:
        output.say(f"{item['severity']}: {item['says']}. What to do: {item['do']}")


def lately(versions: dict[str, Any]) -> None:
    """What is believed of each version now, with 90 % intervals; old measurements count less."""
    names = ["quality", "success", "latency_ms", "ttft_ms", "tokens_per_s", "memory_mb", "energy_mwh"]
    if any(figures["price_microusd"] is not None for figures in versions.values()):
        names.append("price_microusd")

    def words(figure: dict[str, Any] | None) -> str | None:
        if figure is None:
            return None
        mean, low, high = (output.cell(figure[name]) for name in ("mean", "low", "high"))
        return f"{mean} ({low} to {high})"

    rows = [[ref, *(words(figures[name]) for name in names)] for ref, figures in versions.items()]
    if rows:
        output.table(("lately", *names), rows)


def _learned(known: dict[str, Any]) -> None:
    """What is known of the task, whoever serves it."""
    rows = []
    for name, lesson in known["lessons"].items():
        hand = lesson["set_by_hand"]
        says = lesson["says"] if hand is None else f"set by hand to {output.cell(hand)}, which wins; {lesson['says']}"
        rows.append([name, lesson["value"], lesson["confidence"], says])
    output.table(("learned", "value", "confidence", "why"), rows)
    if known["labels"]:
        output.say("labels: " + ", ".join(f"{label} ({count:g})" for label, count in known["labels"].items()))
    verb = "sharpened" if known["sharpening"]["applied"] else "would be sharpened with selection.enhance = true"
    for sentence in known["sharpening"]["explanations"]:
        output.say(f"{verb}: {sentence}")


@app.command("set")
def set_task(
    task: Task,
    capability: Annotated[list[str] | None, typer.Option(help="A model must have it; repeatable.")] = None,
    min_quality: Annotated[float | None, typer.Option(help="Lowest mean quality, 0 to 1.")] = None,
    max_latency_ms: Annotated[float | None, typer.Option(help="Longest acceptable answer.")] = None,
    max_memory_mb: Annotated[float | None, typer.Option(help="Most memory a model may take.")] = None,
    min_context: Annotated[int | None, typer.Option(min=0, help="Tokens of context needed.")] = None,
    prefer: Annotated[Preference | None, typer.Option(help="What to favour.")] = None,
    max_quality_loss: Annotated[
        float | None,
        typer.Option(min=0, max=0.99, help="Quality that may be given up for what is favoured: 0.02 is 2 %."),
    ] = None,
    exploration: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of requests that may try other models, to learn.")
    ] = None,
    strategy: Annotated[str | None, typer.Option(help="default, balanced, classic, or one of your own.")] = None,
    keyword: Annotated[list[str] | None, typer.Option(help="Word by which `auto` knows it; repeatable.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Forget the criteria set before.")] = False,
    as_json: AsJson = False,
) -> None:
    """Create a task or change it; what is not named stays as it is."""
    given: dict[str, Any] = {"capabilities": capability, "min_quality": min_quality, "max_latency_ms": max_latency_ms}
    given |= {"max_memory_mb": max_memory_mb, "min_context": min_context, "preference": prefer}
    given["max_quality_loss"] = max_quality_loss
    changes = {name: value for name, value in given.items() if value is not None}

    async def work(podium: Podium) -> dict[str, Any]:
        before: dict[str, Any] = {}
        if not clear:
            try:
                before = (await podium.task(task))["criteria"]
            except NotFound:
                before = {}
        return await podium.set_task(
            task, criteria={**before, **changes}, strategy=strategy, keywords=keyword, exploration=exploration
        )

    one = ask(work)
    if as_json:
        output.emit_json(one)
    else:
        output.say(f"{one['task']}: {limits(one['criteria']) or 'no limits'}; strategy {one['strategy']}")


@app.command()
def unbind(
    task: Task,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    as_json: AsJson = False,
) -> None:
    """Bind a task to no version any more: its model is chosen for each request again."""
    one = ask(lambda podium: podium.unbind(task, reason=reason))
    if as_json:
        output.emit_json(one)
    else:
        output.say(f"{one['task']}: {one['before']} → selection")

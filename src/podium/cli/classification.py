"""``podium classify``, and what ``podium tasks`` says about recognising tasks."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from podium.cli import output
from podium.cli.session import AsJson, ask


def classify(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The prompt, or - to read it; it is not kept.")],
    as_json: AsJson = False,
) -> None:
    """Say which task `auto` would take a prompt for, and why."""
    prompt = sys.stdin.read() if text == "-" else text
    found = ask(lambda podium: podium.classify(prompt))
    if as_json:
        output.emit_json(found)
        return
    likeliest = [f"{one['task']} {one['share']:.0%}" for one in found["likeliest"]]
    output.facts(
        {
            "task": found["task"] + (" (no task was sure enough)" if found["abstained"] else ""),
            "confidence": found["confidence"],
            "by": found["rule"],
            "likeliest": likeliest,
            "difficulty": found["difficulty"],
        }
    )


def labelled(learned: dict[str, Any], task: str) -> str:
    """Prompts known of a task: own ones, and shipped ones behind a plus."""
    one = learned["tasks"].get(task)
    return f"{one['kept']} + {one['seeds']}" if one else "-"


def accuracy(learned: dict[str, Any], task: str) -> float | None:
    """By cross-validation; ``None`` for a task that is not learned."""
    one = learned["tasks"].get(task)
    return one["accuracy"] if one else None


def facts_of(learned: dict[str, Any], task: str) -> dict[str, object]:
    """What is known about recognising one task."""
    one = learned["tasks"].get(task) or {"kept": 0, "labelled": 0, "seeds": 0, "learned": False}
    state = "yes" if one["learned"] else f"no, {one['kept']} of {learned['needed']} different labelled prompts"
    if not learned["learning"] and not one["learned"]:
        state = "no, learning is switched off (learn_tasks)"
    examples = f"{one['kept']} kept of {one['labelled']} labelled, {one['seeds']} shipped"
    return {"recognised": state, "examples": examples, "accuracy": accuracy(learned, task)}


def summary(learned: dict[str, Any]) -> str:
    """One line on the whole classifier."""
    if not learned["trained"]:
        return "tasks are recognised by rules alone until the classifier is trained"
    line = f"recognition, by cross-validation: {learned['accuracy']:.0%} right"
    if learned["error"] is not None:
        line += f"; a task is named in {learned['answered']:.0%} of cases, wrongly in {learned['error']:.0%} of those"
        line += f" (threshold {learned['threshold']:.2f})"
    if worst := learned["worst_pair"]:
        line += f"; most mixed up: {worst['task']} taken for {worst['taken_for']} ({worst['times']} times)"
    return line

"""The commands there are, where each is, and what ``podium --help`` says of it.

A command's module is imported when it is asked for: to list what there is, or to run one command, takes no other.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


@dataclass(frozen=True, slots=True)
class Entry:
    """``place`` is ``module:name`` below ``podium.cli``, of a function or of a ``Typer`` with commands of its own;
    ``more`` are places of further commands of it, by their names; ``group`` is the place of the class of its group.
    """

    help: str
    place: str
    more: Mapping[str, str] = field(default_factory=dict)
    group: str | None = None


ENTRIES = {
    "run": Entry("Answer one prompt with the best model for it.", "answers:run"),
    "serve": Entry("Serve the OpenAI-compatible endpoint and the control API.", "serving:serve"),
    "ps": Entry("List the loaded models of the running server.", "pool:ps"),
    "load": Entry("Load a version now; returns when it is ready.", "pool:load"),
    "unload": Entry(
        "Let its requests finish, then stop it; a load that only an order waits for is called off.", "pool:unload"
    ),
    "pin": Entry("Never evict this version.", "pool:pin"),
    "keep": Entry("Standing orders: how long it stays loaded and in how many copies. Kept over restarts.", "pool:keep"),
    "classify": Entry("Say which task `auto` would take a prompt for, and why.", "classification:classify"),
    "swap": Entry(
        "Serve a task by another version, without dropping a request: at once, or step by step by evidence.",
        "swapping:swap",
    ),
    "rollback": Entry("Go back to the version that served the task before.", "swapping:rollback"),
    "explain": Entry("Say why a request went where it went, candidate by candidate.", "insight:explain"),
    "feedback": Entry(
        "Say how good an answer was; selection learns from it. A later word replaces the earlier one.",
        "insight:feedback",
    ),
    "stats": Entry(
        "Show what was measured per task and version, objectives, and alerts that are open.", "insight:stats"
    ),
    "top": Entry("Watch instances, requests and leaderboards live. Keys: q, tab or arrows, 1, 2.", "top.command:top"),
    "events": Entry("Show the newest events, oldest first.", "events:events"),
    "judgments": Entry(
        "Judgments of live traffic, newest first; with --stats means with intervals, costs, and the state of judging.",
        "judged:judgments",
    ),
    "doctor": Entry("Say what this machine has, what is wrong, and what to do next.", "insight:doctor"),
    "replay": Entry(
        "Replay scored prompts once, in random order, showing the policy only the score of the model it chose.",
        "evaluation:replay",
    ),
    "evaluate": Entry(
        "Estimate what a policy would have earned on decisions that another one made and logged.",
        "evaluation:evaluate",
    ),
    "export": Entry(
        "Write one row for each attempt at a request: what was known, chosen and with what chance, what came of it.",
        "exporting:export",
    ),
    "models": Entry(
        "Register models and see what is registered.",
        "models:app",
        {
            "add-set": "model_sets:add_set",
            "scan": "importing:scan",
            "import": "importing:import_",
            "alias": "importing:alias",
        },
    ),
    "tasks": Entry("Kinds of work and what they ask of a model.", "tasks:app", {"classify": "classification:classify"}),
    "rollouts": Entry("Swaps that take their time and decide by evidence.", "rollouts:app"),
    "schedules": Entry("Swaps that wait for a quiet time.", "schedules:app"),
    "costs": Entry("What models took and cost.", "costs:app"),
    "alerts": Entry("What became worse, and error budgets that are used up too fast.", "alerts:app"),
    "budgets": Entry("What keys, tasks and providers may use up.", "budgets:app"),
    "keys": Entry("Who may use this server, and for what.", "keys:app"),
    "secrets": Entry("Keys for hosted models, sealed at rest.", "secrets:app"),
    "webhooks": Entry("Servers that are told of events.", "events:webhooks"),
    "swaps": Entry("Swaps and rollbacks on record.", "events:swaps"),
    "bench": Entry("Measure models on suites of questions, and rank them.", "bench:app"),
    "judge": Entry(
        "How good answers are, and who may say so. `podium judge FILE` is short for `podium judge run FILE`.",
        "judging:app",
        {
            "run": "judged:run",
            "pairs": "judged_pairs:pairs",
            "calibrations": "calibrations:calibrations",
            "forget": "calibrations:forget",
        },
        group="judged:FileOrCommand",
    ),
    "rules": Entry("Rules that move a task when a fact crosses a line.", "rules:app"),
    "config": Entry(
        "Check the configuration and print its schema.",
        "configuration:app",
        {
            "history": "config_history:history",
            "diff": "config_history:diff",
            "restore": "config_history:restore",
        },
    ),
    "audit": Entry("Who did what, and whether that record is whole.", "audit:app"),
}


class Commands(MutableMapping[str, Any]):
    """``ENTRIES`` as click's commands, each made when it is taken out for the first time."""

    def __init__(self) -> None:
        self._kept: dict[str, Any] = dict(ENTRIES)

    def __getitem__(self, name: str) -> Any:
        found = self._kept[name]
        if isinstance(found, Entry):
            found = self._kept[name] = _made(name, found)
        return found

    def __setitem__(self, name: str, command: Any) -> None:
        self._kept[name] = command

    def __delitem__(self, name: str) -> None:
        del self._kept[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)


class Tree(TyperGroup):
    """The commands of ``podium``."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = Commands()

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, in the order they are shown in."""
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Their names and what is said of each, without making one."""
        told = {name: TyperCommand(name, help=entry.help) for name, entry in ENTRIES.items()}
        TyperGroup(commands=dict(told)).format_commands(ctx, formatter)


def _made(name: str, entry: Entry) -> Any:
    """The command of an entry, as Typer makes it."""
    parent = typer.Typer(rich_markup_mode=None)
    found = _at(entry.place)
    if not isinstance(found, typer.Typer):
        parent.command(name)(found)
        return typer.main.get_group(parent).commands[name]
    parent.add_typer(found, name=name, cls=TyperGroup if entry.group is None else _at(entry.group))
    group: Any = typer.main.get_group(parent).commands[name]
    for other, place in entry.more.items():
        group.commands[other] = _made(other, Entry("", place))
    return group


def _at(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(f"podium.cli.{module}"), name)

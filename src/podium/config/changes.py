"""What differs between two readings of the configuration, so that a reload touches nothing else. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TypeVar

from podium.config.values import Config

T = TypeVar("T")
NEEDS_RESTART = ("server", "recording", "network", "energy", "responses", "telemetry", "logging")
"""Sections read once at start; every other section applies at once."""
FIXED = (
    "server", "network", "energy", "responses", "pool", "timeouts", "recording", "selection", "autoswap", "judging", "telemetry", "logging",
)  # fmt: skip
"""Sections with a fixed set of keys, which the environment may override."""
READ_ONCE = ("pool.keep_warm_days", "judging.at_once")
"""Keys of other sections that are."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Names of what changed, sorted. Models and tasks that are in none of these lists stay untouched."""

    models_added: tuple[str, ...] = ()
    models_removed: tuple[str, ...] = ()
    models_changed: tuple[str, ...] = ()
    tasks_added: tuple[str, ...] = ()
    tasks_removed: tuple[str, ...] = ()
    tasks_changed: tuple[str, ...] = ()
    live: tuple[str, ...] = ()
    """Dotted keys that apply at once."""
    restart: tuple[str, ...] = ()
    """Dotted keys that take effect at the next start only."""

    def __bool__(self) -> bool:
        return any(getattr(self, entry.name) for entry in dataclasses.fields(self))


def difference(old: Config, new: Config) -> Difference:
    """Compare section by section; a changed selection strategy also changes the tasks that inherit it."""
    models = _compare(old.models, new.models)
    tasks = _compare(old.tasks, new.tasks)
    live: list[str] = []
    restart: list[str] = []
    for section in FIXED:
        before, after = getattr(old, section), getattr(new, section)
        keys = [
            f"{section}.{entry.name}"
            for entry in dataclasses.fields(before)
            if getattr(before, entry.name) != getattr(after, entry.name)
        ]
        for key in keys:
            (restart if section in NEEDS_RESTART or key in READ_ONCE else live).append(key)
    whole = ("fallbacks", "rules", "windows", "limits", "budgets", "webhooks")
    live += [section for section in whole if getattr(old, section) != getattr(new, section)]
    if old.prices != new.prices:
        restart.append("prices")
    inherited: tuple[str, ...] = ()
    if "selection.strategy" in live:
        inherited = tuple(
            name
            for name, entry in new.tasks.items()
            if entry.strategy is None and name in old.tasks and name not in tasks[2]
        )
    return Difference(
        models_added=models[0],
        models_removed=models[1],
        models_changed=models[2],
        tasks_added=tasks[0],
        tasks_removed=tasks[1],
        tasks_changed=tuple(sorted((*tasks[2], *inherited))),
        live=tuple(live),
        restart=tuple(restart),
    )


def _compare(old: Mapping[str, T], new: Mapping[str, T]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """(added, removed, changed) keys."""
    return (
        tuple(sorted(new.keys() - old.keys())),
        tuple(sorted(old.keys() - new.keys())),
        tuple(sorted(key for key in new.keys() & old.keys() if new[key] != old[key])),
    )

"""Settles what rules and the learned classifier say about a prompt into one classification (SEL-8). Pure.

The order: a keyword that a user gave to a task of their own; a task that was learned from the user's own labels; a
built-in rule, unless what was learned holds its task for unlikely; the learned classifier; else the default task.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from podium.core.classifier import Verdict
from podium.core.classify import BUILTIN_TASKS
from podium.domain.task import DEFAULT_TASK, Classification

VETO = 0.2
"""A built-in rule is not followed when the classifier gives its task less than this."""


def settle(rule: Classification, learned: Verdict, own: Collection[str] = ()) -> Classification:
    """One classification from both. ``own``: tasks learned from the user's labels alone; ``learned`` ranks all tasks.

    A verdict that ranks nothing (no classifier yet, nothing to read) leaves the rules alone.
    """
    if not learned.ranked:
        return rule
    if not rule.abstained and rule.task not in BUILTIN_TASKS:
        return rule
    if learned.task is not None and learned.task in own:
        return _learned(rule, learned, learned.task)
    if not rule.abstained:
        share = dict(learned.ranked).get(rule.task, 0.0)
        if share >= VETO:
            return rule
        if learned.task is None:
            why = f"rules say {rule.rule}, but prompts of {rule.task} look otherwise ({share:.0%})"
            return replace(rule, task=DEFAULT_TASK, confidence=0.0, abstained=True, rule=why)
    if learned.task is None:
        name, share = learned.ranked[0]
        what = "no task of its own" if name == DEFAULT_TASK else f"{name} is not sure enough"
        return replace(rule, rule=f"{rule.rule}; learned: {what} ({share:.0%})")
    return _learned(rule, learned, learned.task)


def _learned(rule: Classification, learned: Verdict, task: str) -> Classification:
    return replace(
        rule,
        task=task,
        confidence=learned.confidence,
        abstained=False,
        rule=f"learned: {task} at {learned.confidence:.0%}",
    )

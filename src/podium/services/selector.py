"""The current policy: one immutable snapshot, and the choices made from it so far.

Owns the snapshot and its replacement. Must not do I/O; it never waits. A choice that was asked for before is a
look-up; after a change only choices of the tasks that changed are made again, and that at once by whoever brings
the change, not by the next request.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from types import MappingProxyType
from typing import NamedTuple

from podium.core.explaining import with_length
from podium.core.selection import PolicySnapshot, Query, choose
from podium.domain.decision import Choice
from podium.domain.evidence import Evidence
from podium.domain.model import Capability
from podium.domain.task import Binding, Criteria
from podium.errors import NoCandidate, PodiumError

MAX_CANDIDATES_KEPT = 60_000
"""Candidates remembered over all choices, which bounds the memory: about 0.5 kB each at most."""
MIN_KEPT, MAX_KEPT = 64, 1_024
REWORK_REUSING, REWORK_AFRESH = 10_000, 2_000
"""Candidates looked at by one change of policy, so that it holds the event loop up for about 15 ms at most: where the
earlier judgement of most can be reused, and where all are judged afresh. What is beyond is chosen when asked for."""
BYTES_PER_TOKEN = 8
"""A body of n bytes holds at least about n / 8 tokens: models that are surely too small are dropped here, the
server's own count decides about the rest."""

_Key = tuple[str, frozenset[str], int, tuple[str, ...] | None, Criteria | None]
_NO_EVIDENCE: Mapping[str, Evidence] = MappingProxyType({})


class _State(NamedTuple):
    """Swapped as a whole. ``choices`` only ever holds results of ``snapshot``."""

    snapshot: PolicySnapshot
    contexts: tuple[int, ...]
    """Context lengths at which a choice can change, ascending."""
    choices: dict[_Key, Choice]
    limit: int


class Selector:
    """Answers which version serves a request. One per process; use it from the event loop's thread."""

    def __init__(self, snapshot: PolicySnapshot | None = None) -> None:
        self._state = _state(snapshot or PolicySnapshot(), {})

    @property
    def snapshot(self) -> PolicySnapshot:
        """The policy now in force."""
        return self._state.snapshot

    def evidence(self, task: str, ref: str) -> Evidence | None:
        """History of one version on one task, as the policy sees it."""
        return self._state.snapshot.evidence.get(task, _NO_EVIDENCE).get(ref)

    def choose(
        self,
        task: str,
        *,
        needs: frozenset[str] = frozenset(),
        size: int = 0,
        explicit: str | tuple[str, ...] | None = None,
        criteria: Criteria | None = None,
    ) -> Choice:
        """The choice for a request of ``size`` bytes; ``explicit`` is the version the caller named, if any.

        Raises ``NoCandidate``, ``InvalidRequest`` (unknown strategy).
        """
        state = self._state
        tokens = 0 if Capability.VISION in needs else size // BYTES_PER_TOKEN
        # All sizes between two context lengths get the same choice: they share the smallest of them as their key.
        below = bisect_left(state.contexts, tokens)
        context = state.contexts[below - 1] + 1 if below else 0
        refs = (explicit,) if isinstance(explicit, str) else explicit
        key = (task, needs, context, refs, criteria)
        choice = state.choices.get(key)
        if choice is None:
            try:
                choice = choose(state.snapshot, _query(key))
            except NoCandidate as error:
                raise with_length(error, size if tokens else 0, BYTES_PER_TOKEN) from None
            if len(state.choices) >= state.limit:
                del state.choices[next(iter(state.choices))]
            state.choices[key] = choice
        return choice

    def replace(self, snapshot: PolicySnapshot) -> None:
        """Put another policy in force, all at once.

        Choices of tasks whose history, criteria and binding are unchanged are kept when nothing all tasks share
        changed either; known choices of the others are made again here, the most recent ones as far as they fit.
        """
        old = self._state
        snapshot = _intern(old.snapshot, snapshot)
        state = _state(snapshot, {})
        shared = _shares(old.snapshot, snapshot)
        again: list[tuple[_Key, Choice]] = []
        for key, choice in old.choices.items():
            if shared and _same_task(old.snapshot, snapshot, key[0]):
                state.choices[key] = choice
            elif key[2] == 0 or key[2] - 1 in state.contexts:
                again.append((key, choice))
        rework = REWORK_REUSING if old.snapshot.hour == snapshot.hour else REWORK_AFRESH
        room = min(state.limit - len(state.choices), 1 + rework // max(1, len(snapshot.options)))
        for key, choice in islice(reversed(again), max(0, room)):
            try:
                state.choices[key] = choose(snapshot, _query(key), (old.snapshot, choice))
            except PodiumError:
                continue  # nothing can serve it any more: the next request is told why
        self._state = state

    def rebind(self, *bindings: Binding) -> None:
        """Move the traffic of one task or of several to other versions, all at once."""
        moved = {binding.task: binding for binding in bindings}
        self.replace(replace(self.snapshot, bindings={**self.snapshot.bindings, **moved}))

    def unbind(self, task: str) -> None:
        """Choose for a task again, which was bound."""
        kept = {name: binding for name, binding in self.snapshot.bindings.items() if name != task}
        self.replace(replace(self.snapshot, bindings=kept))

    def learn(self, task: str, ref: str, evidence: Evidence, now: float) -> None:
        """Replace one row of history."""
        self.replace(self.snapshot.with_evidence(task, ref, evidence, now))


def _state(snapshot: PolicySnapshot, choices: dict[_Key, Choice]) -> _State:
    contexts = {option.context_length for option in snapshot.options if option.context_length is not None}
    limit = MAX_CANDIDATES_KEPT // max(1, len(snapshot.options))
    return _State(snapshot, tuple(sorted(contexts)), choices, min(MAX_KEPT, max(MIN_KEPT, limit)))


def _query(key: _Key) -> Query:
    return Query(task=key[0], needs=key[1], min_context=key[2], refs=key[3], criteria=key[4])


def _intern(old: PolicySnapshot, new: PolicySnapshot) -> PolicySnapshot:
    """``new`` with the options of ``old`` where they are equal, so that what did not change is the same object."""
    if new.options is old.options:
        return new
    before = {option.ref: option for option in old.options}
    options = tuple(
        known if (known := before.get(option.ref)) == option and known is not None else option for option in new.options
    )
    if len(options) == len(old.options) and all(a is b for a, b in zip(options, old.options, strict=True)):
        options = old.options
    return replace(new, options=options)


def _shares(old: PolicySnapshot, new: PolicySnapshot) -> bool:
    """True when nothing changed that every task depends on."""
    return (
        old.options is new.options
        and old.weights == new.weights
        and old.memory_budget_bytes == new.memory_budget_bytes
        and old.hardware == new.hardware
        and old.hour == new.hour
    )


def _same_task(old: PolicySnapshot, new: PolicySnapshot, task: str) -> bool:
    return (
        old.evidence.get(task) is new.evidence.get(task)
        and old.beliefs_on(task) is new.beliefs_on(task)
        and old.lessons.get(task) is new.lessons.get(task)
        and old.tasks.get(task) == new.tasks.get(task)
        and old.bindings.get(task) == new.bindings.get(task)
        and old.splits.get(task) == new.splits.get(task)
    )

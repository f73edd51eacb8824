"""The record of models, tasks, decisions and outcomes, and the values that cross into it. Protocols and small values; no implementation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from podium.domain.cost import Operation, SpentKey, SpentRow
from podium.domain.decision import Decision, Feedback, Outcome
from podium.domain.directive import Directive
from podium.domain.evidence import Evidence
from podium.domain.knowledge import TaskKnowledge
from podium.domain.model import ModelVersion, Profile, Transition
from podium.domain.swap import Event, Swap
from podium.domain.task import Binding, TaskSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Everything a start reads back from the store."""

    versions: tuple[ModelVersion, ...]
    profiles: Mapping[str, Profile]
    aliases: Mapping[str, str]
    tasks: tuple[TaskSpec, ...]
    bindings: tuple[Binding, ...]
    evidence: Mapping[tuple[str, str], Evidence]
    """By (task, ref)."""
    unfinished_swaps: tuple[Swap, ...]
    directives: Mapping[str, Directive] = field(default_factory=dict)
    """Standing orders about versions, by ref."""
    learned: Mapping[str, bytes] = field(default_factory=dict)
    """What learners kept, by name."""
    knowledge: Mapping[str, TaskKnowledge] = field(default_factory=dict)
    """By task."""
    keep_until: Mapping[str, float] = field(default_factory=dict)
    """Until when (Unix seconds) each deprecated version is kept warm, by ref."""
    spending: Mapping[SpentKey, SpentRow] = field(default_factory=dict)
    """Sums of what was spent in the newest hours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One group commit of the write-behind recorder. ``evidence``, ``knowledge`` and ``spending`` hold whole rows, never deltas."""

    decisions: Sequence[tuple[Decision, Outcome]] = ()
    feedback: Sequence[Feedback] = ()
    events: Sequence[Event] = ()
    evidence: Mapping[tuple[str, str], Evidence] | None = None
    knowledge: Mapping[str, TaskKnowledge] | None = None
    operations: Sequence[Operation] = ()
    spending: Mapping[SpentKey, SpentRow] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A window into a listing."""

    limit: int = 100
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """Which decisions to look for; what is ``None`` is any."""

    task: str | None = None
    model: str | None = None
    """The version that was asked: a name, or ``name@version``."""
    failed: bool | None = None


class Store(Protocol):
    """Durable state. Every coroutine returns after its transaction is committed, or raises ``StoreError``
    (disk full, read-only) or ``Conflict`` (the database refused: immutable version, illegal transition).

    All writes go through one writer thread; ``write_batch`` calls that queue up share a commit.
    """

    async def load(self) -> Recorded: ...

    async def add_version(self, version: ModelVersion, by: str) -> None: ...

    async def remove_version(self, ref: str) -> None:
        """Delete a version that never got past its registration. Raises ``Conflict`` for any other."""
        ...

    async def set_status(self, transition: Transition, *, keep_until: float | None = None) -> None:
        """Record a transition and change the status; ``keep_until`` is kept while the version is deprecated."""
        ...

    async def set_profile(self, ref: str, profile: Profile) -> None: ...

    async def save_learned(self, name: str, content: bytes, at: float) -> None:
        """Replace the whole state of one learner."""
        ...

    async def set_directive(self, ref: str, directive: Directive | None) -> None:
        """Standing orders for a version; ``None`` removes them."""
        ...

    async def set_alias(self, alias: str, target: str | None) -> None:
        """``None`` removes the alias."""
        ...

    async def put_task(self, task: TaskSpec) -> None: ...

    async def save_swap(self, swap: Swap, binding: Binding | None, event: Event) -> None:
        """Insert or update a swap; with ``binding`` the task moves in the same transaction."""
        ...

    async def unbind(self, task: str, event: Event) -> None:
        """Delete the binding of a task, and record the event in the same transaction."""
        ...

    async def write_batch(self, batch: Batch) -> None: ...

    async def transitions(self, ref: str) -> tuple[Transition, ...]: ...

    async def swaps(self, task: str | None, page: Page) -> tuple[Swap, ...]:
        """Newest first."""
        ...

    async def events(self, after_id: int, page: Page) -> tuple[Event, ...]:
        """Oldest first, ids greater than ``after_id``."""
        ...

    async def find_decisions(self, request_id: str) -> tuple[tuple[Decision, Outcome], ...]:
        """All attempts of one request, oldest first; empty when unknown."""
        ...

    async def recent_decisions(self, page: Page, sought: Sought | None = None) -> tuple[tuple[Decision, Outcome], ...]:
        """Newest first; of those sought, among the newest half a million."""
        ...

    async def find_feedback(self, request_id: str) -> tuple[Feedback, ...]: ...

    async def counts(self) -> Mapping[str, int]:
        """Rows per table, for ``doctor``."""
        ...

    async def prune(self, max_decisions: int, older_than: float) -> int:
        """Delete decisions (with outcomes) beyond the cap or older than the Unix time; returns how many."""
        ...

    async def close(self) -> None: ...

"""The tasks of this installation: built in, configured, bound, or named by a caller.

A caller may name a task that nobody configured; it then exists with default criteria, so that evidence gathers
under its name. The number of such names is bounded.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import replace

from podium.core.classify import BUILTIN_TASKS
from podium.domain.task import DEFAULT_TASK, TaskSpec
from podium.errors import InvalidRequest, NotFound
from podium.ports import Store

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
MAX_TASKS = 10_000


class Tasks:
    """Knows every task by name. Reads are synchronous; ``put`` is durable when it returns."""

    def __init__(self, store: Store, specs: Iterable[TaskSpec], strategy: str) -> None:
        self._store = store
        self._strategy = strategy
        self._specs: dict[str, TaskSpec] = {}
        self._unset = {DEFAULT_TASK, *BUILTIN_TASKS}
        """Tasks that nobody configured."""
        for name in (DEFAULT_TASK, *BUILTIN_TASKS):
            self._specs[name] = TaskSpec(name=name, strategy=strategy)
        for spec in specs:
            self._specs[spec.name] = spec
            self._unset.discard(spec.name)
        self._tuple = tuple(self._specs.values())

    def specs(self) -> tuple[TaskSpec, ...]:
        """All tasks, in no particular order."""
        return self._tuple

    def known(self, name: str) -> bool:
        """Whether the task exists already."""
        return name in self._specs

    def get(self, name: str) -> TaskSpec:
        """The task; ``NotFound`` names the nearest ones."""
        spec = self._specs.get(name)
        if spec is None:
            raise NotFound(self.unknown(name), code="task_not_found")
        return spec

    def like(self, name: str) -> list[str]:
        """Tasks with a similar name, the nearest first."""
        return difflib.get_close_matches(name, self._specs, n=3, cutoff=0.5)

    def unknown(self, name: str) -> str:
        """What to tell somebody who asked for a task that is not there."""
        near = self.like(name)
        hint = f"did you mean {', '.join(near)}?" if near else "`podium tasks ls` lists them"
        return f"there is no task {name[:64]!r}; {hint}"

    def ensure(self, name: str) -> TaskSpec:
        """The task, made with default criteria if it is new."""
        spec = self._specs.get(name)
        if spec is not None:
            return spec
        check_name(name)
        if len(self._specs) >= MAX_TASKS:
            raise InvalidRequest(f"{MAX_TASKS} task names are in use; reuse one of them", param="task")
        self._unset.add(name)
        return self._keep(self.draft(name))

    def draft(self, name: str) -> TaskSpec:
        """The task as it is, or as it would begin; nothing is kept."""
        return self._specs.get(name) or TaskSpec(name=name, strategy=self._strategy)

    async def put(self, spec: TaskSpec) -> None:
        """Create or replace a task's settings."""
        check_name(spec.name)
        await self._store.put_task(spec)
        self._unset.discard(spec.name)
        self._keep(spec)

    def inherit(self, strategy: str) -> None:
        """Put another strategy in force for tasks that nobody configured, present and future ones."""
        self._strategy = strategy
        for name in self._unset:
            self._specs[name] = replace(self._specs[name], strategy=strategy)
        self._tuple = tuple(self._specs.values())

    def _keep(self, spec: TaskSpec) -> TaskSpec:
        self._specs[spec.name] = spec
        self._tuple = tuple(self._specs.values())
        return spec


def check_name(name: str) -> None:
    """Raise ``InvalidRequest`` unless ``name`` can name a task."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name[:64]!r} cannot name a task: use up to 64 of a-z 0-9 . _ -, beginning with a letter or digit",
            param="task",
        )

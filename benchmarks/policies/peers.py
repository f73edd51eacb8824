"""Development-only peers of the policy table: plain rules of the literature, and packages where they are installed."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from podium.core.policies import Pick, Policy
from policies.streams import Data

PACKAGES = ("mabwiser", "river", "pareto_bandit")


class Fixed:
    """Always the model that is best over the whole file, known in hindsight."""

    def __init__(self, data: Data) -> None:
        self._best = data.models[int(data.quality.mean(axis=0).argmax())]

    def choose(self, task: str, arms: Sequence[str], draw: float, context: Any = None) -> Pick:
        return Pick(self._best if self._best in arms else arms[0], 1.0)

    def observe(self, task: str, arm: str, score: float, **_: Any) -> None:
        pass


class Ucb:
    """Mean plus ``c sqrt(ln t / n)`` per task."""

    def __init__(self, c: float) -> None:
        self._c, self._seen = c, {}

    def choose(self, task: str, arms: Sequence[str], draw: float, context: Any = None) -> Pick:
        seen = self._seen.setdefault(task, {})
        log = math.log(1.0 + sum(n for n, _ in seen.values()))

        def index(arm: str) -> float:
            n, total = seen.get(arm, (0, 0.0))
            return total / n + self._c * math.sqrt(log / n) if n else math.inf

        return Pick(max(arms, key=index), 1.0)

    def observe(self, task: str, arm: str, score: float, **_: Any) -> None:
        n, total = self._seen.setdefault(task, {}).get(arm, (0, 0.0))
        self._seen[task][arm] = (n + 1, total + score)


class SharedLinUcb:
    """LinUCB with forgetting on the features task + arm + (task, arm), so that tasks and arms share strength.

    What is forgotten gives way to the prior; the inverse is made anew every 25 observations and updated in between.
    """

    def __init__(self, data: Data, alpha: float = 0.4, keep: float = 0.997, cell: float = 0.7) -> None:
        self._tasks = {name: k for k, name in enumerate(data.tasks)}
        self._arms = {name: m for m, name in enumerate(data.models)}
        size = len(data.tasks) + len(data.models) + len(data.tasks) * len(data.models)
        self._precision, self._inverse, self._b = np.eye(size), np.eye(size), np.zeros(size)
        self._seen, self._every = 0, 25
        self._alpha, self._keep, self._cell = alpha, keep, cell

    def _at(self, task: str, arm: str) -> tuple[list[int], Any]:
        k, m, tasks, arms = self._tasks[task], self._arms[arm], len(self._tasks), len(self._arms)
        return [k, tasks + m, tasks + arms + k * arms + m], np.array([1.0, 1.0, self._cell])

    def choose(self, task: str, arms: Sequence[str], draw: float, context: Any = None) -> Pick:
        indices = []
        for arm in arms:
            at, x = self._at(task, arm)
            mean = x @ (self._inverse[at] @ self._b)
            indices.append(mean + self._alpha * math.sqrt(x @ self._inverse[np.ix_(at, at)] @ x))
        return Pick(arms[int(np.argmax(indices))], 1.0)

    def observe(self, task: str, arm: str, score: float, **_: Any) -> None:
        at, x = self._at(task, arm)
        self._precision *= self._keep
        self._precision[np.diag_indices_from(self._precision)] += 1.0 - self._keep
        self._precision[np.ix_(at, at)] += np.outer(x, x)
        self._seen += 1
        if self._seen % self._every == 0:
            self._inverse = np.linalg.inv(self._precision)
        else:
            g = self._inverse[:, at] @ x
            self._inverse -= np.outer(g, g) / (1.0 + x @ g[at])
        self._b *= self._keep
        self._b[at] += score * x


class Wise:
    """MABWiser, UCB1 with alpha 0.4, one for each task."""

    def __init__(self, data: Data) -> None:
        from mabwiser.mab import MAB, LearningPolicy  # noqa: PLC0415 - only where installed

        self._make = lambda: MAB(list(data.models), LearningPolicy.UCB1(alpha=0.4), seed=1)
        self._by_task: dict[str, Any] = {}

    def choose(self, task: str, arms: Sequence[str], draw: float, context: Any = None) -> Pick:
        one = self._by_task.get(task)
        if one is None:
            return Pick(arms[int(draw * len(arms))], None)
        indices = one.predict_expectations()
        return Pick(max(arms, key=lambda arm: indices[arm]), 1.0)

    def observe(self, task: str, arm: str, score: float, **_: Any) -> None:
        one = self._by_task.get(task)
        if one is None:
            one = self._by_task[task] = self._make()
            one.fit([arm], [score])
        else:
            one.partial_fit([arm], [score])


class Stream:
    """River, Thompson sampling with Beta posteriors, one for each task."""

    def __init__(self, data: Data) -> None:
        from river import bandit, proba  # noqa: PLC0415 - only where installed

        self._make = lambda: bandit.ThompsonSampling(reward_obj=proba.Beta(), seed=1)
        self._rng = np.random.default_rng(1)
        self._by_task: dict[str, Any] = {}

    def choose(self, task: str, arms: Sequence[str], draw: float, context: Any = None) -> Pick:
        one = self._by_task.setdefault(task, self._make())
        return Pick(one.pull(list(arms)), None)

    def observe(self, task: str, arm: str, score: float, **_: Any) -> None:
        # Its Beta takes truth values only: a graded score counts as right with that probability.
        self._by_task.setdefault(task, self._make()).update(arm, bool(self._rng.random() < score))


class Pareto:
    """The learner of the package paretobandit with its default settings; the context is the task's one-hot."""

    def __init__(self, data: Data) -> None:
        from pareto_bandit import DisjointLinUCBPolicy  # noqa: PLC0415 - only where installed

        self._tasks = {name: k for k, name in enumerate(data.tasks)}
        self._policy = DisjointLinUCBPolicy(list(data.models), dim=len(data.tasks), seed=1)

    def _x(self, task: str) -> Any:
        x = np.zeros(len(self._tasks))
        x[self._tasks[task]] = 1.0
        return x

    def choose(self, task: str, arms: Sequence[str], draw: float, context: Any = None) -> Pick:
        chosen = self._policy.select_arm(self._x(task), list(arms))
        self._policy.mark_selected(chosen[0])
        return Pick(chosen[0], None)

    def observe(self, task: str, arm: str, score: float, **_: Any) -> None:
        self._policy.update(arm, self._x(task), score, advance_time=False)


PEERS: dict[str, tuple[str | None, Callable[[Data], Policy]]] = {
    "best single, hindsight": (None, Fixed),
    "UCB, c = .4": (None, lambda data: Ucb(0.4)),
    "LinUCB shared, forgetting .997": (None, SharedLinUcb),
    "MABWiser UCB1": ("mabwiser", Wise),
    "River Thompson": ("river", Stream),
    "paretobandit": ("pareto_bandit", Pareto),
}
"""The package each needs, and how it is made."""


def installed(package: str | None) -> bool:
    return package is None or importlib.util.find_spec(package) is not None

"""The experiments: which requests come, what each model would score, and what the yardstick is at every moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from podium.core.policies import Policy
from podium.datasets.table import open_table

LOSING = 6
WINDOW, BACK = 20, 0.95


@dataclass(frozen=True)
class Data:
    """One file: N prompts, M models, K tasks."""

    name: str
    models: tuple[str, ...]
    tasks: tuple[str, ...]
    task: NDArray[np.int64]
    quality: NDArray[np.float64]

    @property
    def means(self) -> NDArray[np.float64]:
        """(K, M)."""
        return np.stack([self.quality[self.task == k].mean(axis=0) for k in range(len(self.tasks))])


def load(path: Path) -> Data:
    table = open_table(path)
    columns = [name for name in table.names if name.startswith("q__")]
    names: list[str] = []
    parts = []
    for chunk in table.chunks(["task"], columns):
        names += chunk.texts[0]
        parts.append(chunk.numbers)
    quality = np.concatenate(parts)
    whole = ~np.isnan(quality).any(axis=1)
    tasks = sorted(set(names))
    task = np.array([tasks.index(name) for name in names])
    models = tuple(name[3:] for name in columns)
    return Data(path.stem, models, tuple(tasks), task[whole], quality[whole])


@dataclass(frozen=True)
class Stream:
    """T requests. ``means[phase]`` are the models' true values; the phase changes at ``switch``."""

    data: Data
    task: NDArray[np.int64]
    quality: NDArray[np.float64]
    draws: NDArray[np.float64]
    means: tuple[NDArray[np.float64], NDArray[np.float64]]
    switch: int
    arms: tuple[tuple[str, ...], tuple[str, ...]]
    """Offered before and after the switch."""
    columns: dict[str, int] = field(default_factory=dict)
    losing: tuple[int, ...] = ()


def plain(data: Data, seed: int, length: int | None) -> Stream:
    """One pass in random order."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(data.task.size)[:length]
    draws = rng.random(order.size)
    means = data.means
    return Stream(
        data, data.task[order], data.quality[order], draws, (means, means), order.size, (data.models, data.models),
        {name: at for at, name in enumerate(data.models)},
    )  # fmt: skip


def degrade(data: Data, seed: int, length: int = 10_000) -> Stream:
    """Bootstrapped; at half-stream the best model of six tasks drawn at random loses half its quality."""
    rng = np.random.default_rng(seed)
    order = rng.integers(0, data.task.size, length)
    task, quality, draws = data.task[order], data.quality[order].copy(), rng.random(length)
    before = data.means
    after, half = before.copy(), length // 2
    losing = tuple(int(k) for k in rng.permutation(len(data.tasks))[:LOSING])
    for k in losing:
        best = int(before[k].argmax())
        after[k, best] *= 0.5
        quality[(task == k) & (np.arange(length) >= half), best] *= 0.5
    columns = {name: at for at, name in enumerate(data.models)}
    return Stream(data, task, quality, draws, (before, after), half, (data.models, data.models), columns, losing)


def arrival(data: Data, seed: int, length: int = 6_000) -> Stream:
    """The globally best model is registered at half-stream."""
    whole = plain(data, seed, length)
    best = data.models[int(data.quality.mean(axis=0).argmax())]
    early = tuple(name for name in data.models if name != best)
    return Stream(
        data, whole.task, whole.quality, whole.draws, whole.means, whole.task.size // 2, (early, data.models),
        whole.columns,
    )  # fmt: skip


def successor(data: Data, seed: int, *, misleading: bool, length: int = 6_000) -> Stream:
    """At half-stream every model is replaced by its next version.

    Informative: the next version behaves as the old one did. Misleading: it behaves as another model did, drawn
    so that no version keeps its own behaviour. The stream is bootstrapped, the draws are the same in both.
    """
    rng = np.random.default_rng(seed)
    order = rng.integers(0, data.task.size, length)
    draws = rng.random(length)
    turn = np.roll(np.arange(len(data.models)), 1) if misleading else np.arange(len(data.models))
    if misleading:
        mixed = rng.permutation(len(data.models))
        turn = np.empty_like(mixed)
        turn[mixed] = np.roll(mixed, 1)
    quality, means, half = data.quality[order].copy(), data.means, length // 2
    quality[half:] = quality[half:][:, turn]
    later = tuple(f"{name}@2" for name in data.models)
    columns = {name: at for names in (data.models, later) for at, name in enumerate(names)}
    return Stream(data, data.task[order], quality, draws, (means, means[:, turn]), half, (data.models, later), columns)


@dataclass(frozen=True)
class Outcome:
    regret: float
    final: float
    late_regret: float
    """From the switch on."""
    first_late: float
    """In the 1,000 requests after the switch."""
    recovery: tuple[float, ...]
    """Requests of each losing task until it is back; infinite when never."""


def play(stream: Stream, policy: Policy) -> Outcome:
    """Show the policy the stream; it sees the chosen model's score only."""
    data, columns = stream.data, stream.columns
    size = stream.task.size
    regret, best_of, chosen_mean = np.zeros(size), np.zeros(size), np.zeros(size)
    best: dict[tuple[int, int], float] = {}
    tasks = stream.task.tolist()
    for t in range(size):
        phase = int(t >= stream.switch)
        arms, k = stream.arms[phase], tasks[t]
        arm = policy.choose(data.tasks[k], arms, float(stream.draws[t])).arm
        m = columns[arm]
        policy.observe(data.tasks[k], arm, float(stream.quality[t, m]))
        if (phase, k) not in best:
            best[phase, k] = float(stream.means[phase][k, [columns[name] for name in arms]].max())
        best_of[t], chosen_mean[t] = best[phase, k], stream.means[phase][k, m]
    regret = best_of - chosen_mean
    last = slice(int(0.8 * size), size)
    recovery = []
    for k in stream.losing:
        here = (stream.task == k) & (np.arange(size) >= stream.switch)
        total = np.concatenate(([0.0], np.cumsum(chosen_mean[here])))
        back = np.flatnonzero((total[WINDOW:] - total[:-WINDOW]) / WINDOW >= BACK * best[1, k] - 1e-12)
        recovery.append(float(back[0] + WINDOW) if back.size else float("inf"))
    late = regret[stream.switch :]
    return Outcome(
        float(regret.sum()), float(chosen_mean[last].sum() / best_of[last].sum()), float(late.sum()),
        float(late[:1000].sum()), tuple(recovery),
    )  # fmt: skip

"""Cells: what many operations cost, in bounded memory, so that means and percentiles can be read and cells be added up.

Owns the list of figures, how one operation gives them, and the form of a cell as bytes. Reads no clock, knows no tables.

Of every figure a cell holds count, mean, sum of squared deviations (added up as in Chan, Golub and LeVeque, 1979), the
smallest, the largest and the number of estimates, and a histogram in steps of 4 % (Masson, Rim, Lee: "DDSketch", VLDB
2019), so that a percentile is within ``ACCURACY`` of the operation with that rank. Some 1 to 8 kB, however many operations.
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podium.core.history import NOT_ITS_DOING
from podium.domain.cost import Cost, Method
from podium.domain.record import record

Floats = NDArray[np.float64]

BASE = (
    "wall_ms",
    "wait_ms",
    "ttft_ms",
    "cpu_ms",
    "gpu_ms",
    "peak_memory_mb",
    "mean_memory_mb",
    "mapped_memory_mb",
    "energy_mwh",
    "price_microusd",
    "input_tokens",
    "output_tokens",
    "tokens_per_s",
)
PER_TOKEN = ("wall_ms", "cpu_ms", "gpu_ms", "energy_mwh", "price_microusd")
FIGURES = (*BASE, *(f"{name}_per_token" for name in PER_TOKEN))
"""In the order in which cells hold them: append only. Per token: of the answer; of the input where nothing is generated."""
PLACE = {name: place for place, name in enumerate(FIGURES)}
ACCURACY = 0.02
_LOG_GAMMA = math.log((1 + ACCURACY) / (1 - ACCURACY))
_OFFSET = 520
_BUCKETS = 2048
"""Of one figure. Bucket 0 holds what is 0, 1 what is below 1e-9."""
_N, _MEAN, _SQUARES, _LEAST, _MOST, _ESTIMATED = range(6)
_HEAD = struct.Struct("<BIIIddHI")
_FORMAT = 1
_MOST_REASONS = 32


@record
@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """One operation, as a cell takes it."""

    success: bool
    error: str | None
    at: float
    """Unix time of its end."""
    cost: Cost
    wait_ms: float | None
    """From the decision to its place on an instance, loading included; ``None``: not known."""
    ttft_ms: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """Sums over operations. Times in milliseconds, memory in MB, energy in mWh, money in millionths of a dollar."""

    operations: int
    failed: int
    left: int
    busy_ms: float
    last_at: float
    moments: Floats
    """Shape (figures, 6)."""
    keys: NDArray[np.uint16]
    """``place * 2048 + bucket`` of the buckets that are not empty, ascending."""
    counts: NDArray[np.uint32]
    reasons: tuple[tuple[str, str, int], ...] = ()
    """(figure, why it is missing, how often)."""


def empty(busy_ms: float = 0.0) -> Cell:
    """A cell without operations."""
    nothing = np.zeros(0, dtype=np.uint16), np.zeros(0, dtype=np.uint32)
    return Cell(0, 0, 0, busy_ms, 0.0, np.zeros((len(FIGURES), 6)), *nothing)


def figures_of(operations: Sequence[Spent]) -> Floats:
    """Shape (operations, figures), in the order of ``FIGURES``; ``nan`` for what is not known or no number."""
    read = [
        (
            one.cost.wall_ms,
            one.wait_ms,
            one.ttft_ms,
            one.cost.cpu_ms,
            one.cost.gpu_ms,
            one.cost.peak_memory_mb,
            one.cost.mean_memory_mb,
            one.cost.mapped_memory_mb,
            one.cost.energy_mwh,
            one.cost.price_microusd,
            one.cost.input_tokens,
            one.cost.output_tokens,
            one.cost.tokens_per_s,
        )
        for one in operations
    ]
    base = np.array(read, dtype=np.float64).reshape(len(read), len(BASE))  # None becomes nan
    base[~np.isfinite(base) | (base < 0)] = np.nan
    written, asked = base[:, PLACE["output_tokens"]], base[:, PLACE["input_tokens"]]
    tokens = np.where(written > 0, written, np.where(asked > 0, asked, np.nan))
    return np.hstack([base, base[:, [PLACE[name] for name in PER_TOKEN]] / tokens[:, np.newaxis]])


def cell_of(operations: Sequence[Spent]) -> Cell:
    """One cell of many operations. Figures come from answers only: a fast failure is not fast."""
    counted = [one for one in operations if one.error not in NOT_ITS_DOING]
    good = [one for one in counted if one.success]
    last_at = max((one.at for one in operations), default=0.0)
    values = figures_of(good)
    estimated = np.zeros(values.shape, dtype=bool)
    reasons: Counter[tuple[str, str]] = Counter()
    for row, one in enumerate(good):
        for name in one.cost.estimated:
            _mark(estimated[row], name)
        if one.cost.energy_method is Method.ESTIMATED:
            _mark(estimated[row], "energy_mwh")
        reasons.update(one.cost.missing)
    known = ~np.isnan(values)
    moments = np.zeros((len(FIGURES), 6))
    n = known.sum(axis=0)
    filled = np.where(known, values, 0.0)
    mean = filled.sum(axis=0) / np.maximum(n, 1)
    moments[:, _N], moments[:, _MEAN] = n, mean
    moments[:, _SQUARES] = np.where(known, (filled - mean) ** 2, 0.0).sum(axis=0)
    if good:
        moments[:, _LEAST] = np.where(n > 0, np.where(known, values, np.inf).min(axis=0), 0.0)
        moments[:, _MOST] = np.where(n > 0, np.where(known, values, -np.inf).max(axis=0), 0.0)
    moments[:, _ESTIMATED] = (estimated & known).sum(axis=0)
    places = np.broadcast_to(np.arange(len(FIGURES)), values.shape)[known]
    keys, counts = np.unique(places * _BUCKETS + _bucket(values[known]), return_counts=True)
    return Cell(
        operations=len(counted),
        failed=len(counted) - len(good),
        left=len(operations) - len(counted),
        busy_ms=0.0,
        last_at=last_at,
        moments=moments,
        keys=keys.astype(np.uint16),
        counts=counts.astype(np.uint32),
        reasons=_commonest((*key, count) for key, count in reasons.items()),
    )


def _mark(row: NDArray[np.bool_], name: str) -> None:
    """Estimates of a figure are estimates per token, too; of tokens: everything per token is."""
    if name in PLACE:
        row[PLACE[name]] = True
    if name in PER_TOKEN:
        row[PLACE[f"{name}_per_token"]] = True
    if name == "output_tokens":
        row[PLACE["tokens_per_s"]] = True
        row[len(BASE) :] = True


def added(cells: Sequence[Cell]) -> Cell:
    """All of them together."""
    if not cells:
        return empty()
    if len(cells) == 1:
        return cells[0]
    stacked = np.stack([cell.moments for cell in cells])
    n = stacked[:, :, _N]
    total = n.sum(axis=0)
    mean = (n * stacked[:, :, _MEAN]).sum(axis=0) / np.maximum(total, 1)
    moments = np.zeros_like(cells[0].moments)
    moments[:, _N], moments[:, _MEAN] = total, mean
    moments[:, _SQUARES] = (stacked[:, :, _SQUARES] + n * (stacked[:, :, _MEAN] - mean) ** 2).sum(axis=0)
    moments[:, _LEAST] = np.where(total > 0, np.where(n > 0, stacked[:, :, _LEAST], np.inf).min(axis=0), 0.0)
    moments[:, _MOST] = np.where(total > 0, np.where(n > 0, stacked[:, :, _MOST], -np.inf).max(axis=0), 0.0)
    moments[:, _ESTIMATED] = stacked[:, :, _ESTIMATED].sum(axis=0)
    weights = np.concatenate([cell.counts for cell in cells])
    keys, which = np.unique(np.concatenate([cell.keys for cell in cells]), return_inverse=True)
    reasons: Counter[tuple[str, str]] = Counter()
    for cell in cells:
        for figure, why, count in cell.reasons:
            reasons[figure, why] += count
    return Cell(
        operations=sum(cell.operations for cell in cells),
        failed=sum(cell.failed for cell in cells),
        left=sum(cell.left for cell in cells),
        busy_ms=math.fsum(cell.busy_ms for cell in cells),
        last_at=max(cell.last_at for cell in cells),
        moments=moments,
        keys=keys,
        counts=np.bincount(which, weights=weights, minlength=len(keys)).astype(np.uint32),
        reasons=_commonest((*key, count) for key, count in reasons.items()),
    )


class Gathering:
    """Adds up cells as they are read, a few hundred at a time, so that memory stays bounded."""

    def __init__(self) -> None:
        self._cells: list[Cell] = []

    def add(self, cell: Cell) -> None:
        """One more."""
        self._cells.append(cell)
        if len(self._cells) >= 256:
            self._cells = [added(self._cells)]

    def cell(self) -> Cell:
        """All so far."""
        self._cells = [added(self._cells)]
        return self._cells[0]


# ------------------------------------------------------------ reading


def count(cell: Cell, figure: str) -> int:
    """Operations that have the figure."""
    return int(cell.moments[PLACE[figure], _N])


def mean(cell: Cell, figure: str) -> float | None:
    """``None`` when no operation has it."""
    row = cell.moments[PLACE[figure]]
    return float(row[_MEAN]) if row[_N] else None


def variance(cell: Cell, figure: str) -> float | None:
    """Of one operation, unbiased; ``None`` with fewer than two."""
    row = cell.moments[PLACE[figure]]
    return float(row[_SQUARES] / (row[_N] - 1)) if row[_N] > 1 else None


def total(cell: Cell, figure: str) -> float | None:
    """The sum; ``None`` when no operation has it."""
    row = cell.moments[PLACE[figure]]
    return float(row[_MEAN] * row[_N]) if row[_N] else None


def extremes(cell: Cell, figure: str) -> tuple[float, float] | None:
    """(smallest, largest)."""
    row = cell.moments[PLACE[figure]]
    return (float(row[_LEAST]), float(row[_MOST])) if row[_N] else None


def estimates(cell: Cell, figure: str) -> int:
    """Of those that have the figure, how many are estimates."""
    return int(cell.moments[PLACE[figure], _ESTIMATED])


def ranked(cell: Cell, figure: str, ranks: Sequence[int]) -> list[float]:
    """The values with these ranks (from 1, each at most ``count``), each within ``ACCURACY``."""
    place = PLACE[figure]
    first, last = np.searchsorted(cell.keys, [place * _BUCKETS, (place + 1) * _BUCKETS])
    within = cell.keys[first:last].astype(np.int64) - place * _BUCKETS
    upto = np.cumsum(cell.counts[first:last].astype(np.int64))
    found = within[np.searchsorted(upto, ranks)]
    low, high = extremes(cell, figure) or (0.0, 0.0)
    return [min(high, max(low, _value(int(bucket)))) for bucket in found]


def _bucket(values: Floats) -> NDArray[np.int64]:
    with np.errstate(divide="ignore"):
        steps = np.ceil(np.log(values) / _LOG_GAMMA - 1e-12) + _OFFSET
    return np.where(values > 0, np.clip(steps, 1, _BUCKETS - 1), 0).astype(np.int64)


def _value(bucket: int) -> float:
    return 0.0 if bucket == 0 else math.exp((bucket - _OFFSET) * _LOG_GAMMA) * (1 - ACCURACY)


# ------------------------------------------------------------ as bytes


def dump(cell: Cell) -> bytes:
    """The whole cell."""
    head = (_FORMAT, cell.operations, cell.failed, cell.left, cell.busy_ms, cell.last_at)
    reasons = json.dumps(cell.reasons, ensure_ascii=False, separators=(",", ":")).encode() if cell.reasons else b""
    return b"".join(
        (
            _HEAD.pack(*head, len(cell.moments), len(cell.keys)),
            cell.moments.astype("<f8").tobytes(),
            cell.keys.astype("<u2").tobytes(),
            cell.counts.astype("<u4").tobytes(),
            reasons,
        )
    )


def load(content: bytes) -> Cell:
    """What ``dump`` gave, of this or an earlier list of figures. Raises ``ValueError`` for anything else."""
    try:
        form, operations, failed, left, busy_ms, last_at, figures, buckets = _HEAD.unpack_from(content)
        if form != _FORMAT:
            raise ValueError(f"a cell of costs of format {form}, not {_FORMAT}")
        at = _HEAD.size
        moments = np.frombuffer(content, "<f8", figures * 6, at).reshape(figures, 6)
        at += figures * 48
        keys = np.frombuffer(content, "<u2", buckets, at)
        counts = np.frombuffer(content, "<u4", buckets, at + 2 * buckets)
        tail = content[at + 6 * buckets :]
        reasons = tuple((str(a), str(b), int(c)) for a, b, c in json.loads(tail)) if tail else ()
    except (struct.error, TypeError) as error:
        raise ValueError(f"a cell of costs cannot be read ({error})") from None
    if figures < len(FIGURES):
        moments = np.vstack([moments, np.zeros((len(FIGURES) - figures, 6))])
    elif figures > len(FIGURES):  # written by a newer version
        moments, known = moments[: len(FIGURES)], keys < len(FIGURES) * _BUCKETS
        keys, counts = keys[known], counts[known]
    return Cell(operations, failed, left, busy_ms, last_at, moments, keys, counts, reasons)


def _commonest(reasons: Iterable[tuple[str, str, int]]) -> tuple[tuple[str, str, int], ...]:
    return tuple(sorted(reasons, key=lambda one: (-one[2], one[0], one[1]))[:_MOST_REASONS])

"""The learner's whole state as bytes and back, bit for bit.

Owns the format: a magic word, the version of the format, a CRC-32, a JSON header, then arrays of little-endian 64-bit
floats. Always the whole state, never a difference. Must not touch files.

A cell takes 14 numbers, 112 bytes; the rest is a few numbers for each task, arm and installation.
"""

from __future__ import annotations

import json
import math
import zlib

import numpy as np

from podium.core.bandit import Bandit
from podium.core.change import SLOTS
from podium.core.quality import CLAIMS, Fit, Spread

MAGIC = b"podium-beliefs\n"
FORMAT = 1
_HEAD = len(MAGIC) + 12


class UnreadableBeliefs(ValueError):
    """Bytes that are no state of this format: another version, cut off or damaged. Rebuild from the outcome log."""


def dump(policy: Bandit) -> bytes:
    """Everything ``policy`` knows."""
    cells, fit = policy.cells, policy.fit
    used = cells.used
    header = {
        "settings": [policy.alpha, policy.horizon, policy.epsilon],
        "drift": policy.drift,
        "limits": [cells.max_tasks, cells.max_arms],
        "tasks": list(cells.tasks),
        "arms": list(cells.arms),
        "claims": {arm: [None if math.isnan(x) else x for x in given] for arm, given in policy.claims.items()},
        "predecessors": policy.predecessors,
        "counters": [policy.fits, policy.alarms, policy.count, policy.last_fit, policy.next_fit],
        "spread": [fit.spread.arm, fit.spread.task, fit.spread.cell, fit.spread.phi],
        "mean": fit.mean,
        "fitted": list(fit.base.shape),
    }
    arrays = [cells.n[used], cells.total[used], cells.squares[used], cells.changed[used], cells.watched[used]]
    arrays += [fit.base, fit.base_var, fit.level, fit.level_var, fit.beta]
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    body = len(text).to_bytes(4, "little") + text + b"".join(one.astype("<f8").tobytes() for one in arrays)
    return MAGIC + FORMAT.to_bytes(4, "little") + zlib.crc32(body).to_bytes(4, "little") + body


def load(data: bytes) -> Bandit:
    """The policy as it was. Raises ``UnreadableBeliefs``."""
    if not data.startswith(MAGIC):
        raise UnreadableBeliefs("these are no learned beliefs: rebuild them from the outcome log")
    version = int.from_bytes(data[len(MAGIC) : len(MAGIC) + 4], "little")
    if version != FORMAT:
        raise UnreadableBeliefs(f"the beliefs are of format {version}, not {FORMAT}: rebuild them from the outcome log")
    body = data[_HEAD - 4 :]
    if len(body) < 4 or zlib.crc32(body) != int.from_bytes(data[len(MAGIC) + 4 : len(MAGIC) + 8], "little"):
        raise UnreadableBeliefs("the beliefs are damaged or cut off: rebuild them from the outcome log")
    size = int.from_bytes(body[:4], "little")
    header = json.loads(body[4 : 4 + size])
    return _restored(header, np.frombuffer(body[4 + size :], dtype="<f8").astype(np.float64))


def _restored(header: dict[str, object], numbers: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Bandit:
    names = {key: [str(name) for name in _list(header[key])] for key in ("tasks", "arms")}
    alpha, horizon, epsilon = (float(str(x)) for x in _list(header["settings"]))
    limits = [int(str(x)) for x in _list(header["limits"])]
    policy = Bandit(
        alpha=alpha,
        horizon=horizon,
        epsilon=epsilon,
        drift=bool(header["drift"]),
        max_tasks=limits[0],
        max_arms=limits[1],
    )
    claims, predecessors = header["claims"], header["predecessors"]
    assert isinstance(claims, dict)
    assert isinstance(predecessors, dict)
    policy.claims = {arm: tuple(math.nan if x is None else float(x) for x in given) for arm, given in claims.items()}
    policy.predecessors = dict(predecessors)
    cells = policy.cells
    cells.tasks = {name: at for at, name in enumerate(names["tasks"])}
    cells.arms = {name: at for at, name in enumerate(names["arms"])}
    tasks, arms = len(cells.tasks), len(cells.arms)
    cells.grow(_room(tasks), _room(arms))
    place = 0

    def take(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        nonlocal place
        count = math.prod(shape)
        place += count
        return numbers[place - count : place].reshape(shape)

    used = cells.used
    cells.n[used], cells.total[used], cells.squares[used] = take(tasks, arms), take(tasks, arms), take(tasks, arms)
    cells.changed[used], cells.watched[used] = take(tasks, arms), take(tasks, arms, SLOTS)
    cells.remember()
    counters = [int(str(x)) for x in _list(header["counters"])]
    policy.fits, policy.alarms, policy.count, policy.last_fit, policy.next_fit = counters
    k, m = (int(str(x)) for x in _list(header["fitted"]))
    policy.fit = Fit(
        spread=Spread(*(float(str(x)) for x in _list(header["spread"]))),
        base=take(k, m),
        base_var=take(k, m),
        level=take(m),
        level_var=take(m),
        mean=float(str(header["mean"])),
        beta=take(CLAIMS),
    )
    return policy


def _list(value: object) -> list[object]:
    assert isinstance(value, list)
    return value


def _room(count: int) -> int:
    """The size ``Cells`` has grown to for this many names."""
    room = 4
    while room < count:
        room *= 2
    return room

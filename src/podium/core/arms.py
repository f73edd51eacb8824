"""The evidence of one rollout: what both arms did, in a bounded amount of memory, and what it says now.

Owns what is remembered of requests, scores and pairs, the history for the picture, and the bytes all this is kept in.
The formulas are in ``sequential``; how readings are made from sums is in ``arm_readings``. Must not decide what a
reading leads to, and must not read a clock.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from podium.core import arm_readings
from podium.core.arm_readings import PAIR_SUMS, Evidence
from podium.core.sequential.quantiles import Histogram
from podium.core.sequential.tallies import Tallies
from podium.domain.rollout import Arm, Metric, Reading, RolloutPlan, TracePoint

MAGIC = b"podium-arms\n"
FORMAT = 1
_HEAD = len(MAGIC) + 8
MOST_NOTES = 240
"""Moments kept for the picture; past this every second one is let go."""
MOST_PHASES = 64
_AT = {Arm.BASELINE: 0, Arm.CANDIDATE: 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One request that an arm answered or failed. Units as in the names."""

    success: bool
    latency_ms: float | None
    memory_mb: float | None
    energy_mwh: float | None
    propensity: float = 1.0
    """Probability with which this arm was drawn."""
    kept: bool = False
    """It was not drawn: its conversation had begun with this arm."""


class Arms:
    """Both arms of one rollout. Not thread-safe; ``plan`` sets level and limits of the readings."""

    def __init__(self, plan: RolloutPlan) -> None:
        self._plan = plan
        self._seen = Evidence()
        self._requests = [0, 0]
        self._kept = [0, 0]
        self._phase = 0
        self._share: float | None = None
        self._notes: list[tuple[TracePoint, ...]] = []
        self._stride = 1
        self._skipped = 0

    def observe(self, arm: Arm, sample: Sample) -> None:
        """One answered or failed request."""
        at, seen, phase = _AT[arm], self._seen, self._phase
        self._requests[at] += 1
        self._kept[at] += sample.kept
        seen.success.add(at, 1.0 if sample.success else 0.0, 1.0, phase, "")
        if not sample.success:
            return
        if sample.latency_ms is not None:
            seen.latency[at].add(sample.latency_ms)
        if sample.energy_mwh is not None:
            seen.energy.add(at, sample.energy_mwh, 1.0, phase, "")
        if sample.memory_mb is not None:
            seen.memory.add(at, sample.memory_mb, 1.0, 0, "")

    def score(self, arm: Arm, value: float, *, weight: float = 1.0, stratum: str | None = None) -> None:
        """One quality score in [0, 1]; a negative ``weight`` takes an earlier one back.

        ``stratum``: the kind of prompt (its difficulty, its source), the same for both arms; what it explains is
        removed from the comparison. Raises ``ValueError`` for a value outside [0, 1].
        """
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"a score is between 0 and 1, not {value}")
        self._seen.quality.add(_AT[arm], value, weight, self._phase, stratum or "")

    def pair(self, baseline: float, candidate: float) -> None:
        """Scores of both arms on the same prompt. Raises ``ValueError`` for a value outside [0, 1]."""
        if not (0.0 <= baseline <= 1.0 and 0.0 <= candidate <= 1.0):
            raise ValueError(f"scores are between 0 and 1, not {baseline} and {candidate}")
        sums = self._seen.pairs
        x, y = baseline, candidate
        for at, term in enumerate((1.0, x, y, x * x, y * y, x * y)):
            sums[at] += term

    def samples(self, arm: Arm) -> int:
        """Requests observed."""
        return self._requests[_AT[arm]]

    def kept(self, arm: Arm) -> int:
        """Those of them that were not drawn: their conversation had begun with the arm."""
        return self._kept[_AT[arm]]

    def readings(self) -> Mapping[Metric, Reading]:
        """Every metric; ``missing`` says why one has no numbers."""
        return arm_readings.readings(self._seen, self._plan)

    def needed(self) -> Mapping[Metric, int]:
        """Further answers of the candidate until a metric is decided, if all goes on as it did; 0: it is decided.

        A metric is left out where that cannot be told: too little seen, or no end in sight.
        """
        return arm_readings.needed(self._seen, self._plan)

    def note(self, at: float, share: float) -> None:
        """Add a point to the history, and begin a new phase of the comparison if the share changed."""
        if self._share is not None and share != self._share and 0.0 < share < 1.0:
            self._phase = min(self._phase + 1, MOST_PHASES)
        if 0.0 < share < 1.0:
            self._share = share
        self._skipped += 1
        if self._skipped < self._stride:
            return
        self._skipped = 0
        self._notes.append(
            tuple(
                TracePoint(
                    at=float(at),
                    share=float(share),
                    metric=one.metric,
                    baseline_n=one.baseline_n,
                    candidate_n=one.candidate_n,
                    baseline=one.baseline,
                    candidate=one.candidate,
                    lower=one.lower,
                    upper=one.upper,
                )
                for one in self.readings().values()
            )
        )
        if len(self._notes) > MOST_NOTES:
            self._notes = self._notes[::2]
            self._stride *= 2

    def trace(self) -> tuple[TracePoint, ...]:
        """Oldest first, at most ``MOST_NOTES`` points per metric; a metric without any values has none."""
        return tuple(point for note in self._notes for point in note if point.baseline_n or point.candidate_n)

    def dump(self) -> bytes:
        """Everything, so that ``load`` goes on as if nothing had happened."""
        seen = self._seen
        state = {
            "requests": self._requests,
            "kept": self._kept,
            "phase": self._phase,
            "share": self._share,
            "tallies": {name: getattr(seen, name).dump() for name in ("success", "quality", "energy", "memory")},
            "pairs": seen.pairs,
            "latency": [sorted(one.bins.items()) for one in seen.latency],
            "notes": [[list(asdict(point).values()) for point in note] for note in self._notes],
            "stride": [self._stride, self._skipped],
        }
        body = zlib.compress(json.dumps(state, ensure_ascii=False, separators=(",", ":")).encode(), 1)
        return MAGIC + FORMAT.to_bytes(4, "little") + zlib.crc32(body).to_bytes(4, "little") + body

    @classmethod
    def load(cls, content: bytes, plan: RolloutPlan) -> Arms:
        """The arms as they were. Raises ``ValueError`` for bytes that ``dump`` of this version did not make."""
        if not content.startswith(MAGIC) or len(content) < _HEAD:
            raise ValueError("this is no evidence of a rollout: start the rollout again")
        version = int.from_bytes(content[len(MAGIC) : len(MAGIC) + 4], "little")
        if version != FORMAT:
            raise ValueError(f"the evidence is of format {version}, not {FORMAT}: start the rollout again")
        body = content[_HEAD:]
        if zlib.crc32(body) != int.from_bytes(content[_HEAD - 4 : _HEAD], "little"):
            raise ValueError("the evidence is damaged or cut off: start the rollout again")
        arms = cls(plan)
        try:
            arms._restore(json.loads(zlib.decompress(body)))
        except (zlib.error, KeyError, TypeError, IndexError, AttributeError, ValueError) as problem:
            raise ValueError("the evidence cannot be understood: start the rollout again") from problem
        return arms

    def _restore(self, state: dict[str, dict[str, dict[str, object]]]) -> None:
        seen, rest = self._seen, dict[str, object](state)
        for name, tallies in state["tallies"].items():
            setattr(seen, name, Tallies.load(tallies))
        seen.latency = [Histogram({int(str(at)): int(str(n)) for at, n in bins}) for bins in _rows(rest["latency"])]
        seen.pairs = [float(one) for one in _row(rest["pairs"])]
        if len(seen.latency) != 2 or len(seen.pairs) != PAIR_SUMS:
            raise ValueError("an arm is missing")
        self._requests = [int(one) for one in _row(rest["requests"])]
        self._kept = [int(one) for one in _row(rest.get("kept", [0, 0]))]
        self._phase, self._share = int(str(rest["phase"])), None if rest["share"] is None else float(str(rest["share"]))
        self._stride, self._skipped = (int(one) for one in _row(rest["stride"]))
        self._notes = [tuple(_point(values) for values in note) for note in _rows(rest["notes"])]


def _point(values: list[object]) -> TracePoint:
    at, share, metric, baseline_n, candidate_n, *rest = values
    baseline, candidate, lower, upper = (None if one is None else float(str(one)) for one in rest)
    return TracePoint(
        at=float(str(at)),
        share=float(str(share)),
        metric=Metric(str(metric)),
        baseline_n=int(str(baseline_n)),
        candidate_n=int(str(candidate_n)),
        baseline=baseline,
        candidate=candidate,
        lower=lower,
        upper=upper,
    )


def _row(value: object) -> list[float]:
    if not isinstance(value, list):
        raise TypeError("a list is missing")
    return value


def _rows(value: object) -> list[list[list[object]]]:
    if not isinstance(value, list):
        raise TypeError("a list is missing")
    return value

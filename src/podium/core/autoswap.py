"""When the version that serves a task should be replaced (SWP-6). Pure.

Owns the window of the serving version, what is asked of it, and the pause between two replacements. Must not look at
the history of other versions or of earlier services of the same one, and orders nothing.

``now`` is a clock that never goes back (seconds; only differences mean anything). If it is one that does, a pause ends
later, never earlier.

A window below a limit is a reason to try another version, no proof that this one is worse: looked at after every
request, ten requests cross 0.8 by chance quite often (for a version that answers nine of ten, every fourteenth time).
That is why the ordinary answer is a gradual rollout, which decides with evidence, and why only a version that hardly
answers any more is replaced at once.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from podium.domain.alert import Alert

SURE = 1.96
"""Standard errors of the intervals in the reasons: 95 %."""
_SLACK = 1e-9


class Preset(StrEnum):
    """Two sets of rules, for tasks that set none of their own."""

    CONSERVATIVE = "conservative"
    AGGRESSIVE = "aggressive"


class Cause(StrEnum):
    """What was wrong with the serving version."""

    SUCCESS = "success"
    QUALITY = "quality"
    STREAK = "streak"
    """It fails request after request."""
    REGRESSION = "regression"
    """It is worse than it was itself, for longer than chance explains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoSwapRules:
    """What is asked of the version that serves a task. Rates and scores in [0, 1], times in seconds."""

    enabled: bool = False
    min_success: float = 0.8
    quality_ratio: float = 0.9
    """Of the quality the task asks for: below that share of it the version is replaced."""
    min_samples: int = 10
    """Outcomes (for quality: scores) without which nothing is said."""
    cooldown_s: float = 300.0
    window: int = 50
    """Newest outcomes, and newest scores, that count."""
    streak: int = 5
    """Failures in a row that count as failing hard."""
    hard_success: float = 0.4
    """Success below this is failing hard."""
    regression: bool = False
    """An open alert of a regression on the task is reason enough."""


PRESETS = {
    Preset.CONSERVATIVE: AutoSwapRules(),
    Preset.AGGRESSIVE: AutoSwapRules(
        min_success=0.9, min_samples=3, cooldown_s=10.0, window=20, streak=3, hard_success=0.45
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """The serving version falls short. ``value`` is below ``limit``; for a streak they count failures in a row; of a
    regression they are what was measured now and before.
    """

    task: str
    ref: str
    cause: Cause
    value: float
    limit: float
    samples: int
    hard: bool
    """It hardly answers any more: replace it at once."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the serving version stands: what a window says, in numbers."""

    ref: str
    samples: int
    successes: int
    failures_in_a_row: int
    scores: int
    quality: float | None
    """Weighted mean."""

    @property
    def success(self) -> float | None:
        """Share of requests it answered."""
        return self.successes / self.samples if self.samples else None


class Window:
    """Outcomes and scores of one version since it began to serve one task, the newest ``size`` of each."""

    def __init__(self, ref: str, size: int) -> None:
        self.ref = ref
        self.size = size
        self._outcomes: deque[tuple[bool, float | None]] = deque()
        self._successes = self._row = 0
        self._scores: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    def outcome(self, success: bool, latency_ms: float | None = None) -> None:
        """One request it answered or failed."""
        self._outcomes.append((success, latency_ms))
        self._successes += success
        self._row = 0 if success else self._row + 1
        self._trim()

    def score(self, answer: str, source: str, value: float, weight: float) -> None:
        """What ``source`` says of an answer; it replaces what the same source said of it before."""
        self._scores[answer, source] = (value, weight)
        self._trim()

    def resize(self, size: int) -> None:
        """Keep fewer or more from now on."""
        self.size = size
        self._trim()

    def standing(self) -> Standing:
        """All it says."""
        weight = sum(weight for _, weight in self._scores.values())
        total = sum(value * weight for value, weight in self._scores.values())
        return Standing(
            ref=self.ref,
            samples=len(self._outcomes),
            successes=self._successes,
            failures_in_a_row=min(self._row, len(self._outcomes)),
            scores=len(self._scores),
            quality=total / weight if weight > 0 else None,
        )

    def quality_by(self, source: str) -> tuple[int, float | None]:
        """(scores, their mean) of one source alone."""
        found = [value for (_, who), (value, _) in self._scores.items() if who == source]
        return len(found), sum(found) / len(found) if found else None

    def latency(self, q: float) -> tuple[int, float | None]:
        """(answers, their latency of rank ``ceil(q n)`` in milliseconds)."""
        found = sorted(latency for success, latency in self._outcomes if success and latency is not None)
        return len(found), found[max(1, math.ceil(q * len(found))) - 1] if found else None

    def _trim(self) -> None:
        while len(self._outcomes) > self.size:
            self._successes -= self._outcomes.popleft()[0]
        while len(self._scores) > self.size:
            self._scores.popitem(last=False)


def judge(
    task: str, standing: Standing, rules: AutoSwapRules, wanted: float | None, regressed: Sequence[Alert] = ()
) -> Trigger | None:
    """What is wrong with the serving version, the worst first. ``wanted`` is the quality the task asks for, if any;
    ``regressed`` are its open alerts on the task.
    """
    return _short(task, standing, rules, wanted) or _worse(task, standing, rules, regressed)


def _worse(task: str, standing: Standing, rules: AutoSwapRules, regressed: Sequence[Alert]) -> Trigger | None:
    """It became worse, and was seen to be so in this service: who was put to serve in spite of an alert gets a chance."""
    if not rules.regression or standing.samples < rules.min_samples:
        return None
    for alert in regressed:
        if alert.open and alert.ref == standing.ref and alert.now is not None and alert.before is not None:
            return _trigger(
                task, standing, Cause.REGRESSION, alert.now, alert.before, alert.samples, alert.says, hard=False
            )
    return None


def _short(task: str, standing: Standing, rules: AutoSwapRules, wanted: float | None) -> Trigger | None:
    samples, success, row = standing.samples, standing.success, standing.failures_in_a_row
    if samples >= rules.min_samples and success is not None:
        if row >= rules.streak:
            said = (
                f"{standing.ref} failed {row} requests in a row (at most {rules.streak - 1} are let pass); "
                f"{_counted(standing, success)}"
            )
            return _trigger(task, standing, Cause.STREAK, row, rules.streak, samples, said, hard=True)
        if success < rules.min_success - _SLACK:
            said = f"{_counted(standing, success)}, at least {rules.min_success:.0%} are asked for"
            hard = success < rules.hard_success
            return _trigger(task, standing, Cause.SUCCESS, success, rules.min_success, samples, said, hard=hard)
    quality = standing.quality
    if wanted is None or quality is None or standing.scores < rules.min_samples:
        return None
    limit = rules.quality_ratio * wanted
    if quality >= limit - _SLACK:
        return None
    said = (
        f"the last {standing.scores} scores of {standing.ref} average {quality:.3f}, "
        f"below {rules.quality_ratio:g} of the {wanted:g} asked for ({limit:.3f})"
    )
    return _trigger(task, standing, Cause.QUALITY, quality, limit, standing.scores, said, hard=False)


def _trigger(
    task: str, standing: Standing, cause: Cause, value: float, limit: float, samples: int, reason: str, *, hard: bool
) -> Trigger:
    return Trigger(
        task=task, ref=standing.ref, cause=cause, value=value, limit=limit, samples=samples, hard=hard, reason=reason
    )


def _counted(standing: Standing, success: float) -> str:
    low, high = interval(standing.successes, standing.samples)
    return (
        f"{standing.ref} answered {standing.successes} of its last {standing.samples} requests "
        f"({success:.0%}, 95 % interval {low:.0%} to {high:.0%})"
    )


def interval(successes: int, samples: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson, "Probable inference, the law of succession, and statistical
    inference", JASA 1927).
    """
    if samples <= 0:
        return 0.0, 1.0
    share, z2 = successes / samples, SURE * SURE
    centre = (share + z2 / (2 * samples)) / (1 + z2 / samples)
    half = SURE / (1 + z2 / samples) * math.sqrt(share * (1 - share) / samples + z2 / (4 * samples * samples))
    return max(0.0, centre - half), min(1.0, centre + half)


class Cooldowns:
    """When each task was last moved without a person asking for it. Shared by everything that does."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def start(self, task: str, now: float) -> None:
        """The task is being moved, or has been."""
        self._since[task] = max(now, self._since.get(task, now))

    def left(self, task: str, cooldown_s: float, now: float) -> float:
        """Seconds until it may be moved again; 0 when it may."""
        since = self._since.get(task)
        return 0.0 if since is None else max(0.0, since + cooldown_s - now)


class Watch:
    """The windows of all serving versions, and which of them call for a replacement now."""

    def __init__(self, cooldowns: Cooldowns | None = None) -> None:
        self.cooldowns = cooldowns or Cooldowns()
        self._windows: dict[str, tuple[object, Window]] = {}
        self._quiet: dict[str, float] = {}

    def serves(self, task: str, ref: str, service: object, rules: AutoSwapRules) -> Window:
        """The window of ``ref`` on ``task``. ``service`` tells one period of service from the next: another one, or
        another version, begins with an empty window.
        """
        known, window = self._windows.get(task, (None, None))
        if window is None or window.ref != ref or known != service:
            window = Window(ref, rules.window)
            self._windows[task] = (service, window)
            self._quiet.pop(task, None)
        elif window.size != rules.window:
            window.resize(rules.window)
        return window

    def trigger(
        self,
        task: str,
        rules: AutoSwapRules,
        wanted: float | None,
        now: float,
        *,
        paused: bool = True,
        regressed: Sequence[Alert] = (),
    ) -> Trigger | None:
        """Why the version that serves ``task`` should be replaced now; ``None`` if not, or not yet again.

        ``paused``: mind the pause between two moves. ``regressed``: open alerts of the version on the task.
        """
        if not rules.enabled or task not in self._windows or now < self._quiet.get(task, now):
            return None
        if paused and self.cooldowns.left(task, rules.cooldown_s, now) > 0:
            return None
        return judge(task, self._windows[task][1].standing(), rules, wanted, regressed)

    def quiet(self, task: str, until: float) -> None:
        """Nothing can be done about it before ``until``."""
        self._quiet[task] = until

    def window(self, task: str) -> Window | None:
        """That of the version that serves a task; ``None`` before its first outcome."""
        found = self._windows.get(task)
        return None if found is None else found[1]

    def standing(self, task: str) -> Standing | None:
        """How the version that serves a task stands; ``None`` before its first outcome."""
        window = self.window(task)
        return None if window is None else window.standing()


def passes(samples: int, successes: int, rules: AutoSwapRules) -> bool:
    """Whether a version's history on the task would not itself call for its replacement."""
    return samples < rules.min_samples or successes / samples >= rules.min_success - _SLACK

"""A schedule: swaps that wait for a time at which they disturb least."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from podium.domain.rollout import RolloutPlan


class ScheduleState(StrEnum):
    """Where a schedule, or one of its runs, stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    MISSED = "missed"
    CANCELLED = "cancelled"
    FAILED = "failed"


ENDED = frozenset({ScheduleState.DONE, ScheduleState.MISSED, ScheduleState.CANCELLED, ScheduleState.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSwap:
    """One swap of a batch: ``task`` is to be served by version ``to`` (name@version)."""

    task: str
    to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Opens again and again: five cron fields, read in an IANA time zone. Open for ``duration_s`` real seconds."""

    cron: str
    timezone: str = "UTC"
    duration_s: float = 3600.0
    name: str | None = None
    """Its name in the configuration, if it came from there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Opens once, at Unix time ``at``."""

    at: float
    timezone: str = "UTC"
    duration_s: float = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LowTraffic:
    """Opens when the tasks of the schedule usually get the fewest requests, as their own history says."""

    timezone: str = "UTC"
    duration_s: float = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """One time a window is open: Unix seconds, the end excluded."""

    opens_at: float
    closes_at: float
    note: str | None = None
    """What is unusual about it: the clocks change that night."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRun:
    """What became of one opening. ``state`` is done, failed or missed."""

    opens_at: float
    closes_at: float
    state: ScheduleState
    at: float
    """When it began; for a missed one, when that was noticed."""
    finished_at: float
    reason: str
    batch: str | None = None
    """Its rollouts carry this id, its swaps and events too."""
    missed: int = 1
    """Of a missed one: how many openings in a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One schedule, as recorded. Exactly one of ``window``, ``moment``, ``low_traffic`` is set."""

    id: str
    swaps: tuple[PlannedSwap, ...]
    state: ScheduleState
    created_at: float
    by: str
    window: Window | None = None
    moment: Moment | None = None
    low_traffic: LowTraffic | None = None
    gradual: RolloutPlan | None = None
    """``None``: the traffic moves at once. Else a rollout per task; only its start is bound to the window."""
    strict: bool = False
    repeat: bool = False
    """At every opening, instead of at one."""
    reason: str = ""
    """Of the order, for the record."""
    says: str = ""
    """Why it is in its state, in words."""
    opening: Opening | None = None
    """The next one, or the one it runs in; ``None`` while none is known."""
    placed_at: float = 0.0
    """When ``opening`` was found."""
    expected_requests: float | None = None
    """Of a learned opening: how many requests usually come while it is open."""
    batch: str | None = None
    """Of the present run."""
    started_at: float | None = None
    runs: tuple[ScheduleRun, ...] = ()
    """Newest last; the last fifty."""
    finished_at: float | None = None

    @property
    def open(self) -> bool:
        """It has not ended."""
        return self.state not in ENDED

    @property
    def duration_s(self) -> float:
        """How long its window stays open."""
        return self.when.duration_s

    @property
    def timezone(self) -> str:
        """IANA name of the zone its times are meant in."""
        return self.when.timezone

    @property
    def when(self) -> Window | Moment | LowTraffic:
        """The one that is set."""
        when = self.window or self.moment or self.low_traffic
        assert when is not None, "a schedule has a window"
        return when

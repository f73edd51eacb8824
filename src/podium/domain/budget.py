"""Budgets: what somebody may use up of something in a while. Amounts are whole numbers of the smallest part of a unit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

EACH = "*"
"""As a subject: every key, task or provider has the budget for itself."""
OTHERS = "(others)"
"""Who shares one account, because more subjects were seen than are kept apart."""
NOBODY = "(anonymous)"
"""Requests that name nobody."""


class Unit(StrEnum):
    """What is counted, by the word users write. Inside, amounts are whole tokens, milliseconds of compute, millijoules
    and millionths of a dollar.
    """

    TOKENS = "tokens"
    COMPUTE = "compute_seconds"
    ENERGY = "energy_wh"
    MONEY = "usd"


class Scope(StrEnum):
    """Of whom it is counted."""

    KEY = "key"
    TASK = "task"
    PROVIDER = "provider"


class Period(StrEnum):
    """How long a window is; every window begins with nothing used."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    """From Monday."""
    MONTH = "month"
    TOTAL = "total"
    """One window without end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """``limit`` is an amount inside, see ``Unit``. Windows begin at midnight in ``timezone`` (IANA name)."""

    name: str
    scope: Scope
    subject: str
    """Name of a key, task or provider, or ``EACH``."""
    unit: Unit
    limit: int
    period: Period = Period.MONTH
    timezone: str = "UTC"
    declared: bool = False
    """In the configuration, which alone can change it."""
    by: str = ""
    at: float = 0.0
    """Unix seconds when it was set."""

    @property
    def kind(self) -> str:
        """What sums counted for it mean: another kind of budget begins with nothing used."""
        return f"{self.scope}/{self.unit}/{self.period}/{self.timezone}"


class Subjects:
    """Whom one operation counts for: ``all`` in the order of ``Scope``."""

    __slots__ = ("all",)

    def __init__(self, key: str, task: str, provider: str) -> None:
        self.all = (key or NOBODY, task, provider)


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What one operation really used; ``None``: nobody could tell."""

    tokens: int | None = None
    compute_ms: int | None = None
    energy_mj: int | None = None
    microusd: int | None = None

    def of(self, unit: Unit) -> int | None:
        """The amount of a unit."""
        match unit:
            case Unit.TOKENS:
                return self.tokens
            case Unit.COMPUTE:
                return self.compute_ms
            case Unit.ENERGY:
                return self.energy_mj
            case Unit.MONEY:
                return self.microusd


class Need(NamedTuple):
    """What an operation may use. Not ``known``: a guess, because nothing is known of operations like it."""

    amount: int
    known: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a provider asks, in millionths of a dollar per million tokens. ``above``: what all tokens cost where the prompt
    has more than so many, fewest first.
    """

    input_per_mtok: float
    output_per_mtok: float
    above: tuple[tuple[int, float, float], ...] = ()

    def of(self, input_tokens: int, output_tokens: int) -> int:
        """Millionths of a dollar, rounded up."""
        read, written = self.input_per_mtok, self.output_per_mtok
        for least, dearer_read, dearer_written in self.above:
            if input_tokens > least:
                read, written = dearer_read, dearer_written
        return math.ceil((input_tokens * read + output_tokens * written) / 1e6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Unix seconds, the end excluded; ``end`` is ``None`` for one without end."""

    start: float
    end: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRow:
    """One account as it is kept."""

    budget: str
    subject: str
    kind: str
    window_start: float
    used: int
    told: int = 0
    """What was said of this window: 0 nothing, 1 that it nears its end, 2 that it is used up."""
    unmeasured: int = 0
    """Operations of this window whose amount nobody could tell."""
    earlier: tuple[tuple[float, int], ...] = ()
    """(start, used) of other windows, the one left last at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldRow:
    """A reservation that outlives a crash."""

    id: str
    budget: str
    subject: str
    amount: int
    operation_id: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How an account stands now. Amounts are those of ``Unit``."""

    subject: str
    used: int
    reserved: int
    """Of operations under way."""
    left: int
    """Of the limit, nothing below 0."""
    window: Window
    state: str
    """``ok``, ``warned`` (from 80 %), ``deferring`` (from 90 %), ``exhausted``."""
    unmeasured: int

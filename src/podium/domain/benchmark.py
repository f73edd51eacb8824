"""Benchmarks: a suite of items, how each answer is graded, and what came of it. Reads no files, grades nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class GraderKind(StrEnum):
    """How an answer is turned into a score."""

    EXACT = "exact"
    CONTAINS = "contains"
    CHOICE = "choice"
    NUMERIC = "numeric"
    REGEX = "regex"
    JSON_SCHEMA = "json_schema"
    PYTHON = "python"
    JUDGE = "judge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grader:
    """One way to grade. Which fields count depends on ``kind``; ``core/suites`` refuses the wrong ones."""

    kind: GraderKind
    expected: tuple[str, ...] = ()
    """exact, contains: any of them is right. choice: the right label (one)."""
    choices: tuple[str, ...] = ()
    """choice: every label, right and wrong."""
    number: float | None = None
    tolerance: float = 0.0
    """numeric: largest absolute difference that is still right."""
    pattern: str | None = None
    schema: Mapping[str, object] | None = None
    fields: Mapping[str, object] = field(default_factory=dict)
    """json_schema: what top-level fields must hold; the score is the share that does."""
    tests: str | None = None
    """python: code run after the answer's code; an exception is a failure."""
    rubric: str | None = None
    """judge: what a good answer does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One question of a suite. ``max_tokens`` bounds the answer."""

    id: str
    prompt: str
    grader: Grader
    max_tokens: int
    system: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """Items that measure one task. ``digest`` identifies content: a changed suite is another suite."""

    name: str
    title: str
    task: str
    licence: str
    digest: str
    items: tuple[Item, ...]
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """``score`` in [0, 1], or ``None`` when nobody could grade; ``why`` says what was wrong in one line."""

    score: float | None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """One answer and what it took. Tokens and first-token time are ``None`` when the server told nothing."""

    text: str
    latency_ms: float
    input_tokens: int | None = None
    output_tokens: int | None = None
    truncated: bool = False
    """The answer ended because ``max_tokens`` was reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemResult:
    """One graded answer of one version to one item. Identified by (digest, item, ref)."""

    suite: str
    digest: str
    task: str
    item: str
    ref: str
    score: float
    why: str
    latency_ms: float
    input_tokens: int | None
    output_tokens: int | None
    answer_hash: str
    """BLAKE2b-128 of the answer in hex: shows whether it changed without keeping it."""
    at: float
    answer: str | None = None
    """Kept only when asked for."""


class RunState(StrEnum):
    """Where a run is. ``interrupted``: its process ended before it did; run it again to continue."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One order to measure some versions on one suite."""

    id: str
    suite: str
    digest: str
    task: str
    items: int
    refs: tuple[str, ...]
    state: RunState
    started_at: float
    finished_at: float | None = None
    problems: Mapping[str, str] = field(default_factory=dict)
    """By ref: why it has no full result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One row of a leaderboard. The 95 % interval is Wilson's; ``None`` where nothing was measured."""

    task: str
    ref: str
    suites: tuple[str, ...]
    n: int
    mean: float
    low: float
    high: float
    latency_ms: float
    """Median over the items."""
    output_tokens: float | None
    """Mean per answer."""
    p_best: float | None = None
    """Exact sign test against the best of the task, on items both answered; ``None`` for the best itself."""

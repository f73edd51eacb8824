"""What keeps a task, or the whole installation, from learning."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad it is."""

    PROBLEM = "problem"
    """Nothing will be learned until somebody acts."""
    NOTE = "note"
    """As ordered, or harmless, but good to know."""


class Code(StrEnum):
    """For programs; the words may change, these do not."""

    NO_QUALITY_SIGNAL = "no_quality_signal"
    IDENTICAL_SCORES = "identical_scores"
    SCORES_STOPPED = "scores_stopped"
    EVIDENCE_OLD = "evidence_old"
    NO_VERSION = "no_version"
    ONE_VERSION = "one_version"
    NEVER_ANSWERED = "never_answered"
    BOUND = "bound"
    EXPLORATION_OFF = "exploration_off"
    FIXED_STRATEGY = "fixed_strategy"
    SCORES_NOT_LEARNED = "scores_not_learned"
    POSTERIOR_SATURATED = "posterior_saturated"
    FEEDBACK_UNJOINED = "feedback_unjoined"
    SCORES_REFUSED = "scores_refused"
    ROWS_DROPPED = "rows_dropped"
    RECORDING_BEHIND = "recording_behind"
    TASKS_FLOODED = "tasks_flooded"
    TIMEZONE_UNKNOWN = "timezone_unknown"
    ROLLOUT_STARVED = "rollout_starved"
    ROLLOUT_PASSED_BY = "rollout_passed_by"
    JUDGING_SILENT = "judging_silent"
    JUDGE_INVALID = "judge_invalid"
    JUDGE_UNINFORMATIVE = "judge_uninformative"
    JUDGE_MISSING = "judge_missing"
    JUDGING_BUDGET = "judging_budget"
    JUDGING_BEHIND = "judging_behind"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong, how much of it, since when, and what to do."""

    code: Code
    severity: Severity
    says: str
    do: str
    """A command, or a sentence where none helps."""
    task: str | None = None
    count: int = 0
    since: float | None = None
    """Unix seconds; ``None`` when nobody knows."""

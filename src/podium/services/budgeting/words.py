"""What is said of a budget: refusals with what to do next, and events."""

from __future__ import annotations

from datetime import datetime, tzinfo

from podium.core.budget import Account, Refusal, forecast, shown, word
from podium.domain.budget import Budget, Need, Scope, Window
from podium.domain.swap import Event
from podium.errors import OverBudget

BUSY_S = 1.0
"""When operations under way may have given something back."""


def refused(account: Account, why: Refusal, need: Need, zone: tzinfo, now: float) -> OverBudget:
    """The error a caller gets. It names the budget, when its window ends and what to do."""
    budget, unit = account.budget, account.budget.unit
    left = max(0, budget.limit - account.used)
    ends = until(account.window, zone, budget.timezone)
    wait_s = forecast(account.window, now)
    whose = f"budget {budget.name} ({word(budget.limit, unit)} {per(budget)} for {budget.scope} {account.subject})"
    match why:
        case Refusal.EXHAUSTED:
            said = f"{whose} is used up: {word(account.used, unit)}; {ends}. Ask again then, or {raising(budget)}"
        case Refusal.TOO_LARGE:
            said = (
                f"{whose} has {word(left, unit)} left and this request may use {word(need.amount, unit)}; {ends}. "
                f"Send a smaller max_tokens or a shorter prompt, ask again then, or {raising(budget)}"
            )
        case Refusal.BUSY:
            wait_s = BUSY_S
            said = (
                f"{whose}: the {word(left, unit)} that are left are reserved by requests under way; "
                f"try again in a moment, when they have ended; {ends}"
            )
        case Refusal.DEFERRED:
            said = (
                f"{whose} is nearly used up ({word(account.used + account.reserved, unit)}), and this request has low "
                f"priority; {ends}. Ask again then, send it with normal priority, or {raising(budget)}"
            )
    code = {Refusal.BUSY: "budget_busy", Refusal.DEFERRED: "budget_deferred"}.get(why)
    error = OverBudget(
        said,
        code=code,
        retry_after_s=wait_s,
        details={
            "budget": budget.name,
            "scope": budget.scope.value,
            "unit": unit.value,
            "limit": shown(budget.limit, unit),
            "used": shown(account.used, unit),
            "reserved": shown(account.reserved, unit),
            "window_end": account.window.end,
        },
    )
    error.elsewhere = budget.scope is Scope.PROVIDER
    return error


def event(kind: str, account: Account, now: float, **more: str | float | None) -> Event:
    """Something that happened to an account."""
    budget, unit = account.budget, account.budget.unit
    data: dict[str, str | int | float | bool | None] = {
        "scope": budget.scope.value,
        "of": account.subject,
        "unit": unit.value,
        "limit": shown(budget.limit, unit),
        "used": shown(account.used, unit),
        "window_end": account.window.end,
        **more,
    }
    return Event(kind=kind, at=now, subject=budget.name, data=tuple(data.items()))


def until(window: Window, zone: tzinfo, timezone: str) -> str:
    """When a window ends, in words."""
    if window.end is None:
        return "its window has no end"
    at = datetime.fromtimestamp(window.end, zone).isoformat(sep=" ", timespec="minutes")
    return f"its window ends {at} ({timezone})"


def per(budget: Budget) -> str:
    """``per day``, ``in all``."""
    return "in all" if budget.period.value == "total" else f"per {budget.period}"


def raising(budget: Budget) -> str:
    """How its limit is changed."""
    if budget.declared:
        return f"raise limit in [budgets.{budget.name}] of the configuration"
    return f"raise it: podium budgets set {budget.name} --limit N"

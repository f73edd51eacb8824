"""What an alert says: the sentences, from the numbers. Pure."""

from __future__ import annotations

from podium.core.objectives import Burn, Objectives, Standing
from podium.core.regression import Change
from podium.domain.alert import Aspect

_EVENTS = {
    Aspect.ERRORS: "requests failed",
    Aspect.LATENCY: "answers took too long",
    Aspect.QUALITY: "scores were lost",
}


def regressed(ref: str, task: str, change: Change) -> str:
    """What became worse."""
    match change.aspect:
        case Aspect.LATENCY:
            what = f"is slower: 95 of 100 answers took {change.before:.0f} ms, now {change.now:.0f} ms"
        case Aspect.QUALITY:
            what = f"scores lower: {change.before:.3f} on average before, now {change.now:.3f}"
        case Aspect.ERRORS:
            what = f"fails more: {change.before:.1%} of requests before, now {change.now:.1%}"
    return f"{ref} on {task} {what}, over its last {change.samples} {_unit(change.aspect)}"


def recovered(change: Change) -> str:
    """How it is again."""
    match change.aspect:
        case Aspect.LATENCY:
            now = f"95 of 100 answers take {change.now:.0f} ms"
        case Aspect.QUALITY:
            now = f"{change.now:.3f} on average"
        case Aspect.ERRORS:
            now = f"{change.now:.1%} of requests fail"
    return f"it is over: {now}, over its last {change.samples} {_unit(change.aspect)}"


def burning(task: str, aspect: Aspect, burn: Burn, objectives: Objectives) -> str:
    """Which error budget is used up how fast."""
    share = burn.bad / burn.events if burn.events else 0.0
    match aspect:
        case Aspect.ERRORS:
            what = f"{share:.1%} of {burn.events:.0f} requests failed, the objective is {objectives.success} answered"
        case Aspect.LATENCY:
            limit = objectives.latency_ms or 0.0
            what = f"{share:.1%} of {burn.events:.0f} answers took longer than {limit:.0f} ms, 5.0% may"
        case Aspect.QUALITY:
            what = f"the mean score is {1.0 - share:.3f}, the objective is {objectives.quality}"
    pace = f"the error budget is used {burn.long or 0.0:.1f} times as fast as it may (limit {burn.limit:.1f})"
    return f"{task}: {what}, within {span(burn.long_s)}: {pace}"


def used_up(task: str, standing: Standing) -> str:
    """More went wrong than the error budget allows."""
    shares = f"{standing.bad / standing.events:.1%} of {standing.events:.0f} {_EVENTS[standing.aspect]}"
    return (
        f"task {task}: the error budget of {standing.aspect} is used up: {shares} within {span(standing.measured_s)}, "
        f"{standing.allowed:.1%} may"
    )


def span(seconds: float) -> str:
    """A time in one unit."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"


def _unit(aspect: Aspect) -> str:
    return "scores" if aspect is Aspect.QUALITY else "requests"

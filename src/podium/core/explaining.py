"""The words of a choice: why a version was picked, and what to do when none is left.

Owns sentences only; must not decide anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from podium.core.constraints import Cause, Check
from podium.domain.decision import Candidate
from podium.domain.task import Binding
from podium.errors import NoCandidate

HARDLY_KNOWN = 0.5
"""Optimism, in points of quality, from which on a version counts as hardly known."""
LISTED = 8
"""How many dropped versions the message itself names; ``details`` always hold all of them."""

BYTES_PER_TOKEN = 4
"""Of ordinary prose and JSON, in the mean of tokenizers; what a server counts may be half of that or twice."""
_TO_DO = ". What to do: "
_ADD = (
    "add one with `podium models add NAME --gguf PATH` (or --ollama, --url, --command), "
    "then `podium models activate NAME@VERSION`"
)
_ADVICE: Mapping[Cause, str] = {
    Cause.LIFECYCLE: "activate a version with `podium models activate NAME@VERSION`",
    Cause.AVAILABILITY: "try again shortly, or look at `podium doctor`",
    Cause.CAPABILITY: "add a model that can do it, or ask for less",
    Cause.CONTEXT: "shorten the prompt, or add a model with a larger context",
    Cause.HARDWARE: "allow other hardware, or add a model for this one",
    Cause.MEMORY: "add a smaller model, or raise the memory limit",
    Cause.QUALITY: "lower min_quality, or add a better model",
    Cause.LATENCY: "raise max_latency_ms, or add a faster model",
}


def versus(strategy: str, chosen: Candidate, others: Sequence[Candidate]) -> str:
    """Why ``chosen`` leads: its score, its samples and the best of the ``others``."""
    new = _hardly_known(chosen)
    own = f"{chosen.ref} is hardly known yet" if new else f"{chosen.ref} scores {chosen.score or 0.0:.3f}"
    own += f" ({strategy}, {_samples(chosen)})"
    if not others:
        return f"{own} and is the only version that passes"
    rival = others[0]
    ahead = (chosen.score or 0.0) > (rival.score or 0.0)
    if _hardly_known(rival):
        return f"{own}, {'before' if ahead else 'like'} {rival.ref} ({_samples(rival)})"
    if new:
        return f"{own} and is tried before {rival.ref} with {rival.score or 0.0:.3f} ({_samples(rival)})"
    return (
        f"{own}, {'ahead of' if ahead else 'level with'} {rival.ref} with {rival.score or 0.0:.3f} ({_samples(rival)})"
    )


def _hardly_known(candidate: Candidate) -> bool:
    """Most of its score is what nobody knows of it, so that the number says nothing to people."""
    return dict(candidate.terms).get("unknown", 0.0) >= HARDLY_KNOWN


def binding_words(binding: Binding) -> str:
    """``bound to X since … by … (reason)``, as far as it is known. Times are UTC."""
    words = f"bound to {binding.ref}"
    if binding.since > 0:
        words += f" since {datetime.fromtimestamp(binding.since, UTC):%Y-%m-%d %H:%M:%S} UTC"
    if binding.by:
        words += f" by {binding.by}"
    return f"{words} ({binding.reason})" if binding.reason else words


def no_candidate(task: str, refs: Sequence[str] | None, checks: Mapping[str, Check]) -> NoCandidate:
    """The error for a task that no version may serve.

    Its status is 400 with the code ``context_length_exceeded`` when the prompt is the only obstacle for those that
    could serve otherwise, 503 when they are merely not available now, else 422.
    """
    dropped: dict[str, object] = {ref: check.dropped for ref, check in checks.items()}
    for ref in refs or ():
        dropped.setdefault(ref, "not registered")
    details: dict[str, object] = {"dropped": dropped, "task": task}
    if not dropped:
        return NoCandidate(f"no model is registered: {_ADD}", details=details)
    if refs is None and all(Cause.LIFECYCLE in check.causes for check in checks.values()):
        return NoCandidate(
            f"no model is active ({_list(dropped)}): {_ADVICE[Cause.LIFECYCLE]}, or {_ADD}", details=details
        )
    serving = [check for check in checks.values() if Cause.LIFECYCLE not in check.causes]
    wanted = f"the requested model cannot serve task {task}" if refs else f"no model can serve task {task}"
    advice = "; or ".join(dict.fromkeys(_ADVICE[cause] for cause in Cause if any(cause in c.causes for c in serving)))
    if not advice:
        advice = _ADVICE[Cause.LIFECYCLE] if checks else "see `podium models ls` for what is there"
    message = f"{wanted}: {_list(dropped)}{_TO_DO}{advice}"
    if serving and all(check.causes == {Cause.CONTEXT} for check in serving):
        return NoCandidate(message, code="context_length_exceeded", status=400, param="messages", details=details)
    if serving and any(check.causes == {Cause.AVAILABILITY} for check in serving):
        return NoCandidate(message, status=503, retry_after_s=5.0, details=details)
    return NoCandidate(message, details=details)


def with_length(error: NoCandidate, size: int, most_bytes_per_token: int) -> NoCandidate:
    """The same error; of a request that is too long it says how long that is, by its ``size`` in bytes."""
    if error.code != "context_length_exceeded" or size < most_bytes_per_token:
        return error
    about, least = size // BYTES_PER_TOKEN, size // most_bytes_per_token
    long = f"The request is about {about:,} tokens long (estimated from its {size:,} bytes; at least {least:,})"
    message = error.message.replace(_TO_DO, f". {long}{_TO_DO}", 1)
    return NoCandidate(message, code=error.code, status=error.status, param=error.param, details=error.details)


def _samples(candidate: Candidate) -> str:
    return f"{candidate.samples} sample{'' if candidate.samples == 1 else 's'}"


def _list(dropped: Mapping[str, object]) -> str:
    shown = [f"{ref} {reason}" for ref, reason in list(dropped.items())[:LISTED]]
    more = len(dropped) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")

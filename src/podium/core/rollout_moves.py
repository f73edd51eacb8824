"""The legal moves of a rollout and the one function that carries a move out on its value. Pure.

    requested → validating → warming → (shadow) → canary ⟲ ramps → promoted
    shadow, canary ⇄ paused; anything open → failed, aborted; what has met traffic → rolled_back, promoted by hand

A move names the state it starts from: one that was decided about an older state is refused, never carried out late.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from podium.core.rollout_plan import first_state, share_of
from podium.domain.rollout import FINAL, Rollout, RolloutState

S = RolloutState
_ENDS = (S.FAILED, S.ABORTED)
_MET = (S.PROMOTED, S.ROLLED_BACK, *_ENDS)
LEGAL: dict[RolloutState, tuple[RolloutState, ...]] = {
    S.REQUESTED: (S.VALIDATING, *_ENDS),
    S.VALIDATING: (S.WARMING, *_ENDS),
    S.WARMING: (S.SHADOW, S.CANARY, *_ENDS),
    S.SHADOW: (S.SHADOW, S.CANARY, S.PAUSED, *_MET),
    S.CANARY: (S.CANARY, S.PAUSED, *_MET),
    S.PAUSED: (S.SHADOW, S.CANARY, *_MET),
    S.PROMOTED: (),
    S.ROLLED_BACK: (),
    S.FAILED: (),
    S.ABORTED: (),
}
"""What may follow each state. ``shadow`` and ``canary`` follow themselves when their time starts anew, ``canary`` also
when its share grows by one step; ``paused`` goes back only to where it came from.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One transition that was decided and not yet carried out. ``share`` and ``step`` are those after it."""

    before: RolloutState
    state: RolloutState
    share: float
    step: int
    reason: str
    samples: int | None = None
    """Answers of the candidate so far, when a new step begins; ``None`` keeps the count of the present one."""
    concludes: bool = False
    """Into ``paused`` because the comparison is over, not because somebody holds it."""


def move_to(rollout: Rollout, state: RolloutState, reason: str, *, samples: int | None = None) -> Move:
    """The move from where ``rollout`` is to ``state``, with the share and step that belong to it. Judges nothing."""
    step = rollout.step
    if state is S.CANARY:
        if rollout.state is S.CANARY and samples is not None:
            step += 1
        elif rollout.state is not S.PAUSED:
            step = max(step, 1)
        share = share_of(rollout.plan, step)
    else:
        share = 1.0 if state is S.PROMOTED else 0.0
    return Move(before=rollout.state, state=state, share=share, step=step, reason=reason, samples=samples)


def apply(rollout: Rollout, move: Move, now: float) -> Rollout:
    """``rollout`` after ``move`` at Unix time ``now``; the only way one changes its state.

    Raises ``ValueError`` for a move that is illegal or was decided about another state.
    """
    problem = _problem(rollout, move)
    if problem is not None:
        raise ValueError(f"rollout {rollout.id}: {problem}")
    changed = replace(rollout, state=move.state, share=move.share, step=move.step)
    if move.samples is not None:
        changed = replace(changed, step_samples=move.samples)
    if move.state is S.PAUSED:
        ending = move.reason if move.concludes else None
        return replace(changed, paused_from=rollout.state, paused_at=now, ending=ending)
    if move.state in FINAL:
        return replace(changed, finished_at=now, ending=move.reason, paused_from=None, paused_at=None)
    since = now
    if rollout.state is S.PAUSED and rollout.paused_at is not None:
        since = now - max(0.0, rollout.paused_at - rollout.step_since)  # time in the pause does not count
    return replace(changed, step_since=since, paused_from=None, paused_at=None, ending=None)


def _problem(rollout: Rollout, move: Move) -> str | None:
    if move.before is not rollout.state:
        return f"the move to {move.state} was decided in {move.before}, and it is {rollout.state} now"
    if move.state not in LEGAL[rollout.state]:
        legal = ", ".join(LEGAL[rollout.state]) or "nothing: it has ended"
        return f"{rollout.state} cannot become {move.state}; it may become {legal}"
    if rollout.state is S.PAUSED and move.state in (S.SHADOW, S.CANARY):
        if move.state is not rollout.paused_from:
            return f"it was paused from {rollout.paused_from} and goes back there, not to {move.state}"
        if rollout.concluded:
            return "its comparison is over; it may be promoted or aborted"
    if (
        rollout.state is S.WARMING
        and move.state in (S.SHADOW, S.CANARY)
        and move.state is not first_state(rollout.plan)
    ):
        return f"its plan goes from warming to {first_state(rollout.plan)}, not to {move.state}"
    if move.concludes and move.state is not S.PAUSED:
        return f"only a pause concludes a comparison, not {move.state}"
    return _wrong_step(rollout, move)


def _wrong_step(rollout: Rollout, move: Move) -> str | None:
    steps = {rollout.step}
    share = 1.0 if move.state is S.PROMOTED else 0.0
    if move.state is S.CANARY:
        if rollout.state is S.CANARY:
            steps = {rollout.step, rollout.step + 1} if rollout.share < 1 else {rollout.step}
        elif rollout.state is not S.PAUSED:
            steps = {1}
        if move.step in steps:
            share = share_of(rollout.plan, move.step)
    if move.step not in steps:
        return f"step {move.step} does not follow step {rollout.step}"
    if move.share != share:
        return f"the share of {move.state}, step {move.step}, is {share:g} and not {move.share:g}"
    return None

"""The way of a candidate to its first request: compared, validated, loaded, generating.

Every step may be done twice: a restart begins again at the one that was recorded. Whatever fails ends the rollout with
the cause and leaves the old version as it was; only a store that cannot be written is tried again.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from podium.core.rollout import enter, fail, first_state
from podium.core.rollout_moves import move_to
from podium.core.rollout_validation import doubt
from podium.core.rollout_validation import verdict as verdict_on
from podium.domain.directive import Directive
from podium.domain.instance import InstanceState
from podium.domain.model import Lifecycle
from podium.domain.rollout import Rollout, RolloutPlan, RolloutState, Validation
from podium.domain.swap import Compatibility
from podium.errors import Conflict, PodiumError, StoreError
from podium.ports import Clock
from podium.services.onboarding import Onboarding
from podium.services.pool import Pool
from podium.services.registry import Registry
from podium.services.rollouts.driven import Driven
from podium.services.rollouts.transitions import Transitions
from podium.services.swap import Swapper

S = RolloutState
STORE_RETRY_S = 5.0
_log = structlog.get_logger("podium.rollouts")


class Validating(Protocol):
    """Runs what can be run before any traffic moves."""

    async def validate(self, rollout: Rollout) -> Validation:
        """What the candidate's answers to the validation set are worth. Raises ``PodiumError``."""
        ...


class Preparing:
    """Brings rollouts from ``requested`` to traffic, and back to it after a restart or a pause."""

    def __init__(
        self,
        *,
        transitions: Transitions,
        registry: Registry,
        swapper: Swapper,
        onboarding: Onboarding,
        pool: Pool,
        validator: Validating | None,
        clock: Clock,
        load_timeout_s: float,
    ) -> None:
        self._transitions = transitions
        self._registry = registry
        self._swapper = swapper
        self._onboarding = onboarding
        self._pool = pool
        self._validator = validator
        self._clock = clock
        self._timeout = load_timeout_s

    def start(self, driven: Driven) -> None:
        """Do in the background what its state asks for."""
        if not driven.busy():
            driven.work = asyncio.create_task(self._run(driven), name=f"podium-{driven.rollout.id}")

    async def _run(self, driven: Driven) -> None:
        was_loaded = self._loaded(driven.rollout.candidate)
        try:
            await self._prepare(driven)
            if driven.rollout.state is S.FAILED and not was_loaded:
                await self._put_away(driven.rollout)
        except StoreError as error:
            _log.warning("a rollout waits for the store", rollout=driven.rollout.id, error=error.message)
            driven.retry_at = self._clock.monotonic() + STORE_RETRY_S
        except Conflict as error:
            _log.warning("a rollout is not driven here any more", rollout=driven.rollout.id, error=error.message)
        except Exception:  # noqa: BLE001 - one rollout must not stand in the way of the others; it is logged
            _log.exception("a rollout could not be prepared", rollout=driven.rollout.id)
            driven.retry_at = self._clock.monotonic() + STORE_RETRY_S

    def _loaded(self, ref: str) -> bool:
        there = (InstanceState.LOADING, InstanceState.READY)
        return any(view.ref == ref and view.state in there for view in self._pool.views())

    async def _put_away(self, rollout: Rollout) -> None:
        """A candidate that failed, and was loaded for that alone, takes no memory any longer."""
        ref = rollout.candidate
        version = self._registry.find(ref)
        wanted = version is not None and version.status is Lifecycle.ACTIVE
        wanted |= bool(self._swapper.tasks_of(ref)) or self._pool.directive(ref) != Directive()
        if not wanted and all(driven.rollout.candidate != ref for driven in self._transitions.all()):
            await self._pool.unload(ref, reason=f"rollout {rollout.id} failed")

    async def _prepare(self, driven: Driven) -> None:
        while True:
            rollout = driven.rollout
            try:
                match rollout.state:
                    case S.REQUESTED:
                        await self._step(driven, rollout, S.VALIDATING, "ordered")
                    case S.VALIDATING:
                        await self._validate(driven, rollout)
                    case S.WARMING:
                        await self._warm(driven, rollout)
                    case S.SHADOW | S.CANARY if not driven.warm:
                        await self._warm_again(driven, rollout)
                        return
                    case _:
                        return
            except StoreError:
                raise
            except PodiumError as error:
                if not await self._end(driven, rollout, error.message):
                    return

    async def _validate(self, driven: Driven, rollout: Rollout) -> None:
        candidate = self._registry.get(rollout.candidate)
        verdict = self._swapper.compare(rollout.task, rollout.baseline, candidate, strict=rollout.plan.strict)
        if not verdict.compatible:
            await self._end(driven, rollout, cannot_serve(rollout, verdict), compatibility=verdict)
            return
        found: Validation | None = None
        if rollout.plan.validate and self._validator is not None:
            found = await self._validator.validate(rollout)
            problem = verdict_on(found, rollout.plan)
            if problem is not None:
                await self._end(driven, rollout, problem, compatibility=verdict, validation=found)
                return
        reason = "; ".join(("compatible", *_said(found, rollout.plan), *verdict.warnings))
        await self._step(driven, rollout, S.WARMING, reason, compatibility=verdict, validation=found)

    async def _warm(self, driven: Driven, rollout: Rollout) -> None:
        seconds = await self._load(rollout)
        driven.warm = True
        reason = "it was warm already" if seconds == 0 else f"loaded and generating after {seconds:.1f} s"
        await self._step(driven, rollout, first_state(rollout.plan), reason)

    async def _warm_again(self, driven: Driven, rollout: Rollout) -> None:
        """After a restart or a pause: the traffic stays with the old version until the candidate is warm."""
        try:
            await self._load(rollout)
        except PodiumError as error:
            async with driven.lock:
                if driven.rollout is rollout:
                    reason = f"{rollout.candidate} could not be loaded again: {error.message}"
                    await self._transitions.carry_out(driven, move_to(rollout, S.ROLLED_BACK, reason), rollout.by)
            return
        async with driven.lock:
            driven.warm = True
            if driven.rollout.open:
                self._transitions.put_in_force(driven)

    async def _load(self, rollout: Rollout) -> float:
        """Seconds until it generates."""
        started = self._clock.monotonic()
        version = self._registry.get(rollout.candidate)
        if version.status is Lifecycle.RETIRED:
            raise Conflict(f"{version.ref} was retired meanwhile")
        validated = version.status is not Lifecycle.REGISTERED
        version = await self._onboarding.validate(version.ref, rollout.by)
        warming = await self._pool.warm(version, self._timeout)
        return warming if validated else self._clock.monotonic() - started

    async def _step(self, driven: Driven, seen: Rollout, to: RolloutState, reason: str, **facts: object) -> None:
        """Enter the next state, unless somebody ordered something else meanwhile."""
        async with driven.lock:
            if driven.rollout is seen:
                move = enter(seen, to, self._clock.now(), reason)
                await self._transitions.carry_out(driven, move, seen.by, **facts)

    async def _end(self, driven: Driven, seen: Rollout, reason: str, **facts: object) -> bool:
        """Fail it; false when somebody ordered something else meanwhile, or another gateway drives it."""
        async with driven.lock:
            if driven.rollout is seen and self._transitions.get(seen.id) is driven:
                move = fail(seen, reason, self._clock.now())
                await self._transitions.carry_out(driven, move, seen.by, **facts)
            return driven.rollout.open and self._transitions.get(seen.id) is driven


def cannot_serve(rollout: Rollout, verdict: Compatibility) -> str:
    """Why a candidate is not let near the task."""
    gaps = (*verdict.gaps, *(verdict.strict_gaps if rollout.plan.strict else ()))
    return f"{rollout.candidate} cannot serve {rollout.task}: {'; '.join(gaps)}"


def _said(found: Validation | None, plan: RolloutPlan) -> tuple[str, ...]:
    if found is None:
        return ()
    if found.candidate_score is None:
        return (f"no validation: {found.missing}",) if found.missing else ()
    against = "" if found.baseline_score is None else f" against {found.baseline_score:.3f}"
    doubts = doubt(found, plan)
    return (
        f"{found.candidate_score:.3f}{against} on {found.items} items of {found.suite}",
        *((doubts,) if doubts else ()),
    )

"""Replaces the version that serves a task when it falls short (SWP-6), in the background.

Owns the windows of the versions that serve, fed by the recorder after it folded. It never costs the answer that
triggered it: that request is over, and whatever goes wrong here is logged, told by ``autoswap.failed`` and ends here.
A task that is bound to no version is left alone: there the selection chooses anew for every request.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial

import structlog

from podium.core.autoswap import AutoSwapRules, Standing, Trigger, Watch, Window
from podium.core.history import NOT_ITS_DOING
from podium.core.lessons import enhance_criteria, read_lessons
from podium.domain.alert import Alert
from podium.domain.decision import Feedback, Outcome
from podium.domain.rollout import Rollout
from podium.domain.task import Criteria
from podium.errors import PodiumError
from podium.ports import Clock
from podium.services.knowledge import KnowledgeBase
from podium.services.learner import WEIGHTS
from podium.services.steering import AUTOSWAP, Steering
from podium.services.tasks import Tasks

ANY = "*"
"""Stands for whichever version serves a task that is bound to none."""
RETRY_S = 60.0
"""How long it is quiet after nothing could be done, unless the pause between two swaps is shorter."""
_log = structlog.get_logger("podium.autoswap")


class AutoSwap:
    """One per gateway, used from its event loop only. ``rules`` tells what is in force for a task."""

    def __init__(
        self,
        *,
        steering: Steering,
        tasks: Tasks,
        knowledge: KnowledgeBase,
        clock: Clock,
        rules: Callable[[str], AutoSwapRules],
    ) -> None:
        self._steering = steering
        self._tasks = tasks
        self._knowledge = knowledge
        self._clock = clock
        self.rules = rules
        self._watch = Watch(steering.cooldowns)
        self._acting: dict[str, asyncio.Task[None]] = {}
        self.regressed: Callable[[str, str], tuple[Alert, ...]] = lambda task, ref: ()
        """What a version is worse at on a task than it was itself; whoever watches for that puts it here."""

    # ------------------------------------------------------------ from the recorder

    def outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """Requests ended. Quick; never raises."""
        with self._harmless():
            windows: dict[tuple[str, str], Window | None] = {}
            for outcome in outcomes:
                if outcome.error in NOT_ITS_DOING:
                    continue
                key = (outcome.task, outcome.ref)
                if key not in windows:
                    windows[key] = self._window(*key)
                window = windows[key]
                if window is not None:
                    window.outcome(outcome.success, outcome.latency_ms)
            for task in {task for (task, _), window in windows.items() if window is not None}:
                self._consider(task)

    def scored(self, given: Feedback, earlier: Feedback | None = None) -> None:
        """Somebody (a user, a check, the judge) scored an answer, in the place of ``earlier``. Never raises."""
        with self._harmless():
            window = self._window(given.task, given.ref)
            if given.score is not None and window is not None:
                weight = WEIGHTS.get(given.source, 1.0) * given.weight
                window.score(given.decision_id, given.source, given.score, weight)
                self._consider(given.task)

    def worsened(self, task: str) -> None:
        """A version became worse on a task than it was. Never raises."""
        with self._harmless():
            self._consider(task)

    @contextlib.contextmanager
    def _harmless(self) -> Iterator[None]:
        """The recorder that called must go on whatever is wrong here."""
        try:
            yield
        except Exception:  # noqa: BLE001 - see above; it is logged with its traceback
            _log.exception("an observation could not be taken in")

    def _window(self, task: str, ref: str) -> Window | None:
        """The window an observation of ``ref`` belongs into, if it serves the task."""
        binding = self._steering.serving(task)
        if binding is not None and binding.ref != ref:
            return None
        return self._watch.serves(task, ANY if binding is None else ref, binding, self.rules(task))

    # ------------------------------------------------------------ acting

    def _consider(self, task: str) -> None:
        """Look whether the version that serves falls short, and begin to act on it."""
        if self._steering.serving(task) is None or task in self._acting:
            return
        rules, standing = self.rules(task), self._watch.standing(task)
        if not rules.enabled or standing is None:
            return
        wanted = self.wanted(task) if standing.scores >= rules.min_samples else None
        rollout, now = self._steering.open(task), self._clock.monotonic()
        # The end of a move that was ordered here is no second move: it needs no pause.
        ours = rollout is not None and rollout.by == AUTOSWAP
        regressed = self.regressed(task, standing.ref) if rules.regression else ()
        trigger = self._watch.trigger(task, rules, wanted, now, paused=not ours, regressed=regressed)
        if trigger is None:
            return
        if rollout is None:
            work = partial(self._act, trigger)
        elif trigger.hard and rollout.baseline == trigger.ref and self._steering.may_hurry(rollout, rules, wanted):
            work = partial(self._hurry, trigger, rollout)
        else:
            return
        acting = asyncio.create_task(self._guarded(trigger, work), name=f"podium-autoswap-{task}")
        self._acting[task] = acting
        acting.add_done_callback(lambda _: self._acting.pop(task, None))

    async def _guarded(self, trigger: Trigger, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - nobody waits for this work, so that nobody else would say it
            words = error.message if isinstance(error, PodiumError) else f"{type(error).__name__}: {error}"
            _log.exception("an automatic swap failed", task=trigger.task)
            self._failed(trigger, None, words)

    async def _act(self, trigger: Trigger) -> None:
        steering, task, rules = self._steering, trigger.task, self.rules(trigger.task)
        found = await steering.alternatives(task, rules, self.wanted(task))
        binding = steering.serving(task)
        if binding is None or binding.ref != trigger.ref or steering.open(task) is not None:
            return
        # Who is worse than it was is no way out, unless there is no other.
        refs = sorted(found.refs, key=lambda ref: bool(self.regressed(task, ref)))
        if not refs:
            self._failed(trigger, None, f"no version could take over: {found.why_none}")
            return
        self._told(trigger, refs[0], "immediate" if trigger.hard else "gradual")
        for ref in refs:
            moved = await steering.move(task, ref, immediate=trigger.hard, by=AUTOSWAP, reason=trigger.reason)
            if moved.ok:
                return
            self._failed(trigger, ref, moved.error or "it did not take over")

    async def _hurry(self, trigger: Trigger, rollout: Rollout) -> None:
        """What serves fails hard while its successor takes over step by step: let it take over now."""
        self._told(trigger, rollout.candidate, "promote")
        moved = await self._steering.hurry(rollout, by=AUTOSWAP, reason=trigger.reason)
        if not moved.ok:
            self._failed(trigger, rollout.candidate, moved.error or "it did not take over")

    def _told(self, trigger: Trigger, to: str, mode: str) -> None:
        self._steering.say(
            "autoswap.triggered",
            trigger.task,
            cause=trigger.cause.value,
            value=trigger.value,
            limit=trigger.limit,
            samples=trigger.samples,
            before=trigger.ref,
            to=to,
            mode=mode,
            reason=trigger.reason,
        )

    def _failed(self, trigger: Trigger, to: str | None, error: str) -> None:
        rules = self.rules(trigger.task)
        self._watch.quiet(trigger.task, self._clock.monotonic() + min(RETRY_S, rules.cooldown_s))
        self._steering.say(
            "autoswap.failed", trigger.task, before=trigger.ref, to=to, error=error, reason=trigger.reason
        )

    # ------------------------------------------------------------ reading

    def wanted(self, task: str) -> float | None:
        """The mean quality a task asks for: as set, else what is surely usual there; ``None`` when nobody knows."""
        if self._tasks.known(task) and (asked := self._tasks.get(task).criteria.min_quality) is not None:
            return asked
        lessons = read_lessons(self._knowledge.of(task), {})
        usual, _ = enhance_criteria(Criteria(), {"usual_quality": lessons["usual_quality"]})
        return usual.min_quality

    def window(self, task: str) -> Window | None:
        """What the version that serves a task (``ANY``, when it is bound to none) showed; ``None`` before its first."""
        binding = self._steering.serving(task)
        found = self._watch.window(task)
        return found if found is not None and found.ref == (ANY if binding is None else binding.ref) else None

    def standing(self, task: str) -> Standing | None:
        """The same in numbers."""
        window = self.window(task)
        return None if window is None else window.standing()

    async def settled(self) -> None:
        """Return when nothing is being ordered."""
        while self._acting:
            await asyncio.wait(tuple(self._acting.values()))

    async def close(self) -> None:
        """Stop ordering; idempotent."""
        acting = tuple(self._acting.values())
        for task in acting:
            task.cancel()
        await asyncio.gather(*acting, return_exceptions=True)

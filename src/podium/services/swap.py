"""Replaces the version that serves a task, in order: validate, warm, move, keep the old one warm, record.

Failure at any step leaves the old version serving and comes back as a failed ``Swap``; only misuse raises.
Traffic moves in one assignment after the record is committed; requests already leased finish where they began.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from types import MappingProxyType

from podium.core import compatibility
from podium.domain.model import Capability, Lifecycle, ModelVersion
from podium.domain.rollout import Rollout
from podium.domain.swap import Compatibility, Event, Swap, SwapState
from podium.domain.task import Binding
from podium.errors import Conflict, PodiumError
from podium.ports import Clock, Store
from podium.services.onboarding import Onboarding
from podium.services.policy import Policy
from podium.services.pool import MB, Pool
from podium.services.registry import Registry
from podium.services.swap_events import told, unbound
from podium.services.tasks import Tasks

KEPT_PREDECESSORS = 10
Record = Callable[[Swap, Binding, Event], Awaitable[None]]
_NO_ROLLOUTS: Mapping[str, Rollout] = MappingProxyType({})


class Swapper:
    """Carries out swaps and rollbacks; one at a time per task, side by side on different tasks.

    ``rollouts`` are the open ones by task: while one is open, it alone moves the task.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        selector: Policy,
        tasks: Tasks,
        pool: Pool,
        onboarding: Onboarding,
        store: Store,
        clock: Clock,
        new_id: Callable[[str], str],
        publish: Callable[[Event], None],
        bindings: Mapping[str, Binding],
        load_timeout_s: float,
        rollouts: Callable[[], Mapping[str, Rollout]] = lambda: _NO_ROLLOUTS,
    ) -> None:
        self._rollouts = rollouts
        self._registry = registry
        self._selector = selector
        self._tasks = tasks
        self._pool = pool
        self._onboarding = onboarding
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._publish = publish
        self._bindings = dict(bindings)
        self._timeout = load_timeout_s
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._writing: defaultdict[str, list[asyncio.Future[None]]] = defaultdict(list)

    def binding(self, task: str) -> Binding | None:
        """Where a task is bound now."""
        return self._bindings.get(task)

    async def swap(self, task: str, to: str, *, strict: bool = False, by: str, reason: str = "") -> Swap:
        """Bind ``task`` to version ``to``. Raises ``NotFound``, ``Conflict`` or ``InvalidRequest`` on misuse."""
        version = self._registry.resolve(to)
        self._tasks.ensure(task)
        if version.status is Lifecycle.RETIRED:
            raise Conflict(f"{version.ref} is retired; register it again under a new version")
        async with self._locks[task]:
            self._refuse_in_rollout(task)
            before = self._bindings.get(task)
            if before is not None and before.ref == version.ref:
                raise Conflict(f"{task} is served by {version.ref} already")
            before = before or self._implied(task, version)
            previous = ((before.ref, *before.previous) if before else ())[:KEPT_PREDECESSORS]
            return await self._carry_out(task, "swap", before, version, previous, strict=strict, by=by, reason=reason)

    async def rollback(self, task: str, *, by: str, reason: str = "") -> Swap:
        """Go back to the version before this one. Going back twice goes two steps back, never in a circle."""
        async with self._locks[task]:
            self._refuse_in_rollout(task)
            before = self._bindings.get(task)
            if before is None or not before.previous:
                raise Conflict(f"{task} has no predecessor to go back to; `podium swap {task} NAME@VERSION` binds it")
            version = self._registry.get(before.previous[0])
            previous = before.previous[1:]
            return await self._carry_out(
                task, "rollback", before, version, previous, strict=False, by=by, reason=reason
            )

    async def unbind(self, task: str, *, by: str, reason: str = "") -> Binding:
        """Let the policy choose for ``task`` again; what it was bound to. Raises ``Conflict`` when it is not bound, or
        while a rollout is open on it.
        """
        async with self._locks[task]:
            self._refuse_in_rollout(task)
            before = self._bindings.get(task)
            if before is None:
                raise Conflict(f"{task} is not bound: its model is chosen for each request already")
            event = unbound(before, by, reason, self._clock.now())
            await self._store.unbind(task, event)
            del self._bindings[task]
            self._selector.unbind(task)
            self._publish(event)
            return before

    # ------------------------------------------------------------ several at once, for services/batches

    @asynccontextmanager
    async def holding(self, tasks: Iterable[str]) -> AsyncIterator[None]:
        """No other swap moves these tasks meanwhile. Always taken in the same order, so that two batches never wait
        for each other.
        """
        async with AsyncExitStack() as stack:
            for task in sorted(set(tasks)):
                await stack.enter_async_context(self._locks[task])
            yield

    def draft(self, task: str, to: str, *, strict: bool, by: str, reason: str) -> Swap:
        """The swap as it would begin, compared and not recorded. Raises as ``swap`` does, and ``Conflict`` when the
        version cannot serve the task.
        """
        version = self._registry.resolve(to)
        self._tasks.ensure(task)
        if version.status is Lifecycle.RETIRED:
            raise Conflict(f"{version.ref} is retired; register it again under a new version")
        self._refuse_in_rollout(task)
        before = self._bindings.get(task)
        if before is not None and before.ref == version.ref:
            raise Conflict(f"{task} is served by {version.ref} already")
        before = before or self._implied(task, version)
        swap = Swap(
            id=self._new_id("swap"),
            task=task,
            kind="swap",
            before=before.ref if before else None,
            after=version.ref,
            state=SwapState.REQUESTED,
            requested_at=self._clock.now(),
            by=by,
            reason=reason,
        )
        swap = self._compare(swap, version, strict=strict)
        verdict = swap.compatibility
        if verdict is not None and not verdict.compatible:
            gaps = "; ".join((*verdict.gaps, *(verdict.strict_gaps if strict else ())))
            raise Conflict(f"{version.ref} cannot serve {task}: {gaps}")
        return swap

    async def move_together(
        self,
        swaps: Sequence[Swap],
        save: Callable[[Sequence[Swap], Sequence[Binding], Sequence[Event]], Awaitable[None]],
    ) -> tuple[Swap, ...]:
        """Move the traffic of all of them, or of none: ``save`` records them in one transaction. Their tasks are held
        by the caller and their versions warm and active. Raises what ``save`` raises; then nothing has moved.
        """
        now = self._clock.now()
        done = tuple(replace(swap, state=SwapState.PROMOTED, finished_at=now) for swap in swaps)
        bindings = []
        for swap in done:
            old = self._bindings.get(swap.task)
            before = (old.ref, *old.previous) if old else (swap.before,) if swap.before else ()
            previous = before[:KEPT_PREDECESSORS]
            bindings.append(
                Binding(task=swap.task, ref=swap.after, previous=previous, since=now, by=swap.by, reason=swap.reason)
            )
        events = [told("swap.completed", swap, self._clock.now()) for swap in done]
        await save(done, bindings, events)
        self._bindings.update({binding.task: binding for binding in bindings})
        self._selector.rebind(*bindings)
        for event in events:
            self._publish(event)
        return done

    def tasks_of(self, ref: str) -> tuple[str, ...]:
        """The tasks bound to a version, by name."""
        return tuple(sorted(task for task, binding in self._bindings.items() if binding.ref == ref))

    def refuse_if_bound(self, ref: str) -> None:
        """Raise ``Conflict`` when a task would be left without its version."""
        tasks = self.tasks_of(ref)
        if tasks:
            raise Conflict(f"{ref} serves {', '.join(tasks)}; swap that to another version first")
        for rollout in self._rollouts().values():
            if ref in (rollout.baseline, rollout.candidate):
                raise Conflict(f"{ref} takes part in rollout {rollout.id} on {rollout.task}; promote or abort it first")

    def turn(self, task: str) -> asyncio.Lock:
        """What whoever is about to move a task holds meanwhile."""
        return self._locks[task]

    def serving(self, task: str, other_than: ModelVersion) -> str | None:
        """The version that serves a task now, bound to it or chosen by the policy; ``None`` for nothing else."""
        before = self._bindings.get(task) or self._implied(task, other_than)
        return before.ref if before is not None and before.ref != other_than.ref else None

    async def take_over(
        self, task: str, before: str, after: str, by: str, reason: str, record: Record, moved: Callable[[], None]
    ) -> Swap:
        """Move a task from ``before`` to ``after`` at the end of a rollout: warm, activate, record, move.

        ``record`` commits binding, swap and event together with the rollout; ``moved`` runs in the same instant as the
        traffic moves. Raises ``Conflict`` when something else serves the task, and whatever kept ``after`` from it.
        """
        async with self._locks[task]:
            bound = self._bindings.get(task)
            if bound is not None and bound.ref != before:
                raise Conflict(f"{task} is bound to {bound.ref} and not to {before}; abort the rollout")
            started = self._clock.monotonic()
            warming = await self._pool.warm(self._registry.get(after), self._timeout)
            if self._registry.get(after).status is not Lifecycle.ACTIVE:
                await self._onboarding.activate(after, by, f"rollout on {task}")
            now = self._clock.now()
            previous = (before, *(bound.previous if bound else ()))[:KEPT_PREDECESSORS]
            binding = Binding(task=task, ref=after, previous=previous, since=now, by=by, reason=reason)
            done = Swap(
                id=self._new_id("swap"),
                task=task,
                kind="rollout",
                before=before,
                after=after,
                state=SwapState.PROMOTED,
                requested_at=now,
                by=by,
                reason=reason,
                finished_at=now,
                load_ms=warming * 1000,
                swap_ms=(self._clock.monotonic() - started - warming) * 1000,
            )
            event = told("swap.completed", done, self._clock.now())
            await record(done, binding, event)
            self._bindings[task] = binding
            self._selector.rebind(binding)
            moved()
            self._publish(event)
            return done

    def _refuse_in_rollout(self, task: str) -> None:
        rollout = self._rollouts().get(task)
        if rollout is not None:
            raise Conflict(
                f"rollout {rollout.id} is open on {task} ({rollout.baseline} to {rollout.candidate}, {rollout.state}); "
                f"promote or abort it first"
            )

    def _implied(self, task: str, version: ModelVersion) -> Binding | None:
        """What serves a task that was never bound: the policy's own choice. A rollback returns to it."""
        needs = frozenset({Capability.CHAT.value}) & version.facts.capabilities
        try:
            chosen = self._selector.choose(task, needs=needs, size=0, explicit=None, criteria=None).chosen
        except PodiumError:
            return None
        return Binding(task=task, ref=chosen) if chosen != version.ref else None

    # ------------------------------------------------------------ the steps

    async def _carry_out(
        self,
        task: str,
        kind: str,
        before: Binding | None,
        version: ModelVersion,
        previous: tuple[str, ...],
        *,
        strict: bool,
        by: str,
        reason: str,
    ) -> Swap:
        started = self._clock.monotonic()
        swap = Swap(
            id=self._new_id("swap"),
            task=task,
            kind=kind,
            before=before.ref if before else None,
            after=version.ref,
            state=SwapState.REQUESTED,
            requested_at=self._clock.now(),
            by=by,
            reason=reason,
        )
        try:
            swap = self._step(swap, SwapState.VALIDATING, "swap.started")
            swap = self._compare(swap, version, strict=strict)
            verdict = swap.compatibility
            if verdict is not None and not verdict.compatible:
                gaps = "; ".join((*verdict.gaps, *(verdict.strict_gaps if strict else ())))
                return await self._fail(swap, f"{version.ref} cannot serve {task}: {gaps}")
            swap = self._step(swap, SwapState.WARMING, "swap.validated")
            warming = self._clock.monotonic()
            version = await self._onboarding.validate(version.ref, by)
            await self._pool.warm(version, self._timeout)
            load_ms = (self._clock.monotonic() - warming) * 1000
            swap = self._step(swap, SwapState.WARMING, "swap.warmed")
            if version.status is not Lifecycle.ACTIVE:
                version = await self._onboarding.activate(
                    version.ref, by, f"{kind} of {task}", rollback=kind == "rollback"
                )
            return await self._move(swap, previous, started, load_ms)
        except PodiumError as error:
            return await self._fail(swap, error.message)
        except asyncio.CancelledError:
            why = f"cancelled while it was {swap.state}, before the traffic moved; order it again"
            await asyncio.shield(self._fail(swap, why, SwapState.INTERRUPTED))
            raise

    def _compare(self, swap: Swap, version: ModelVersion, *, strict: bool) -> Swap:
        return replace(swap, compatibility=self.compare(swap.task, swap.before, version, strict=strict))

    def compare(self, task: str, before: str | None, version: ModelVersion, *, strict: bool) -> Compatibility:
        """Whether ``version`` may take a task over from ``before``, and what would change."""
        incumbent = self._registry.find(before) if before else None
        spec = self._tasks.get(task)
        return compatibility.check(
            incumbent=incumbent,
            candidate=version,
            incumbent_evidence=self._selector.evidence(task, before) if before else None,
            candidate_evidence=self._selector.evidence(task, version.ref),
            incumbent_memory_mb=self.memory_mb(before) if before else None,
            candidate_memory_mb=self.memory_mb(version.ref),
            incumbent_belief=self._selector.beliefs_on(task).get(before or ""),
            candidate_belief=self._selector.beliefs_on(task).get(version.ref),
            in_use_context=spec.criteria.min_context,
            required_capabilities=spec.criteria.capabilities,
            healthy=True,
            strict=strict,
            task=task,
        )

    def memory_mb(self, ref: str) -> float | None:
        """What a version takes: now, else when it was measured; ``None`` for one nobody loaded."""
        usage = self._pool.usage(ref)
        if usage is not None:
            return usage.memory_bytes / MB
        profile = self._registry.profile(ref)
        return profile.memory_bytes / MB if profile and profile.memory_bytes else None

    async def _move(self, swap: Swap, previous: tuple[str, ...], started: float, load_ms: float) -> Swap:
        now = self._clock.now()
        binding = Binding(
            task=swap.task, ref=swap.after, previous=previous, since=now, by=swap.by, reason=swap.reason or swap.kind
        )
        elapsed = (self._clock.monotonic() - started) * 1000 - load_ms
        done = replace(swap, state=SwapState.PROMOTED, finished_at=now, load_ms=load_ms, swap_ms=elapsed)
        kind = "swap.completed" if swap.kind == "swap" else "swap.rolled_back"
        event = told(kind, done, self._clock.now())
        await asyncio.sleep(0)  # the steps before this one have reached the writer now, in their order
        await self._store.save_swap(done, binding, event)
        await self._written(swap)
        self._bindings[swap.task] = binding
        self._selector.rebind(binding)
        self._publish(event)
        return replace(done, swap_ms=(self._clock.monotonic() - started) * 1000 - load_ms)

    def _step(self, swap: Swap, state: SwapState, kind: str) -> Swap:
        """Record a step without waiting for the disk: the writer keeps the order, so that once the last step is durable
        all are, and the traffic moves one commit after the order instead of three.
        """
        swap = replace(swap, state=state)
        event = told(kind, swap, self._clock.now())
        self._writing[swap.id].append(asyncio.ensure_future(self._store.save_swap(swap, None, event)))
        self._publish(event)
        return swap

    async def _written(self, swap: Swap) -> None:
        """The earlier steps are on disk, or could not be written: then so could the last one not, and it said why."""
        await asyncio.gather(*self._writing.pop(swap.id, ()), return_exceptions=True)

    async def _fail(self, swap: Swap, error: str, state: SwapState = SwapState.FAILED) -> Swap:
        await self._written(swap)
        failed = replace(swap, state=state, error=error, finished_at=self._clock.now())
        event = told("swap.interrupted" if state is SwapState.INTERRUPTED else "swap.failed", failed, self._clock.now())
        try:
            await self._store.save_swap(failed, None, event)
        except PodiumError as again:
            failed = replace(failed, error=f"{error}; and the failure could not be recorded: {again.message}")
        self._publish(event)
        return failed

    async def settle(self, unfinished: tuple[Swap, ...]) -> None:
        """At start: what a stop interrupted before its traffic moved is said to be so; the old version serves."""
        for swap in unfinished:
            why = f"the gateway stopped while the swap was {swap.state}; order it again"
            await self._fail(swap, why, SwapState.INTERRUPTED)

"""The way of a request, on one screen: classify, choose, lease, send, relay, record.

Fallback happens only before the first byte of an answer; every attempt is a decision of its own. A client that
leaves cancels the generation. Knows no HTTP server and no SQL.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from podium.core.access import check_model, check_task, may_use
from podium.core.selection import CANARY
from podium.domain.decision import Choice, Decision, Outcome
from podium.domain.model import ModelVersion
from podium.domain.request import RequestHead, Ticket
from podium.domain.task import DEFAULT_TASK, Classification, Criteria
from podium.errors import NotFound, OverBudget, Overloaded, PodiumError, ProviderError, ProviderUnreachable
from podium.ports import Call, Clock, Deadlines, Reply
from podium.services import wire
from podium.services.admission import Admission, Held
from podium.services.attempt import Attempt, cause_of
from podium.services.budgeting import NOTHING
from podium.services.classifier import TaskClassifier
from podium.services.costing import Prices
from podium.services.exploring import Explorer
from podium.services.idleness import Idleness
from podium.services.key_costs import NO_KEY, KeyCosts
from podium.services.meter import Meter
from podium.services.observing import Keeping, Observer
from podium.services.policy import Policy
from podium.services.pool import Lease, Pool
from podium.services.recorder import Recorder
from podium.services.registry import Registry
from podium.services.rejection import rejection
from podium.services.responder import Headers, Responder, Tracking, error_event, waiting_comment
from podium.services.route import Route
from podium.services.sse import StreamRelay, says_something
from podium.services.tasks import Tasks
from podium.services.tracing import Tracing, upstream

_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")
_NO_CACHE = (b"cache-control", b"no-cache")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayLimits:
    """``deadlines`` per upstream call; a stream that waits gets a comment every ``heartbeat_s``; nobody waits for a
    place longer than ``queue_timeout_s``.
    """

    deadlines: Deadlines = field(default_factory=Deadlines)
    heartbeat_s: float = 5.0
    queue_timeout_s: float = 600.0
    fallbacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Ordered versions to try when one fails before the first byte: by what the caller wrote as the model, by
    version, or by ``task:NAME``."""


class Gateway:
    """Answers data-plane requests."""

    def __init__(
        self,
        *,
        registry: Registry,
        selector: Policy,
        tasks: Tasks,
        pool: Pool,
        meter: Meter,
        recorder: Recorder,
        clock: Clock,
        limits: GatewayLimits,
        id_prefix: str,
        classifier: TaskClassifier,
        draw: Callable[[], float] = random.random,
        idleness: Idleness | None = None,
    ) -> None:
        self._registry = registry
        self._selector = selector
        self._tasks = tasks
        self._pool = pool
        self._meter = meter
        self._recorder = recorder
        self._clock = clock
        self.limits = limits
        self._explorer = Explorer(draw, pool.copies)
        self._prefix = id_prefix
        self._classifier = classifier
        self._count = 0
        self.idleness = idleness or Idleness()
        self.observers: tuple[Observer, ...] = ()
        """Who is shown finished answers, if they want them."""
        self.tracking: Tracking | None = None
        self.tracing: Tracing | None = None
        self.admission: Admission | None = None
        self.prices: Prices | None = None
        self.key_costs: KeyCosts | None = None

    def new_id(self, kind: str) -> str:
        """A process-unique id such as ``req_5f3a…0000002a``."""
        self._count += 1
        return f"{kind}_{self._prefix}{self._count:08x}"

    async def handle(self, head: RequestHead, criteria: Criteria | None, out: Responder) -> None:
        """Answer one request. Raises ``PodiumError`` only while nothing has been sent."""
        self.idleness.entered()
        try:
            if self.tracing is None:
                await self._serve(head, criteria, out)
            else:
                await self.tracing.serve(self._serve, head, criteria, out)
        finally:
            self.idleness.left()

    async def _serve(self, head: RequestHead, criteria: Criteria | None, out: Responder) -> None:
        found, choice = self._choose(head, criteria)
        decision = self._decide(head, found, choice, choice.chosen, None)
        route: Route | None = None
        while True:
            try:
                await self._attempt(head, decision, out)
            except PodiumError as error:
                if out.bytes_started:
                    out.write(error_event(error, head.request_id))  # it cannot be continued
                    out.finish()
                    return
                route = route or Route(choice, self._chain(head, choice, criteria))
                following = route.after(decision.served, error)
                if following is None or not may_use(head.principal, following):
                    raise
                decision = self._decide(head, found, choice, following, decision.id)
            else:
                if head.session is not None:
                    self._explorer.served(choice.task, head.session, decision.served)
                return

    # ------------------------------------------------------------ classify, choose

    def _choose(self, head: RequestHead, criteria: Criteria | None) -> tuple[Classification, Choice]:
        explicit: str | None = None
        if head.model == "auto":
            found = self._classify(head)
        elif head.model.startswith("task:"):
            name = head.model[5:]
            if head.principal is not None:
                check_task(head.principal, name)  # first: which tasks there are is not for every key to know
            if not self._tasks.known(name):
                raise NotFound(self._tasks.unknown(name), param="model", code="model_not_found")
            found = Classification(task=name, confidence=1.0, rule="explicit")
        else:
            explicit = self._registry.resolve(head.model).ref
            found = Classification(task=head.task or DEFAULT_TASK, confidence=1.0, rule="explicit")
        if head.principal is not None:
            check_task(head.principal, found.task)
        if not self._tasks.known(task := found.task):
            self._selector.meet(self._tasks.ensure(task))
        if head.task is not None or head.model == f"task:{task}":
            self._classifier.observe(head, task)
        choice = self._selector.choose(task, needs=head.needs, size=head.size, explicit=explicit, criteria=criteria)
        undecided = choice.alternatives or choice.strategy == CANARY
        choice = self._explorer.settle(choice, head) if undecided else choice
        if head.principal is not None:
            check_model(head.principal, choice.chosen)
        return found, choice

    def _classify(self, head: RequestHead) -> Classification:
        if head.task is not None:
            return Classification(task=head.task, confidence=1.0, rule="explicit")
        return self._classifier.classify(head, self._tasks.specs())

    def _chain(self, head: RequestHead, choice: Choice, criteria: Criteria | None) -> tuple[str, ...] | None:
        """The configured fallbacks of what was asked for, as far as they can serve it; ``None`` when none are."""
        named = self.limits.fallbacks
        chain = named.get(head.model) or named.get(choice.chosen) or named.get(f"task:{choice.task}")
        if chain is None:
            return None
        able = []
        for name in chain:
            with contextlib.suppress(PodiumError):
                ref = self._registry.resolve(name).ref
                self._selector.choose(choice.task, needs=head.needs, size=head.size, explicit=ref, criteria=criteria)
                able.append(ref)
        return tuple(able)

    def _decide(
        self, head: RequestHead, found: Classification, choice: Choice, ref: str, parent: str | None
    ) -> Decision:
        return Decision(
            id=self.new_id("dec"),
            request_id=head.request_id,
            at=self._clock.now(),
            choice=choice,
            served=ref,
            propensity=choice.propensity if parent is None else 1.0,
            parent=parent,
            classified_by=found.rule,
            task_confidence=found.confidence,
        )

    # ------------------------------------------------------------ lease, send, relay, record

    async def _attempt(self, head: RequestHead, decision: Decision, out: Responder) -> None:
        version = self._registry.get(decision.served)
        cause = cause_of(decision, self._selector.divided(decision.choice.task))
        bill = partial(self.prices.bill, version) if self.prices is not None else None
        attempt = Attempt(decision, head, self._clock, cause, bill)
        held = await self._admit(head, decision, version)
        self._begin(head, decision)
        lease: Lease | None = None
        keeping = self._keeping(head, decision) if self.observers else None
        try:
            affinity = wire.affinity(head) if self._pool.copies(version.ref) > 1 else None
            lease = self._pool.lease_now(version, affinity) or await self._wait(head, decision, version, out)
            attempt.granted()
            if head.keep_alive_s is not None:
                lease.keep_alive(head.keep_alive_s)
            attempt.metering(self._meter.begin(lease.instance_id, lease.instance, decision.id))
            call = Call(
                endpoint=head.endpoint,
                body=wire.compose(head, lease.instance.model),
                stream=head.stream,
                request_id=head.request_id,
                deadlines=self.limits.deadlines,
                headers=() if head.trace is None else upstream(head.trace, decision.id),
            )
            reply = await lease.instance.send(call)
            try:
                if reply.status != 200:
                    attempt.refused()
                    raise rejection(reply.status, await reply.read(), version.ref)
                if head.stream:
                    await self._stream(head, decision, reply, attempt, out, lease, keeping)
                else:
                    await self._answer(head, decision, reply, attempt, out, keeping)
            finally:
                reply.close()
            lease.succeeded(attempt.first_byte_s)
        except PodiumError as error:
            attempt.failed(error.code)
            if lease is not None:
                await self._failed(lease, error)
            raise
        except asyncio.CancelledError:
            attempt.failed("client_left")
            raise
        except Exception:
            attempt.failed("internal_error")
            raise
        finally:
            if lease is not None:
                attempt.metered(self._meter.end(lease.instance_id, decision.id))
                lease.release()
            outcome = attempt.outcome()
            held.ended(outcome, used=attempt.used)
            self._record(head, decision, outcome, keeping)

    async def _admit(self, head: RequestHead, decision: Decision, version: ModelVersion) -> Held:
        """Reserve what the attempt may use. Of a refusal there is a record only where another attempt follows it."""
        if self.admission is None:
            return NOTHING
        try:
            return await self.admission.admit(head, decision.choice.task, version, decision.id)
        except OverBudget as error:
            if error.elsewhere:
                refused = Attempt(decision, head, self._clock)
                refused.failed(error.code)
                self._begin(head, decision)
                self._record(head, decision, refused.outcome(), None)
            raise

    def _begin(self, head: RequestHead, decision: Decision) -> None:
        self._recorder.begin(decision, head.needs)
        if self.tracking is not None and head.execution is not None:
            self.tracking.began(head.execution, decision)

    def _record(self, head: RequestHead, decision: Decision, outcome: Outcome, keeping: Keeping | None) -> None:
        self._recorder.record(decision, outcome)
        if self.key_costs is not None:
            self.key_costs.heard(NO_KEY if head.principal is None else head.principal.id, outcome)
        if self.tracking is not None and head.execution is not None:
            self.tracking.ended(head.execution, outcome)
        if head.trace is not None:
            head.trace.attempts.append((decision, outcome))
        if keeping is not None:
            keeping.hand_over(head, decision, outcome)

    def _keeping(self, head: RequestHead, decision: Decision) -> Keeping | None:
        """What holds the answer for those who want to see it, if anybody does."""
        wanting = [observer for observer in self.observers if observer.wants(head, decision)]
        return Keeping(tuple(wanting)) if wanting else None

    async def _failed(self, lease: Lease, error: PodiumError) -> None:
        """Tell the pool what the instance did; a request that is itself at fault says nothing against it."""
        if isinstance(error, ProviderError | Overloaded) and error.retryable:
            lease.failed(error)
            if isinstance(error, ProviderError):
                closed = isinstance(error, ProviderUnreachable) or error.code == "stream_broken"
                error.instance_lost = await self._pool.lost(lease, closed=closed)
                if error.instance_lost and lease.copy.ended is not None:
                    error.message = f"{lease.copy.ended}; send the request again"
        else:
            lease.succeeded()

    async def _wait(self, head: RequestHead, decision: Decision, version: ModelVersion, out: Responder) -> Lease:
        """Wait for a place. A stream gets its headers and a comment every few seconds meanwhile."""
        longest = self.limits.queue_timeout_s
        ticket = Ticket(
            caller=head.caller, task=decision.choice.task, priority=head.priority, affinity=wire.affinity(head)
        )
        if not head.stream:
            return await self._pool.lease(version, longest, ticket)
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle

        def beat() -> None:
            nonlocal timer
            if not out.bytes_started:
                out.start_stream(200, self._headers(head, decision, _STREAM))
            out.write(waiting_comment(version.ref, *self._pool.outlook(version.ref)))
            timer = loop.call_later(self.limits.heartbeat_s, beat)

        timer = loop.call_later(self.limits.heartbeat_s, beat)
        try:
            return await self._pool.lease(version, longest, ticket)
        finally:
            timer.cancel()

    async def _answer(
        self,
        head: RequestHead,
        decision: Decision,
        reply: Reply,
        attempt: Attempt,
        out: Responder,
        keeping: Keeping | None,
    ) -> None:
        body = await reply.read()
        attempt.answered(body)
        if keeping is not None:
            keeping.add(body)
        out.respond(200, self._headers(head, decision, (b"content-type", b"application/json")), body)

    async def _stream(
        self,
        head: RequestHead,
        decision: Decision,
        reply: Reply,
        attempt: Attempt,
        out: Responder,
        lease: Lease,
        keeping: Keeping | None,
    ) -> None:
        relay = StreamRelay(hide_usage=not head.include_usage)
        attempt.relaying(relay)
        monotonic = self._clock.monotonic

        def sink(data: bytes) -> None:
            lease.sign(monotonic())
            data = relay.feed(data)
            if not data:
                return
            if not attempt.first_token:
                if says_something(data):
                    attempt.first_byte()
                if not out.bytes_started:
                    out.start_stream(200, self._headers(head, decision, _STREAM))
            out.write(data)
            if keeping is not None:
                keeping.add(data)
            if relay.done:
                attempt.completed()

        out.on_pause, out.on_resume = reply.pause, reply.resume
        try:
            await reply.relay(sink)
            relay.end()
            if relay.broken:
                raise ProviderError(f"{decision.served}: {relay.broken}", code="stream_broken")
        finally:
            out.on_pause = out.on_resume = None
            attempt.streamed(relay)
        if not relay.done:
            out.write(b"data: [DONE]\n\n")
        out.finish()

    @staticmethod
    def _headers(head: RequestHead, decision: Decision, content: tuple[bytes, bytes]) -> Headers:
        fixed = (
            content,
            (b"x-podium-model", decision.served.encode()),
            (b"x-podium-task", decision.choice.task.encode()),
            (b"x-podium-decision", decision.id.encode()),
            (b"x-request-id", head.request_id.encode()),
        )
        return (*fixed, _NO_CACHE) if head.stream else fixed

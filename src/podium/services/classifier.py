"""Recognises the task of ``auto`` requests, and learns from requests whose caller named one (SEL-8).

Owns the current snapshot of the classifier, the sample of labelled prompts (hashed, never text), and their upkeep:
hashing, training and saving happen in the background, in small pieces. On the way of a request that names its task
there is one bounded append; one that does not costs a reading of the snapshot. Models are never called.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Protocol

import structlog

from podium.core import classifier, ngrams
from podium.core.classifier import Example, Quality, Snapshot, Verdict, train
from podium.core.classify import BUILTIN_TASKS, classify
from podium.core.difficulty import difficulty
from podium.core.examples import ENOUGH, Examples, features_of
from podium.core.recognition import settle
from podium.domain.request import Endpoint, RequestHead
from podium.domain.task import DEFAULT_TASK, Classification, TaskSpec
from podium.errors import InvalidRequest, StoreError
from podium.ports import Clock
from podium.services import wire

SNAPSHOT, EXAMPLES = "task-classifier", "task-examples"
"""Names under which the store keeps both."""
RATE_PER_S = 5.0
BURST = 60
MAX_BODY = 128 * 1024
"""Larger labelled requests are not learned from; at most ``BURST`` wait, so at most 7.5 MB."""
TICK_S = 0.25
STEP = 5
"""New prompts after which training is worth while."""
TRAINING_SHARE = 0.05
"""Of one processor, that training may take in the long run."""
SAVE_S = 30.0
KNOWN = frozenset({DEFAULT_TASK, *BUILTIN_TASKS})
MAX_OWN_TASKS = classifier.MAX_CLASSES - len(KNOWN)
_log = structlog.get_logger("podium.classifier")


class Saving(Protocol):
    """The part of the store that is needed."""

    async def save_learned(self, name: str, content: bytes, at: float) -> None: ...


class SeedSource(Protocol):
    """Where the shipped prompts come from."""

    def seeds_digest(self) -> str: ...

    def seed_prompts(self) -> tuple[tuple[str, str], ...]: ...

    def trained(self) -> bytes:
        """What training on them alone makes, packed; empty when nobody has yet."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """A classification with what it came from."""

    found: Classification
    by_rule: Classification
    learned: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was learned, for people. ``seen``: different labelled prompts, by task; ``kept``: of those, still there."""

    learning: bool
    quality: Quality | None
    seen: Mapping[str, int]
    kept: Mapping[str, int]
    needed: int
    waiting: int
    trained_at: float | None
    training_s: float | None
    snapshot_bytes: int
    examples_bytes: int


class TaskClassifier:
    """``kept`` is what the store had at the start. ``learn`` may be changed at any time; off also forgets."""

    def __init__(
        self, store: Saving, clock: Clock, seeds: SeedSource, kept: Mapping[str, bytes], *, learn: bool = True
    ) -> None:
        self._store = store
        self._clock = clock
        self._seeds = seeds
        self._examples = Examples(random.Random(clock.now()).randrange)  # noqa: S311 - a sample, no secret
        self._queue: deque[tuple[RequestHead, str]] = deque(maxlen=BURST)
        self._tokens, self._refilled = float(BURST), clock.monotonic()
        self._snapshot: Snapshot | None = None
        self._snapshot_bytes = 0
        self._own: frozenset[str] = frozenset()
        self._changed = 0
        self._unsaved: set[str] = set()
        self._saved_at = clock.monotonic()
        self._trained_at: float | None = None
        self._training_s: float | None = None
        self._next_training = 0.0
        self._learn = learn
        self._ready = asyncio.Event()
        self._take(kept)

    # ------------------------------------------------------------ on the way of a request

    def classify(self, head: RequestHead, tasks: Sequence[TaskSpec]) -> Classification:
        """The task of a request that names none. Raises ``InvalidRequest`` for a body that is not JSON."""
        return self.recognise(wire.prompt_sample(head), head.endpoint, head.needs, tasks).found

    def recognise(self, text: str, endpoint: Endpoint, needs: frozenset[str], tasks: Sequence[TaskSpec]) -> Recognised:
        """The task of a text, and why."""
        rule = classify(text, endpoint, needs, tasks)
        snapshot = self._snapshot
        if snapshot is None or endpoint is Endpoint.EMBEDDING:
            verdict = Verdict(None, 0.0, ())
        else:
            verdict = snapshot.judge(ngrams.features(text))
        found = settle(rule, verdict, self._own)
        if endpoint is not Endpoint.EMBEDDING:
            found = replace(found, difficulty=difficulty(text))
        return Recognised(found=found, by_rule=rule, learned=verdict)

    def observe(self, head: RequestHead, task: str) -> None:
        """A caller named the task of a request: maybe learn from it, later. Costs a microsecond at most."""
        if not self._learn or head.size > MAX_BODY or head.endpoint is Endpoint.EMBEDDING:
            return
        now = self._clock.monotonic()
        self._tokens = min(float(BURST), self._tokens + (now - self._refilled) * RATE_PER_S)
        self._refilled = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            self._queue.append((head, task))

    # ------------------------------------------------------------ in the background

    async def run(self) -> None:
        """Hash, train and save until cancelled."""
        while True:
            try:
                await self.step()
            except StoreError as error:
                _log.warning("what was learned about tasks was not saved", error=error.message)
            await asyncio.sleep(TICK_S)

    async def step(self) -> None:
        """One round: take in what waits, train when it is worth while, save now and then."""
        await self._take_in()
        now = self._clock.monotonic()
        if now >= self._next_training and self._worth_training():
            await self._train()
        if self._unsaved and now - self._saved_at >= SAVE_S:
            await self.save()

    async def _take_in(self) -> None:
        while self._queue:
            head, task = self._queue.popleft()
            try:
                found = ngrams.features(wire.prompt_sample(head))
            except InvalidRequest:
                continue
            if self._learn and self._examples.add(task, found):
                self._changed += 1
                self._unsaved.add(EXAMPLES)
            await asyncio.sleep(0)

    def _worth_training(self) -> bool:
        if self._snapshot is None or self._snapshot.digest.partition("+")[0] != self._seeds.seeds_digest():
            return True
        if self._changed < STEP:
            return False
        self._changed = 0
        return self._snapshot.digest != self._digest()

    async def _train(self) -> None:
        digest = self._digest()
        own = list(self._examples.of(self._learnable()))
        self._changed = 0
        if not own and (shipped := _shipped(self._seeds.trained(), digest)) is not None:
            self._use(shipped)
            return
        stop = threading.Event()
        try:
            snapshot, took_s = await asyncio.to_thread(_fit, self._seeds, own, digest, stop)
        finally:
            stop.set()  # when cancelled, the thread ends soon as well
        self._training_s = took_s
        if own and not self._learn:  # switched off meanwhile: nothing of it may stay
            return
        self._trained_at = self._clock.now()
        self._next_training = self._clock.monotonic() + took_s / TRAINING_SHARE
        self._use(snapshot)
        self._unsaved.add(SNAPSHOT)
        await self.save()

    def _learnable(self) -> set[str]:
        """The tasks whose examples count: built-in ones always, others from ``ENOUGH`` on, the most used first."""
        counts, seen = self._examples.counts(), self._examples.seen()
        others = [name for name in counts if name not in KNOWN and counts[name] >= ENOUGH]
        return {*KNOWN, *sorted(others, key=lambda name: (-seen[name], name))[:MAX_OWN_TASKS]}

    def _digest(self) -> str:
        """Of what the next snapshot would be trained from."""
        return digest_of(self._seeds.seeds_digest(), self._examples.of(self._learnable()))

    async def save(self) -> None:
        """Store what changed. Raises ``StoreError``."""
        unsaved, self._unsaved = self._unsaved, set()
        self._saved_at = self._clock.monotonic()
        content = {EXAMPLES: self._examples.pack, SNAPSHOT: self._snapshot.pack if self._snapshot else bytes}
        for name in sorted(unsaved):
            await self._store.save_learned(name, content[name](), self._clock.now())

    async def close(self) -> None:
        """Take in what waits and save it."""
        await self._take_in()
        try:
            await self.save()
        except StoreError as error:
            _log.warning("what was learned about tasks was not saved", error=error.message)

    # ------------------------------------------------------------ the rest

    async def ready(self, longest_s: float) -> bool:
        """Wait until there is a snapshot, which is a moment after the start. Requests never wait."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                await self._ready.wait()
        return self._snapshot is not None

    @property
    def learn(self) -> bool:
        """Whether labelled requests are learned from."""
        return self._learn

    @learn.setter
    def learn(self, wanted: bool) -> None:
        self._learn = wanted
        if not wanted:
            self._forget()

    def _forget(self) -> None:
        """Drop every example and what was learned from them; the seeds stay."""
        self._queue.clear()
        if self._examples.counts():
            self._examples.clear()
            self._unsaved.add(EXAMPLES)
        if self._snapshot is not None and any(self._snapshot.quality.own.values()):
            self._use(None)
            self._unsaved.add(SNAPSHOT)
            self._next_training = 0.0
        self._saved_at = -SAVE_S

    def _take(self, kept: Mapping[str, bytes]) -> None:
        """What an earlier run saved; what cannot be read is left aside and learned anew."""
        try:
            if kept.get(EXAMPLES):
                self._examples.unpack(kept[EXAMPLES])
            if kept.get(SNAPSHOT):
                self._use(classifier.unpack(kept[SNAPSHOT]))
        except ValueError as error:
            _log.warning("what was learned about tasks cannot be read and is learned anew", error=str(error))
        if not self._learn:
            self._forget()
        self._changed = STEP

    def _use(self, snapshot: Snapshot | None) -> None:
        self._snapshot = snapshot
        (self._ready.clear if snapshot is None else self._ready.set)()
        self._snapshot_bytes = len(snapshot.pack()) if snapshot else 0
        own = snapshot.quality.own if snapshot else {}
        self._own = frozenset(
            n for n, count in own.items() if count >= ENOUGH and n not in {DEFAULT_TASK, *BUILTIN_TASKS}
        )

    def report(self) -> Report:
        """What was learned so far."""
        return Report(
            learning=self._learn,
            quality=self._snapshot.quality if self._snapshot else None,
            seen=self._examples.seen(),
            kept=self._examples.counts(),
            needed=ENOUGH,
            waiting=len(self._queue),
            trained_at=self._trained_at,
            training_s=self._training_s,
            snapshot_bytes=self._snapshot_bytes,
            examples_bytes=self._examples.size(),
        )


def digest_of(seeds: str, own: Iterable[tuple[str, bytes]]) -> str:
    """Of seeds, by their digest, and own examples, as (task, packed row)."""
    digest = blake2b(digest_size=12)
    for task, row in own:
        digest.update(task.encode() + b"\0" + row)
    return f"{seeds}+{digest.hexdigest()}"


def _shipped(content: bytes, digest: str) -> Snapshot | None:
    """``content`` unpacked, when it is what training on ``digest`` would make."""
    try:
        found = classifier.unpack(content)
    except ValueError:  # of another version
        return None
    return found if found.digest == digest else None


def _fit(
    seeds: SeedSource, own: Sequence[tuple[str, bytes]], digest: str, stop: threading.Event
) -> tuple[Snapshot, float]:
    """In a thread: the new snapshot and the processor time it took."""
    begin = time.thread_time()

    def pause() -> None:
        if stop.wait(0.0005):  # gives the interpreter to the event loop
            raise asyncio.CancelledError

    shipped = []
    for task, text in seeds.seed_prompts():
        shipped.append(Example(task, ngrams.features(text)))
        pause()
    labelled = [Example(task, features_of(row), own=True) for task, row in own]
    return train([*shipped, *labelled], digest, pause), time.thread_time() - begin

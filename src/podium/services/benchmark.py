"""Runs suites against chosen versions, resumable at every answer, and ranks what they showed.

Results are evidence of their own kind (``source = "benchmark"``): kept per (suite digest, item, version), never mixed
into what live requests showed. ``scores`` hands them to the learner as (task, version) → (answers, mean). Versions are
asked through ``ports.Answers``; this module knows neither the pool nor files.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

from podium.core.grading import wilson
from podium.core.ranking import rank
from podium.domain.benchmark import (
    Generated,
    Grade,
    GraderKind,
    Item,
    ItemResult,
    Run,
    RunState,
    Standing,
    Suite,
)
from podium.domain.cost import Cause
from podium.domain.model import Lifecycle, ModelVersion
from podium.errors import (
    Conflict,
    ContextExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    PodiumError,
    ProviderError,
    ProviderRejected,
)
from podium.ports import Answers, BenchmarkStore, Clock, Judge, Page, Sandbox, Suites
from podium.services import grading
from podium.services.charging import charged

SOURCE = "benchmark"
MOST_VERSIONS = 32
_ATTEMPTS = 3
_GIVE_UP_AFTER = 3
"""Items in a row without an answer until a version is left alone."""
_LONGEST_PAUSE_S = 5.0
_GRADED_AT_ONCE = 2
"""Graders may start processes; more of them would slow down the models they wait for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """How far one version is. ``kept`` answers were there already when the run started."""

    ref: str
    done: int
    kept: int
    total: int
    mean: float | None
    low: float
    high: float
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A run and its parts, in the order of the run's versions."""

    run: Run
    parts: tuple[Part, ...]


class _Work:
    """A run in progress."""

    __slots__ = ("keep_answers", "kept", "parallel", "problems", "run", "scores", "suite", "task", "versions")

    def __init__(self, run: Run, suite: Suite, versions: tuple[ModelVersion, ...]) -> None:
        self.run = run
        self.suite = suite
        self.versions = versions
        self.scores: dict[str, dict[str, float]] = {version.ref: {} for version in versions}
        self.kept: dict[str, int] = {}
        self.problems: dict[str, str] = {}
        self.parallel: int | None = None
        self.keep_answers = False
        self.task: asyncio.Task[None] | None = None


class Benchmarks:
    """The benchmark service. ``close`` before the store closes."""

    def __init__(
        self,
        *,
        store: BenchmarkStore,
        answers: Answers,
        resolve: Callable[[str], ModelVersion],
        suites: Suites,
        sandbox: Sandbox,
        clock: Clock,
        new_id: Callable[[], str],
        judge: Judge | None = None,
        finished: Callable[[Run], None] | None = None,
    ) -> None:
        self._store = store
        self._answers = answers
        self._resolve = resolve
        self.suites = suites
        self._sandbox = sandbox
        self._clock = clock
        self._new_id = new_id
        self._judge = judge
        self._finished = finished or (lambda run: None)
        self._working: dict[str, _Work] = {}
        self._turn = asyncio.Lock()
        self._grading = asyncio.Semaphore(_GRADED_AT_ONCE)
        self._closing = False

    # ------------------------------------------------------------ orders

    async def start(
        self,
        suite: Suite,
        models: Sequence[str],
        *,
        fresh: bool = False,
        parallel: int | None = None,
        keep_answers: bool = False,
    ) -> Progress:
        """Start a run and return at once. Answers that are there already are kept unless ``fresh``.

        ``parallel`` bounds how many items are asked at a time; ``None``: as many as the instance works on in
        parallel. Raises ``InvalidRequest``, ``NotFound`` (a model), ``Conflict`` (a version is being measured on
        this suite already).
        """
        versions = self._versions(models)
        if self._judge is None and all(item.grader.kind is GraderKind.JUDGE for item in suite.items):
            raise InvalidRequest(
                f"suite {suite.name} needs a judge and there is none; use another suite", param="suite"
            )
        refs = tuple(version.ref for version in versions)
        for other in self._working.values():
            if other.suite.digest == suite.digest and (both := set(refs) & set(other.run.refs)):
                raise Conflict(f"{min(both)} is being measured on {suite.name} already (run {other.run.id})")
        run = Run(
            id=self._new_id(),
            suite=suite.name,
            digest=suite.digest,
            task=suite.task,
            items=len(suite.items),
            refs=refs,
            state=RunState.RUNNING,
            started_at=self._clock.now(),
        )
        work = self._working[run.id] = _Work(run, suite, versions)
        work.parallel, work.keep_answers = parallel, keep_answers
        try:
            if fresh:
                await self._store.forget_benchmark_results(suite.digest, refs)
            for result in await self._store.benchmark_results(suite.digest, refs):
                work.scores[result.ref][result.item] = result.score
            work.kept = {ref: len(scores) for ref, scores in work.scores.items()}
            await self._store.save_benchmark_run(run)
        except BaseException:
            del self._working[run.id]
            raise
        work.task = asyncio.create_task(self._run(work), name=f"benchmark {run.id}")
        return _progress(work)

    def _versions(self, models: Sequence[str]) -> tuple[ModelVersion, ...]:
        if not models:
            raise InvalidRequest("name at least one model, for example `--models A,B`", param="models")
        found = {version.ref: version for version in map(self._resolve, models)}
        if retired := [ref for ref, version in found.items() if version.status is Lifecycle.RETIRED]:
            raise Conflict(f"{retired[0]} is retired and cannot be measured")
        if len(found) > MOST_VERSIONS:
            raise InvalidRequest(f"at most {MOST_VERSIONS} versions can be measured in one run", param="models")
        return tuple(found.values())

    async def cancel(self, run_id: str) -> Progress:
        """Stop a run; what it has measured stays. Raises ``NotFound``."""
        work = self._working.get(run_id)
        if work is not None and work.task is not None:
            work.task.cancel()
            await asyncio.wait({work.task})
        return await self.progress(run_id)

    async def wait(self, run_id: str, timeout_s: float) -> Progress:
        """Until a run has ended or the time is over; it goes on then. Raises ``NotFound``."""
        work = self._working.get(run_id)
        if work is not None and work.task is not None:
            await asyncio.wait({work.task}, timeout=timeout_s)
        return await self.progress(run_id)

    async def close(self) -> None:
        """Stop everything; the runs stay recorded as running, so that the next start shows them as interrupted."""
        self._closing = True
        tasks = [work.task for work in self._working.values() if work.task is not None]
        for task in tasks:
            task.cancel()
        self._sandbox.close()
        if tasks:
            await asyncio.wait(tasks)

    # ------------------------------------------------------------ looking

    async def progress(self, run_id: str) -> Progress:
        """How far a run is. Raises ``NotFound``."""
        if (work := self._working.get(run_id)) is not None:
            return _progress(work)
        run = await self._store.find_benchmark_run(run_id)
        if run is None:
            raise NotFound(f"there is no benchmark run {run_id[:64]!r}; `podium bench ls` lists them")
        run = self._settled(run)
        results = await self._store.benchmark_results(run.digest, run.refs)
        scores: dict[str, dict[str, float]] = {ref: {} for ref in run.refs}
        for result in results:
            scores[result.ref][result.item] = result.score
        return Progress(
            run=run, parts=tuple(_part(ref, scores[ref], 0, run, run.problems.get(ref)) for ref in run.refs)
        )

    async def runs(self, page: Page) -> tuple[Run, ...]:
        """Newest first."""
        return tuple(self._settled(run) for run in await self._store.benchmark_runs(page))

    async def results(self, run_id: str) -> tuple[ItemResult, ...]:
        """Every graded answer of a run's versions to its suite. Raises ``NotFound``."""
        run = (await self.progress(run_id)).run
        return await self._store.benchmark_results(run.digest, run.refs)

    async def leaderboard(self, task: str | None = None) -> tuple[Standing, ...]:
        """Versions by task, best first, over all suites of the task. Only answers to the newest contents count."""
        return rank(await self._store.current_benchmark_results(task))

    async def scores(self) -> Mapping[tuple[str, str], tuple[int, float]]:
        """For the learner: (answers graded, mean score) by (task, ref)."""
        return await self._store.benchmark_scores()

    async def confinement(self) -> Mapping[str, str]:
        """What confines generated code on this machine. Raises ``InternalError`` when nothing can."""
        return await asyncio.to_thread(self._sandbox.confinement)

    def _settled(self, run: Run) -> Run:
        """A run that is recorded as running but is not ours ended with its process."""
        if run.state is RunState.RUNNING and run.id not in self._working:
            return replace(run, state=RunState.INTERRUPTED)
        return run

    # ------------------------------------------------------------ work

    async def _run(self, work: _Work) -> None:
        state = RunState.FAILED
        try:
            for version in work.versions:
                async with self._turn:  # one version at a time: fair latencies, and no more memory than one needs
                    await self._measure(work, version)
            state = RunState.FAILED if work.problems else RunState.DONE
        except asyncio.CancelledError:
            if self._closing:
                self._working.pop(work.run.id, None)
                raise
            state = RunState.CANCELLED
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; whoever asks for progress must hear of it
            first = _first(error)
            work.problems[""] = f"{type(first).__name__}: {first}"
        problems = dict(sorted(work.problems.items()))
        ended = replace(work.run, state=state, finished_at=self._clock.now(), problems=problems)
        with contextlib.suppress(PodiumError):  # a full disk: progress() then says interrupted
            await self._store.save_benchmark_run(ended)
        work.run = ended
        self._working.pop(ended.id, None)
        self._finished(ended)

    async def _measure(self, work: _Work, version: ModelVersion) -> None:
        missing = [item for item in work.suite.items if item.id not in work.scores[version.ref]]
        judged = [item for item in missing if item.grader.kind is GraderKind.JUDGE and self._judge is None]
        if judged:
            work.problems[version.ref] = f"{len(judged)} items need a judge and there is none"
        queue = [item for item in missing if item not in judged]
        if not queue:
            return
        try:
            width = await self._answers.prepare(version)
        except PodiumError as error:
            work.problems[version.ref] = error.message
            return
        queue.reverse()
        failures = [0]
        async with asyncio.TaskGroup() as group:
            for _ in range(max(1, min(work.parallel or width, width, len(queue)))):
                group.create_task(self._worker(work, version, queue, failures))

    async def _worker(self, work: _Work, version: ModelVersion, queue: list[Item], failures: list[int]) -> None:
        while queue and failures[0] < _GIVE_UP_AFTER:
            item = queue.pop()
            try:
                with charged(Cause.BENCHMARK, work.run.id, work.suite.task):
                    result = await self._ask(work, version, item)
                await self._store.save_benchmark_results((result,))
            except PodiumError as error:
                failures[0] += 1
                work.problems[version.ref] = f"item {item.id}: {error.message}"
                continue
            failures[0] = 0
            work.scores[version.ref][item.id] = result.score

    async def _ask(self, work: _Work, version: ModelVersion, item: Item) -> ItemResult:
        try:
            generated = await self._generate(work.run.id, version, item)
        except (ProviderRejected, ContextExceeded) as refused:
            generated = Generated(text="", latency_ms=0.0)
            grade = Grade(score=0.0, why=f"refused: {refused.message}"[:200])
        else:
            grade = await self._graded(item, generated.text)
        if grade.score is None:
            raise ProviderError(f"nobody could grade the answer: {grade.why}")
        cut = " (the answer was cut off by max_tokens)" if generated.truncated and grade.score < 1 else ""
        return ItemResult(
            suite=work.suite.name,
            digest=work.suite.digest,
            task=work.suite.task,
            item=item.id,
            ref=version.ref,
            score=grade.score,
            why=grade.why + cut,
            latency_ms=generated.latency_ms,
            input_tokens=generated.input_tokens,
            output_tokens=generated.output_tokens,
            answer_hash=blake2b(generated.text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest(),
            at=self._clock.now(),
            answer=generated.text if work.keep_answers else None,
        )

    async def _generate(self, run_id: str, version: ModelVersion, item: Item) -> Generated:
        """One answer; what may pass is tried again, so that a busy moment is not taken for the model."""
        messages = [{"role": "user", "content": item.prompt}]
        if item.system:
            messages.insert(0, {"role": "system", "content": item.system})
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self._answers.generate(
                    version, messages, max_tokens=item.max_tokens, request_id=f"{run_id}.{item.id}"
                )
            except PodiumError as error:
                if not error.retryable or attempt == _ATTEMPTS:
                    raise
                pause = error.retry_after_s if isinstance(error, Overloaded) else None
                await asyncio.sleep(min(pause or 0.0, _LONGEST_PAUSE_S))
        raise AssertionError("the loop returns or raises")

    async def _graded(self, item: Item, answer: str) -> Grade:
        if item.grader.kind is GraderKind.JUDGE:
            assert self._judge is not None
            return await self._judge.grade(item.prompt, answer, item.grader.rubric or "")
        async with self._grading:
            return await asyncio.to_thread(grading.grade, item.grader, answer, self._sandbox)


def _first(error: BaseException) -> BaseException:
    """What a task group wraps."""
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def _progress(work: _Work) -> Progress:
    run = replace(work.run, problems=dict(work.problems))
    parts = tuple(_part(ref, work.scores[ref], work.kept.get(ref, 0), run, work.problems.get(ref)) for ref in run.refs)
    return Progress(run=run, parts=parts)


def _part(ref: str, scores: Mapping[str, float], kept: int, run: Run, problem: str | None) -> Part:
    n = len(scores)
    mean = sum(scores.values()) / n if n else None
    low, high = wilson(mean or 0.0, n)
    return Part(ref=ref, done=n, kept=kept, total=run.items, mean=mean, low=low, high=high, problem=problem)

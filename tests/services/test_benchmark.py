"""Runs: progress, resuming, failures, cancelling; results as evidence of their own kind."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from dataclasses import replace

import pytest

from fakes import FakeClock, version
from podium.core.suites import read_suite
from podium.domain.benchmark import Generated, Grade, RunState
from podium.domain.model import Lifecycle
from podium.errors import (
    Conflict,
    ContextExceeded,
    InvalidRequest,
    LoadFailed,
    NotFound,
    Overloaded,
    ProviderUnreachable,
    StoreError,
)
from podium.ports import Page
from podium.services.benchmark import Benchmarks
from podium.store import open_store
from podium.suites import SuiteLibrary, schema_problem

pytestmark = pytest.mark.requirement("LRN-6")
HEAD = {"title": "T", "task": "sums", "licence": "Apache-2.0", "defaults": {"grader": "numeric"}}


def suite(count=6, name="sums", task="sums", **more):
    items = [{"id": f"i{n:02}", "prompt": str(n), "number": n, **more} for n in range(count)]
    return read_suite(name, {**HEAD, "task": task}, items, schema_problem)


class FakeAnswers:
    """Knows every sum up to ``good``; ``gate`` holds answers back; ``fails`` maps a prompt to errors to raise first."""

    def __init__(self, width=2):
        self.width = width
        self.good = {"a@1": 99, "b@1": 3}
        self.gate = asyncio.Event()
        self.gate.set()
        self.hold_at: int | None = None
        self.fails: dict[str, list[Exception]] = {}
        self.broken: dict[str, Exception] = {}
        self.asked: list[tuple[str, str]] = []
        self.active = 0
        self.most = 0

    async def prepare(self, version):
        if version.ref in self.broken:
            raise self.broken[version.ref]
        return self.width

    async def generate(self, version, messages, *, max_tokens, request_id):
        prompt = messages[-1]["content"]
        self.asked.append((version.ref, prompt))
        self.active += 1
        self.most = max(self.most, self.active)
        if len(self.asked) == self.hold_at:
            self.gate.clear()
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
            if self.fails.get(prompt):
                raise self.fails[prompt].pop(0)
        finally:
            self.active -= 1
        answer = prompt if int(prompt) < self.good[version.ref] else "no idea"
        return Generated(text=answer, latency_ms=5.0, input_tokens=3, output_tokens=2)


class NoSandbox:
    def run_tests(self, code, tests):
        raise AssertionError("not used here")

    search = confinement = run_tests

    def close(self):
        return None


def resolve(name):
    if name.partition("@")[0] not in {"a", "b"}:
        raise NotFound(f"no model {name!r}")
    found = version(name if "@" in name else f"{name}@1")
    return replace(found, status=Lifecycle.RETIRED) if found.version == "old" else found


@pytest.fixture
async def store(tmp_path):
    opened = open_store(tmp_path / "podium.db")
    yield opened
    await opened.close()


@pytest.fixture
def make(store):
    numbers = itertools.count(1)

    def build(answers, **more):
        given = {"store": store, "sandbox": NoSandbox(), "suites": SuiteLibrary(), "resolve": resolve, **more}
        return Benchmarks(answers=answers, clock=FakeClock(), new_id=lambda: f"bench_{next(numbers)}", **given)

    return build


async def ended(benchmarks, run_id, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while (progress := await benchmarks.progress(run_id)).run.state is RunState.RUNNING:
        assert time.monotonic() < deadline, progress
        await asyncio.sleep(0.005)
    return progress


async def until(condition, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def test_a_run_measures_every_version_on_every_item_and_ranks_them(make, store):
    answers = FakeAnswers()
    benchmarks = make(answers)
    started = await benchmarks.start(suite(), ["a", "b@1", "a@1"])
    assert started.run.refs == ("a@1", "b@1")
    done = await ended(benchmarks, started.run.id)
    assert done.run.state is RunState.DONE
    assert [(part.ref, part.done, part.mean) for part in done.parts] == [("a@1", 6, 1.0), ("b@1", 6, 0.5)]
    assert answers.most == 2
    board = await benchmarks.leaderboard("sums")
    assert [(row.ref, row.n, row.mean, row.latency_ms, row.output_tokens) for row in board] == [
        ("a@1", 6, 1.0, 5.0, 2.0),
        ("b@1", 6, 0.5, 5.0, 2.0),
    ]
    assert board[0].low < board[0].mean <= board[0].high
    assert (board[0].p_best, board[1].p_best) == (None, 0.25), "three of six differ, all one way"
    assert await benchmarks.scores() == {("sums", "a@1"): (6, 1.0), ("sums", "b@1"): (6, 0.5)}
    results = await benchmarks.results(started.run.id)
    assert len(results) == 12
    assert results[0].answer is None
    assert len(results[0].answer_hash) == 32
    assert (await store.load()).evidence == {}, "live evidence must not know of benchmarks"


async def test_running_again_asks_only_what_is_missing_and_fresh_asks_all(make):
    answers = FakeAnswers()
    benchmarks = make(answers)
    await ended(benchmarks, (await benchmarks.start(suite(), ["a"])).run.id)
    again = await benchmarks.start(suite(), ["a", "b"])
    assert [(part.ref, part.kept) for part in again.parts] == [("a@1", 6), ("b@1", 0)]
    await ended(benchmarks, again.run.id)
    assert Counter(ref for ref, _ in answers.asked) == {"a@1": 6, "b@1": 6}
    fresh = await benchmarks.start(suite(), ["a"], fresh=True, keep_answers=True)
    assert fresh.parts[0].kept == 0
    await ended(benchmarks, fresh.run.id)
    assert Counter(ref for ref, _ in answers.asked) == {"a@1": 12, "b@1": 6}
    assert [result.answer for result in await benchmarks.results(fresh.run.id)] == [str(n) for n in range(6)]


async def test_a_gateway_that_closed_in_the_middle_leaves_an_interrupted_run_to_continue(make):
    answers = FakeAnswers(width=1)
    answers.hold_at = 4
    first = make(answers)
    started = await first.start(suite(), ["a"])
    await until(lambda: len(answers.asked) == 4)
    await first.close()
    assert answers.active == 0
    second = make(answers)
    assert (await second.progress(started.run.id)).run.state is RunState.INTERRUPTED
    assert [run.state for run in await second.runs(Page())] == [RunState.INTERRUPTED]
    answers.gate.set()
    assert (await second.progress(started.run.id)).parts[0].done == 3
    answers.hold_at = None
    answers.asked.clear()
    done = await ended(second, (await second.start(suite(), ["a"])).run.id)
    assert done.run.state is RunState.DONE
    assert [prompt for _, prompt in answers.asked] == [str(n) for n in range(3, 6)]


async def test_a_changed_suite_starts_anew_and_only_its_newest_content_counts(make):
    benchmarks = make(FakeAnswers())
    await ended(benchmarks, (await benchmarks.start(suite(6), ["a", "b"])).run.id)
    changed = await benchmarks.start(suite(4), ["b"])
    assert changed.parts[0].kept == 0
    await ended(benchmarks, changed.run.id)
    assert await benchmarks.scores() == {("sums", "b@1"): (4, 0.75)}
    await ended(benchmarks, (await benchmarks.start(suite(6), ["a"])).run.id)
    assert await benchmarks.scores() == {("sums", "a@1"): (6, 1.0), ("sums", "b@1"): (6, 0.5)}


async def test_suites_of_one_task_are_ranked_together_and_tasks_apart(make):
    benchmarks = make(FakeAnswers())
    for one in (suite(6), suite(2, name="more"), suite(2, name="other", task="words")):
        await ended(benchmarks, (await benchmarks.start(one, ["b"])).run.id)
    assert await benchmarks.scores() == {("sums", "b@1"): (8, 0.625), ("words", "b@1"): (2, 1.0)}
    rows = await benchmarks.leaderboard()
    assert [(row.task, row.suites) for row in rows] == [("sums", ("more", "sums")), ("words", ("other",))]
    assert await benchmarks.leaderboard("nothing") == ()


async def test_a_model_that_does_not_load_is_named_and_the_others_are_measured(make):
    answers = FakeAnswers()
    answers.broken["a@1"] = LoadFailed("a@1: no memory")
    benchmarks = make(answers)
    done = await ended(benchmarks, (await benchmarks.start(suite(), ["a", "b"])).run.id)
    assert done.run.state is RunState.FAILED
    assert [(part.ref, part.done, part.problem) for part in done.parts] == [
        ("a@1", 0, "a@1: no memory"),
        ("b@1", 6, None),
    ]
    assert ("sums", "a@1") not in await benchmarks.scores()


async def test_what_may_pass_is_tried_again_and_is_no_wrong_answer(make):
    answers = FakeAnswers()
    answers.fails = {"2": [Overloaded("busy", retry_after_s=0.0), ProviderUnreachable("reset")]}
    benchmarks = make(answers)
    done = await ended(benchmarks, (await benchmarks.start(suite(), ["a"])).run.id)
    assert done.run.state is RunState.DONE
    assert done.parts[0].mean == 1.0


async def test_an_item_without_an_answer_is_missing_not_wrong_and_the_next_run_asks_it(make):
    answers = FakeAnswers(width=1)
    answers.fails = {"2": [ProviderUnreachable("reset")] * 3}
    benchmarks = make(answers)
    done = await ended(benchmarks, (await benchmarks.start(suite(), ["a"])).run.id)
    assert done.run.state is RunState.FAILED
    assert (done.parts[0].done, done.parts[0].mean, done.parts[0].problem) == (5, 1.0, "item i02: reset")
    answers.asked.clear()
    done = await ended(benchmarks, (await benchmarks.start(suite(), ["a"])).run.id)
    assert (done.run.state, done.parts[0].done) == (RunState.DONE, 6)
    assert answers.asked == [("a@1", "2")]


async def test_a_model_that_keeps_failing_is_left_alone(make):
    answers = FakeAnswers(width=1)
    answers.fails = {str(n): [ProviderUnreachable("gone")] * 3 for n in range(40)}
    benchmarks = make(answers)
    done = await ended(benchmarks, (await benchmarks.start(suite(40), ["a"])).run.id)
    assert done.run.state is RunState.FAILED
    assert len(answers.asked) == 9, "three items, three attempts each"


async def test_a_prompt_the_model_refuses_is_a_wrong_answer(make):
    answers = FakeAnswers()
    answers.fails = {"0": [ContextExceeded("a@1: too long")]}
    benchmarks = make(answers)
    started = await benchmarks.start(suite(2), ["a"])
    done = await ended(benchmarks, started.run.id)
    assert (done.run.state, done.parts[0].mean) == (RunState.DONE, 0.5)
    assert (await benchmarks.results(started.run.id))[0].why == "refused: a@1: too long"


async def test_cancelling_keeps_what_was_measured(make):
    answers = FakeAnswers(width=1)
    answers.hold_at = 3
    benchmarks = make(answers)
    started = await benchmarks.start(suite(), ["a"])
    await until(lambda: len(answers.asked) == 3)
    stopped = await benchmarks.cancel(started.run.id)
    assert stopped.run.state is RunState.CANCELLED
    assert stopped.parts[0].done == 2
    assert (await benchmarks.cancel(started.run.id)).run.state is RunState.CANCELLED
    await benchmarks.close()


async def test_the_same_measurement_twice_at_a_time_is_refused(make):
    answers = FakeAnswers()
    answers.gate.clear()
    benchmarks = make(answers)
    started = await benchmarks.start(suite(), ["a"])
    with pytest.raises(Conflict, match=started.run.id):
        await benchmarks.start(suite(), ["b", "a"])
    other = await benchmarks.start(suite(3), ["a"])
    answers.gate.set()
    await ended(benchmarks, started.run.id)
    await ended(benchmarks, other.run.id)
    assert answers.most <= 2, "versions are measured one after the other"


@pytest.mark.parametrize(
    ("models", "error", "says"),
    [
        ([], InvalidRequest, "at least one"),
        (["nope"], NotFound, "nope"),
        (["a@1", "zz"], NotFound, "zz"),
        (["a@old"], Conflict, "a@old is retired"),
    ],
)
async def test_bad_orders_are_refused_before_anything_runs(make, models, error, says):
    benchmarks = make(FakeAnswers())
    with pytest.raises(error, match=says):
        await benchmarks.start(suite(), models)
    assert await benchmarks.runs(Page()) == ()
    with pytest.raises(NotFound, match="no benchmark run"):
        await benchmarks.progress("bench_77")


async def test_an_item_for_a_judge_waits_for_one(make):
    judged = read_suite(
        "judged",
        {"title": "T", "task": "t", "licence": "MIT"},
        [
            {"id": "a", "prompt": "1", "grader": "judge", "rubric": "short"},
            {"id": "b", "prompt": "1", "grader": "exact", "expected": "1"},
        ],
        schema_problem,
    )
    without = make(FakeAnswers())
    done = await ended(without, (await without.start(judged, ["a"])).run.id)
    assert (done.run.state, done.parts[0].done) == (RunState.FAILED, 1)
    assert "need a judge" in done.parts[0].problem

    class Judge:
        async def grade(self, prompt, answer, rubric):
            return Grade(score=0.25, why=f"{prompt} {answer} {rubric}")

    benchmarks = make(FakeAnswers(), judge=Judge())
    done = await ended(benchmarks, (await benchmarks.start(judged, ["a"])).run.id)
    assert (done.run.state, done.parts[0].done, done.parts[0].mean) == (RunState.DONE, 2, 0.625)


async def test_a_store_that_refuses_ends_the_run_with_the_reason(make, store):
    class FullStore:
        def __getattr__(self, name):
            return getattr(store, name)

        async def save_benchmark_results(self, results):
            raise StoreError("the disk is full")

    benchmarks = make(FakeAnswers(width=1), store=FullStore())
    done = await ended(benchmarks, (await benchmarks.start(suite(40), ["a"])).run.id)
    assert done.run.state is RunState.FAILED
    assert "the disk is full" in done.run.problems["a@1"]


async def test_a_plugin_that_raises_anything_ends_the_run_with_the_reason(make):
    answers = FakeAnswers(width=1)
    answers.fails = {"1": [ZeroDivisionError("oops")]}
    benchmarks = make(answers)
    done = await ended(benchmarks, (await benchmarks.start(suite(), ["a"])).run.id)
    assert done.run.state is RunState.FAILED
    assert "oops" in str(done.run.problems)


async def test_old_contents_of_a_suite_are_forgotten(make, store):
    benchmarks = make(FakeAnswers())
    digests = []
    for count in (1, 2, 3, 4, 5):
        started = await benchmarks.start(suite(count), ["a"])
        await ended(benchmarks, started.run.id)
        digests.append(started.run.digest)
    kept = [bool(await store.benchmark_results(digest, ["a@1"])) for digest in digests]
    assert kept == [False, False, True, True, True]

"""Before traffic: the task's suites run on both versions, through real benchmarks, a real store and a fake model."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from dataclasses import replace

import pytest

from fakes import FakeClock, version
from podium.domain.benchmark import Generated, RunState
from podium.domain.rollout import Rollout, RolloutPlan, RolloutState
from podium.errors import LoadFailed, ProviderUnreachable
from podium.ports import Page
from podium.services.benchmark import Benchmarks
from podium.services.rollouts.validation import Validator, doubt, verdict
from podium.store import open_store
from podium.suites import SuiteLibrary

pytestmark = pytest.mark.requirement("SWP-3")
ROLLOUT = Rollout(
    id="ro_1", task="sums", baseline="a@1", candidate="b@1", plan=RolloutPlan(), state=RolloutState.VALIDATING,
    requested_at=0.0, by="me",
)  # fmt: skip


class Sums:
    """Models that can add up to a bound; ``hold`` keeps a version's answers back until it is set."""

    def __init__(self):
        self.good = {"a@1": 999, "b@1": 999}
        self.asked = []
        self.broken = {}
        self.fails = set()
        self.hold = {}
        self.active = 0

    async def prepare(self, version):
        if version.ref in self.broken:
            raise self.broken[version.ref]
        return 2

    async def generate(self, version, messages, *, max_tokens, request_id):
        prompt = messages[-1]["content"]
        self.asked.append((version.ref, prompt))
        self.active += 1
        try:
            if version.ref in self.hold:
                await self.hold[version.ref].wait()
            await asyncio.sleep(0)
        finally:
            self.active -= 1
        if version.ref in self.fails:
            raise ProviderUnreachable("reset")
        answer = prompt if int(prompt) < self.good[version.ref] else "no idea"
        return Generated(text=answer, latency_ms=5.0 if version.ref == "a@1" else 8.0)

    def count(self, ref):
        return sum(one == ref for one, _ in self.asked)


class NoSandbox:
    def close(self):
        return None


def write(folder, name, numbers, task="sums"):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.toml").write_text(
        f'title = "T"\ntask = "{task}"\nlicence = "MIT"\ndefaults = {{ grader = "numeric" }}\n'
    )
    (folder / f"{name}.jsonl").write_text(
        "".join(json.dumps({"id": f"i{n}", "prompt": str(n), "number": n}) + "\n" for n in numbers)
    )


@pytest.fixture
async def place(tmp_path):
    class Place:
        def __init__(self):
            self.sums = Sums()
            self.folder = tmp_path / "suites"
            self.store = None

        def validator(self, **limits):
            numbers = itertools.count(1)
            self.benchmarks = Benchmarks(
                store=self.store,
                answers=self.sums,
                resolve=version,
                suites=SuiteLibrary(self.folder),
                sandbox=NoSandbox(),
                clock=FakeClock(),
                new_id=lambda: f"bench_{next(numbers)}_{id(numbers)}",
            )
            return Validator(self.benchmarks, self.store, **limits)

    place = Place()
    place.store = open_store(tmp_path / "podium.db")
    yield place
    await place.benchmarks.close()
    await place.store.close()


async def until(condition, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def test_both_versions_answer_the_suite_of_the_task_and_a_loss_is_proven(place):
    write(place.folder, "sums", range(40))
    write(place.folder, "words", range(5), task="words")
    place.sums.good["b@1"] = 10
    got = await place.validator().validate(ROLLOUT)
    assert (got.suite, got.items, got.baseline_score, got.candidate_score) == ("sums", 40, 1.0, 0.25)
    assert (got.baseline_latency_ms, got.candidate_latency_ms, got.missing) == (5.0, 8.0, None)
    assert got.lower < -0.75 < got.upper < -0.3
    assert "mean score 0.250 against 1.000 on 40 items of sums" in verdict(got, ROLLOUT.plan)


async def test_an_equal_candidate_passes_and_a_small_loss_only_warns(place):
    write(place.folder, "sums", range(20))
    validator = place.validator()
    assert verdict(await validator.validate(ROLLOUT), ROLLOUT.plan) is None
    place.sums.good["c@1"] = 17
    weak = await validator.validate(replace(ROLLOUT, candidate="c@1"))
    assert verdict(weak, ROLLOUT.plan) is None
    assert "0.850 against 1.000" in doubt(weak, ROLLOUT.plan)


async def test_answers_that_are_there_already_are_not_asked_for_again(place):
    write(place.folder, "sums", range(12))
    validator = place.validator()
    first = await validator.validate(ROLLOUT)
    assert (place.sums.count("a@1"), place.sums.count("b@1")) == (12, 12)
    place.sums.good["c@1"] = 999
    await validator.validate(replace(ROLLOUT, candidate="c@1"))
    assert (place.sums.count("a@1"), place.sums.count("c@1")) == (12, 12)
    place.sums.asked.clear()
    assert await place.validator().validate(ROLLOUT) == first, "after a restart too"
    assert place.sums.asked == []


async def test_no_more_items_than_allowed_are_asked_over_all_suites_of_the_task(place):
    write(place.folder, "sums", range(30))
    write(place.folder, "more", range(100, 130))
    got = await place.validator(most_items=8).validate(ROLLOUT)
    assert (got.suite, got.items, len(place.sums.asked)) == ("more, sums", 8, 16)


async def test_without_a_suite_it_says_how_to_make_one_and_names_broken_files(place):
    got = await place.validator().validate(ROLLOUT)
    assert got.candidate_score is None
    assert "no validation set for sums: put NAME.toml with task = 'sums'" in got.missing
    write(place.folder, "broken", [])
    got = await place.validator().validate(ROLLOUT)
    assert "suite broken has no items" in got.missing
    assert place.sums.asked == []


async def test_a_model_that_does_not_load_or_answer_is_named_and_nothing_is_proven(place):
    write(place.folder, "sums", range(12))
    place.sums.broken["b@1"] = LoadFailed("no memory")
    got = await place.validator().validate(ROLLOUT)
    assert (got.baseline_score, got.candidate_score, got.missing) == (1.0, None, "b@1: no memory")
    place.sums.broken.clear()
    place.sums.fails.add("b@1")
    got = await place.validator().validate(ROLLOUT)
    assert got.candidate_score is None
    assert got.missing.startswith("b@1: item i")
    assert verdict(got, ROLLOUT.plan) is None


@pytest.mark.no_cover
async def test_a_slow_baseline_leaves_half_of_the_time_to_the_candidate(place):
    write(place.folder, "sums", range(6))
    place.sums.hold["a@1"] = asyncio.Event()
    got = await place.validator(most_s=4.0).validate(ROLLOUT)
    assert place.sums.active == 0
    assert got.missing.startswith("a@1: stopped on sums after ")
    assert (got.baseline_score, got.candidate_score) == (None, 1.0)


async def test_a_measurement_that_somebody_else_began_is_waited_for(place):
    write(place.folder, "sums", range(6))
    validator = place.validator()
    gate = place.sums.hold["b@1"] = asyncio.Event()
    theirs = await place.benchmarks.start(place.benchmarks.suites.get("sums"), ["b@1"])
    ours = asyncio.create_task(validator.validate(ROLLOUT))
    await until(lambda: len(place.sums.asked) >= 2)
    gate.set()
    got = await asyncio.wait_for(ours, 20)
    assert (got.items, got.candidate_score, got.missing) == (6, 1.0, None)
    assert place.sums.count("b@1") == 6
    assert (await place.benchmarks.progress(theirs.run.id)).run.state is RunState.DONE


async def test_a_rollout_that_is_aborted_meanwhile_stops_its_measurement(place):
    write(place.folder, "sums", range(6))
    place.sums.hold["b@1"] = asyncio.Event()
    ours = asyncio.create_task(place.validator().validate(ROLLOUT))
    await until(lambda: place.sums.count("b@1") == 2)
    ours.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ours
    assert place.sums.active == 0
    newest = (await place.benchmarks.runs(Page(limit=1)))[0]
    assert (newest.refs, newest.state) == (("b@1",), RunState.CANCELLED)

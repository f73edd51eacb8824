"""Alerts on a real store: on record before they are told, once each, over restarts, and never in the recorder's way."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ledger_samples import attempt
from podium.core.objectives import DAY, HOUR, MINUTE, Objectives
from podium.domain.alert import Aspect, Cause
from podium.domain.cost import Cost
from podium.domain.decision import Decision, Feedback, Outcome
from podium.domain.evidence import Evidence
from podium.domain.swap import Event
from podium.errors import StoreError
from podium.ports import Batch, Page
from podium.services.alerts import NORMAL_S, QUIET_S, Alerts
from podium.store import SqliteStore, open_store

pytestmark = pytest.mark.requirement("TRK-5")
WALL = 1_700_000_000.0


class TwoClocks:
    """Wall time and the time since the start; the wall clock may be set."""

    def __init__(self) -> None:
        self.wall, self.since = WALL, 500.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.since

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.since += seconds


class Rig:
    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.clock = TwoClocks()
        self.told: list[Event] = []
        self.rng = random.Random(20_261)
        self.numbers = itertools.count()
        self.evidence: dict[tuple[str, str], Evidence] = {}
        self.pattern = attempt(0)[0]
        self.alerts = self.start()

    def start(self, objectives: Mapping[str, Objectives] | None = None, **given: int) -> Alerts:
        self.alerts = Alerts(
            store=self.store,
            clock=self.clock,
            new_id=lambda kind: f"{kind}_{next(self.numbers)}",
            publish=self.told.append,
            evidence=lambda task, ref: self.evidence.get((task, ref)),
            objectives=objectives or {},
            **given,
        )
        return self.alerts

    def pair(
        self,
        task: str = "jobs",
        ref: str = "m@1",
        *,
        success: bool = True,
        latency_ms: float = 100.0,
        error: str | None = None,
        parent: str | None = None,
    ) -> tuple[Decision, Outcome]:
        number = next(self.numbers)
        made = replace(
            self.pattern,
            id=f"dec_{number}",
            request_id=f"req_{number}",
            at=self.clock.now(),
            choice=replace(self.pattern.choice, task=task, chosen=ref),
            served=ref,
            parent=parent,
        )
        outcome = Outcome(
            decision_id=made.id,
            request_id=made.request_id,
            task=task,
            ref=ref,
            at=self.clock.now(),
            success=success,
            error=error if success or error else "provider_error",
            streamed=False,
            latency_ms=latency_ms,
            ttft_ms=None,
            cost=Cost(wall_ms=latency_ms),
        )
        return made, outcome

    def traffic(self, n: int, *, fails: float = 0.0, slower: float = 1.0, task: str = "jobs", ref: str = "m@1") -> None:
        for _ in range(n):
            success, latency = self.rng.random() >= fails, slower * self.rng.lognormvariate(5.0, 0.3)
            self.alerts.observed([self.pair(task, ref, success=success, latency_ms=latency)])

    def score(self, value: float, source: str = "user", task: str = "jobs") -> None:
        number = next(self.numbers)
        given = Feedback(
            request_id=f"req_{number}",
            decision_id=f"dec_{number}",
            task=task,
            ref="m@1",
            score=value,
            at=self.clock.now(),
            source=source,
        )
        self.alerts.scored(given)

    def kinds(self) -> list[str]:
        return [event.kind for event in self.told]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    store = open_store(tmp_path / "podium.db")
    yield Rig(store)
    await store.close()


# ------------------------------------------------------------ regressions


async def test_a_regression_is_on_record_when_it_is_told_and_ends_once(rig):
    rig.traffic(300)
    await rig.alerts.tick()
    assert rig.told == []
    rig.traffic(60, fails=0.6)
    assert rig.told == [], "nothing is told before it is on record"
    await rig.alerts.tick()
    (opened,) = rig.told
    data = dict(opened.data)
    assert (opened.kind, opened.subject, data["ref"], data["aspect"]) == ("alert.opened", "jobs", "m@1", "errors")
    (alert,) = rig.alerts.open()
    assert data["alert"] == alert.id
    assert alert.says in rig.alerts.problems()
    assert await rig.alerts.listed(None, Page()) == (alert,)
    assert [event.kind for event in await rig.store.events(0, Page())] == ["alert.opened"]
    assert rig.alerts.regressed("jobs", "m@1") == (alert,)
    assert rig.alerts.regressed("jobs", "m@2") == ()
    rig.traffic(500)
    await rig.alerts.tick()
    assert rig.kinds() == ["alert.opened", "alert.closed"]
    assert rig.alerts.open() == ()
    (kept,) = await rig.alerts.listed("jobs", Page())
    assert kept.closed_at is not None
    assert "it is over" in kept.ending
    assert dict(rig.told[1].data)["opened_at"] == alert.opened_at


async def test_latency_and_quality_are_watched_per_task_and_version(rig):
    for ref in ("m@1", "m@2"):
        rig.traffic(300, ref=ref)
        rig.traffic(300, ref=ref, task="other")
    for _ in range(200):
        rig.score(rig.rng.gauss(0.85, 0.05) if rig.rng.random() < 0.99 else 1.0)
    rig.traffic(60, slower=4.0, ref="m@2")
    for _ in range(150):
        rig.score(0.5, "judge")
    await rig.alerts.tick()
    found = {(alert.task, alert.ref, alert.aspect) for alert in rig.alerts.open()}
    assert found == {("jobs", "m@2", Aspect.LATENCY), ("jobs", "m@1", Aspect.QUALITY)}
    assert [alert.limit for alert in rig.alerts.open()] == [2.0, 0.15]


async def test_what_is_not_the_versions_doing_counts_for_nothing(rig):
    rig.traffic(300)
    for error in ("client_left", "overloaded", "queue_full", "context_length_exceeded"):
        rig.alerts.observed([rig.pair(success=False, error=error) for _ in range(100)])
    await rig.alerts.tick()
    assert rig.told == []


async def test_what_is_on_record_from_earlier_runs_is_what_it_is_compared_with(rig):
    rig.evidence["jobs", "m@1"] = Evidence(samples=500, successes=498, latency_buckets=((60, 498),))
    rig.traffic(40, fails=0.7)
    await rig.alerts.tick()
    assert rig.kinds() == ["alert.opened"]


async def test_an_open_alert_outlives_a_restart_and_is_closed_by_what_comes_after_it(rig):
    rig.traffic(300)
    rig.traffic(60, fails=0.6)
    await rig.alerts.tick()
    (alert,) = rig.alerts.open()
    rig.start()
    await rig.alerts.resume()
    assert rig.alerts.open() == (alert,)
    rig.traffic(100, fails=0.6)
    await rig.alerts.tick()
    assert rig.kinds() == ["alert.opened"], "told once"
    rig.traffic(500)
    await rig.alerts.tick()
    assert rig.kinds() == ["alert.opened", "alert.closed"]


async def test_an_alert_of_which_nothing_is_heard_is_closed_and_says_so(rig):
    rig.traffic(300)
    rig.traffic(60, fails=0.6)
    await rig.alerts.tick()
    rig.clock.wall += 10 * DAY
    rig.clock.wall -= 10 * DAY
    rig.clock.pass_(QUIET_S - 1)
    await rig.alerts.tick()
    assert rig.kinds() == ["alert.opened"]
    rig.clock.pass_(2)
    await rig.alerts.tick()
    assert dict(rig.told[-1].data)["ending"] == "nothing was heard of it for 6 h"


async def test_what_has_been_so_for_a_week_is_usual(rig):
    rig.traffic(300)
    for _ in range(int(NORMAL_S / HOUR) + 2):
        rig.traffic(20, fails=0.6)
        await rig.alerts.tick()
        rig.clock.pass_(HOUR)
    assert rig.kinds() == ["alert.opened", "alert.closed"]
    assert "usual from now on" in str(dict(rig.told[-1].data)["ending"])
    rig.traffic(1000, fails=0.6)
    await rig.alerts.tick()
    assert len(rig.told) == 2


async def test_a_store_that_refuses_is_tried_again_and_nothing_is_told_meanwhile(rig, monkeypatch):
    rig.traffic(300)
    rig.traffic(60, fails=0.6)
    working = rig.store.save_alert

    async def full(*_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(rig.store, "save_alert", full)
    await rig.alerts.tick()
    assert rig.told == []
    assert "alerts could not be written down: the disk is full" in rig.alerts.problems()
    rig.traffic(500)
    monkeypatch.setattr(rig.store, "save_alert", working)
    await rig.alerts.tick()
    assert rig.kinds() == ["alert.opened", "alert.closed"], "in order, none lost"


async def test_nothing_that_is_wrong_reaches_the_recorder(rig):
    rig.score(7.0)
    rig.alerts.observed([(None, None)])
    await rig.alerts.tick()
    assert rig.told == []


async def test_no_more_versions_are_watched_than_there_is_room_for(rig):
    rig.start(watched_most=10)
    rig.traffic(300, ref="bad@1")
    rig.traffic(60, fails=0.6, ref="bad@1")
    for number in range(30):
        rig.traffic(1, task=f"task{number}")
    await rig.alerts.tick()
    assert rig.kinds() == ["alert.opened", "alert.closed"]
    assert "too many" in str(dict(rig.told[-1].data)["ending"])
    assert len(rig.alerts._watched) == 10


# ------------------------------------------------------------ objectives


async def test_a_burning_budget_is_an_alert_and_its_end_too(rig):
    rig.start({"jobs": Objectives(success=0.99)})
    for _ in range(60):
        rig.traffic(10, fails=0.5)
        await rig.alerts.tick()
        rig.clock.pass_(10)
    opened = {
        dict(event.data)["speed"]
        for event in rig.told
        if event.kind == "alert.opened" and dict(event.data).get("speed")
    }
    assert opened == {"fast", "slow"}
    (fast,) = (one for one in rig.alerts.open() if one.speed == "fast")
    assert (fast.cause, fast.ref, fast.before) == (Cause.OBJECTIVE, None, 0.99)
    assert fast.now == pytest.approx(0.5, abs=0.15)
    assert any("error budget of errors is used up" in one for one in rig.alerts.problems())
    for _ in range(40):
        rig.clock.pass_(60)
        rig.traffic(10)
        await rig.alerts.tick()
    closed = [dict(event.data).get("speed") for event in rig.told if event.kind == "alert.closed"]
    assert "fast" in closed


async def test_a_fallback_that_answers_makes_up_for_the_failure_before_it(rig):
    rig.start({"jobs": Objectives(success=0.99)})
    for error in ("provider_error", "context_length_exceeded"):
        for _ in range(10):
            first = rig.pair(success=False, error=error)
            second = rig.pair(ref="m@2", parent=first[0].id)
            rig.alerts.observed([first])
            rig.alerts.observed([second])
    (standing,) = rig.alerts.standings()["jobs"]
    assert (standing.events, standing.bad) == (20, 0)


async def test_what_earlier_runs_recorded_counts_against_the_budget(rig):
    rows = []
    for number in range(60):
        rig.clock.pass_(MINUTE)
        failed = rig.pair(success=number % 2 == 0, latency_ms=900.0)
        rows.append(failed)
        if not failed[1].success and number % 4 == 1:
            rows.append(rig.pair(ref="m@2", parent=failed[0].id, latency_ms=50.0))
        rows.append(rig.pair(success=False, error="client_left"))
        rows.append(rig.pair(task="other"))
    said = Feedback(request_id="r", decision_id=rows[0][0].id, task="jobs", ref="m@1", score=0.4, at=rig.clock.now())
    await rig.store.write_batch(Batch(decisions=rows, feedback=(said, replace(said, source="judge", score=0.7))))
    rig.clock.pass_(30)
    rig.start({"jobs": Objectives(success=0.9, latency_ms=500.0, quality=0.5, window_s=DAY)})
    await rig.alerts.resume()
    errors, latency, quality = rig.alerts.standings()["jobs"]
    assert (errors.events, errors.bad) == (60, 15)
    assert errors.burns[1].events == 60
    assert (latency.events, latency.bad) == (45, 30)
    assert quality.events == pytest.approx(1.5)
    assert quality.bad == pytest.approx(0.6 + 0.5 * 0.3)
    assert errors.measured_s == pytest.approx(HOUR, abs=20 * MINUTE)


async def test_other_objectives_close_the_alerts_of_the_old_ones(rig):
    promised = {"jobs": Objectives(success=0.99), "calm": Objectives(success=0.5)}
    rig.start(promised)
    for _ in range(60):
        rig.traffic(10, fails=0.5)
        await rig.alerts.tick()
        rig.clock.pass_(10)
    assert [one for one in rig.alerts.open() if one.cause is Cause.OBJECTIVE]
    rig.start(promised)
    await rig.alerts.resume()
    assert [one for one in rig.alerts.open() if one.cause is Cause.OBJECTIVE], "they outlive a restart"
    await rig.alerts.configure({"jobs": Objectives(success=0.2), "calm": Objectives(success=0.5)})
    assert not [one for one in rig.alerts.open() if one.cause is Cause.OBJECTIVE]
    assert dict(rig.told[-1].data)["ending"] == "the objective was changed"
    await rig.alerts.configure({})
    assert rig.alerts.standings() == {}


async def test_a_wall_clock_that_is_set_changes_no_budget(rig):
    rig.start({"jobs": Objectives(success=0.9)})
    rig.traffic(100, fails=0.05)
    before = rig.alerts.standings()["jobs"]
    for jump in (-40 * DAY, 80 * DAY):
        rig.clock.wall += jump
        await rig.alerts.tick()
        assert rig.alerts.standings()["jobs"] == before
    assert rig.told == []

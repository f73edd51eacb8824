"""Budgets as a service on a real store: concurrency, money that outlives a crash, the start after one, declared budgets."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fakes import FakeClock, version
from podium.core.spending import hour_of
from podium.domain.budget import EACH, NOBODY, Budget, Need, Period, Price, Scope, Subjects, Unit, Used
from podium.domain.cost import Cause, Cost, SpentKey, SpentRow
from podium.domain.decision import Outcome
from podium.domain.request import Endpoint, RequestHead
from podium.domain.swap import Event
from podium.errors import Conflict, InvalidRequest, NotFound, OverBudget, StoreError
from podium.ports import Batch
from podium.services import wire
from podium.services.budgeting import NOTHING, Budgeting
from podium.services.budgeting.estimates import Estimates
from podium.services.budgeting.ledger import MOST_SUBJECTS
from podium.store import open_store
from podium.store.sqlite import SqliteStore

NOON = 1_795_262_400.0  # 2026-11-21 12:00 UTC
WHO = Subjects("ann", "code", "hosted")


class Rig:
    def __init__(self, store: SqliteStore, clock: FakeClock | None = None) -> None:
        self.store = store
        self.clock = clock or FakeClock()
        self.clock.time = NOON if clock is None else clock.time
        self.events: list[Event] = []
        numbers = itertools.count()
        start = time.monotonic_ns()
        self.budgeting = Budgeting(
            store=store,
            clock=self.clock,
            emit=self.events.append,
            new_id=lambda: f"res_{start}_{next(numbers)}",
            provider=lambda ref: "hosted",
            flush_interval_s=0.001,
        )

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    async def set(self, name: str = "b", limit: int = 100, unit: Unit = Unit.TOKENS, **fields: object) -> Budget:
        made = Budget(name=name, scope=Scope.TASK, subject="code", unit=unit, limit=limit, period=Period.DAY)
        return await self.budgeting.set(replace(made, **fields))

    def used(self, name: str = "b", subject: str = "code") -> tuple[int, int]:
        _, accounts = self.budgeting.standings(name)
        found = next(one for one in accounts if one.subject == subject)
        return found.used, found.reserved


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    store = open_store(tmp_path / "podium.db")
    yield Rig(store)
    await store.close()


async def again(rig: Rig, *declared: Budget) -> Rig:
    """Another process on the same store, after this one was killed."""
    made = Rig(rig.store, rig.clock)
    await made.budgeting.resume(declared)
    return made


def head(text: str = "hi", caller: str = "ann", priority: str | None = None, **fields: object) -> RequestHead:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
    return wire.parse(Endpoint.CHAT, json.dumps(body).encode(), request_id="r", caller=caller, priority=priority)


def outcome(task: str = "code", tokens: int = 20, ref: str = "m@1") -> Outcome:
    return Outcome(
        decision_id="d", request_id="r", task=task, ref=ref, at=NOON, success=True, error=None, streamed=False,
        latency_ms=50.0, ttft_ms=None, cost=Cost(wall_ms=50.0, cpu_ms=40.0, input_tokens=5, output_tokens=tokens),
    )  # fmt: skip


@pytest.mark.requirement("COST-3")
async def test_a_hundred_at_once_never_hold_more_than_the_limit(rig: Rig):
    await rig.set(limit=1000)
    refused, served = [], []

    async def one(number: int) -> None:
        try:
            held = await rig.budgeting.reserve(f"op{number}", WHO, {Unit.TOKENS: Need(60)})
        except OverBudget as error:
            refused.append(error)
            return
        used, reserved = rig.used()
        assert used + reserved <= 1000
        await asyncio.sleep(0)
        held.settle(Used(tokens=60))
        served.append(number)

    await asyncio.gather(*(one(number) for number in range(100)))
    assert len(served) == 16
    assert rig.used() == (960, 0)
    assert {error.status for error in refused} == {429}
    assert {error.type for error in refused} == {"insufficient_quota"}


async def test_a_refusal_names_the_budget_the_end_of_its_window_and_what_to_do(rig: Rig):
    await rig.set(limit=100, timezone="Europe/Berlin")
    held = await rig.budgeting.reserve("a", WHO, {Unit.TOKENS: Need(90)})
    with pytest.raises(OverBudget) as busy:
        await rig.budgeting.reserve("b", WHO, {Unit.TOKENS: Need(50)})
    assert busy.value.code == "budget_busy"
    assert busy.value.retry_after_s == 1.0
    held.settle(Used(tokens=90))
    with pytest.raises(OverBudget) as large:
        await rig.budgeting.reserve("c", WHO, {Unit.TOKENS: Need(50)})
    assert large.value.code == "insufficient_quota"
    for part in (
        "budget b",
        "10 tokens left",
        "2026-11-22 00:00+01:00 (Europe/Berlin)",
        "max_tokens",
        "podium budgets set b",
    ):
        assert part in large.value.message
    assert large.value.retry_after_s == 11 * 3600
    with pytest.raises(OverBudget) as low:
        await rig.budgeting.reserve("d", WHO, {Unit.TOKENS: Need(1)}, low=True)
    assert low.value.code == "budget_deferred"
    assert low.value.retry_after_s == 11 * 3600
    last = await rig.budgeting.reserve("e", WHO, {Unit.TOKENS: Need(10)})
    last.settle(Used(tokens=10))
    with pytest.raises(OverBudget, match="used up"):
        await rig.budgeting.reserve("f", WHO, {Unit.TOKENS: Need(1)})
    assert rig.kinds() == ["budget.warned", "budget.refused", "budget.exhausted"]
    rig.clock.time += 11 * 3600
    (await rig.budgeting.reserve("g", WHO, {Unit.TOKENS: Need(100)})).release()
    assert rig.used() == (0, 0)


async def test_all_budgets_must_have_room_and_none_is_touched_when_one_has_not(rig: Rig):
    await rig.set("a", 100)
    await rig.set("z", 10, scope=Scope.PROVIDER, subject="hosted")
    with pytest.raises(OverBudget, match="budget z") as error:
        await rig.budgeting.reserve("op", WHO, {Unit.TOKENS: Need(50)})
    assert error.value.elsewhere
    assert rig.used("a") == (0, 0)


async def test_for_each_every_subject_has_the_budget_for_itself_and_too_many_share_one(rig: Rig):
    await rig.set(scope=Scope.KEY, subject=EACH, limit=10)
    for key in ("ann", "bob", ""):
        (await rig.budgeting.reserve("op", Subjects(key, "code", "p"), {Unit.TOKENS: Need(8)})).settle(Used(tokens=8))
    assert rig.used(subject="bob") == (8, 0)
    assert rig.used(subject=NOBODY) == (8, 0)
    for number in range(MOST_SUBJECTS - 3):
        rig.budgeting.ledger.account("b", f"k{number}", NOON)
    (await rig.budgeting.reserve("op", Subjects("late", "code", "p"), {Unit.TOKENS: Need(8)})).settle(Used(tokens=8))
    with pytest.raises(OverBudget, match=r"\(others\)"):
        await rig.budgeting.reserve("op", Subjects("later", "code", "p"), {Unit.TOKENS: Need(8)})
    rig.clock.time += 3 * 86_400
    await rig.budgeting.flush()
    assert len(rig.budgeting.standings("b")[1]) == 0


# ------------------------------------------------------------ what outlives a process


async def test_what_was_used_is_there_after_a_restart_and_a_clock_set_back_meanwhile(rig: Rig):
    await rig.set(limit=100)
    (await rig.budgeting.reserve("a", WHO, {Unit.TOKENS: Need(90)})).settle(Used(tokens=90))
    await rig.budgeting.flush()
    rig.clock.time -= 86_400
    after = await again(rig)
    assert after.used() == (90, 0)
    assert after.kinds() == []
    with pytest.raises(OverBudget):
        await after.budgeting.reserve("b", WHO, {Unit.TOKENS: Need(20)})


@pytest.mark.requirement("COST-3")
async def test_money_is_on_disk_before_the_call_and_counts_as_spent_after_a_crash(rig: Rig):
    await rig.set("usd", 1_000_000, Unit.MONEY, scope=Scope.PROVIDER, subject="hosted")
    await rig.set("tok", 1000)
    needs = {Unit.MONEY: Need(300_000), Unit.TOKENS: Need(100)}
    settled = await rig.budgeting.reserve("done", WHO, needs)
    crashed = await rig.budgeting.reserve("open", WHO, needs)
    assert [row.amount for row in await rig.store.held_budgets()] == [300_000, 300_000]
    settled.settle(Used(tokens=10, microusd=1_000))
    await rig.budgeting.flush()
    assert crashed.ids  # and here the process is killed
    after = await again(rig)
    assert after.used("usd", "hosted") == (301_000, 0)
    assert after.used("tok") == (10, 0)
    assert after.kinds() == ["budget.recovered"]
    assert await rig.store.held_budgets() == ()
    assert (await again(rig)).used("usd", "hosted") == (301_000, 0)


async def test_a_caller_who_leaves_while_money_is_reserved_holds_nothing(rig: Rig):
    await rig.set("usd", 1_000_000, Unit.MONEY, scope=Scope.PROVIDER, subject="hosted")
    asking = asyncio.create_task(rig.budgeting.reserve("op", WHO, {Unit.MONEY: Need(5)}))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert rig.used("usd", "hosted") == (0, 0)
    await rig.budgeting.flush()
    assert await rig.store.held_budgets() == ()


CHILD = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_budgeting import Rig, WHO
from podium.store import open_store
from podium.domain.budget import *

async def main():
    rig = Rig(open_store(Path(sys.argv[1])))
    await rig.set("usd", 10**9, Unit.MONEY, scope=Scope.PROVIDER, subject="hosted")
    await rig.set("tok", 10**9)
    run = asyncio.create_task(rig.budgeting.run())
    async def one(number):
        held = await rig.budgeting.reserve(f"op{number}", WHO, {Unit.MONEY: Need(1000), Unit.TOKENS: Need(10)})
        print("called", flush=True)   # from here on the provider may have been paid
        await asyncio.sleep(0.002 * (number % 7))
        held.settle(Used(tokens=10, microusd=900))
        print("settled", flush=True)
    number = 0
    while True:
        await asyncio.gather(*(one(number + k) for k in range(20)))
        number += 20

asyncio.run(main())
"""


def killed_in_the_middle(path: Path) -> tuple[int, int]:
    """A process that spends until it is killed with calls under way; how many it made, and how many ended."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    called = settled = 0
    with child.stdout as lines:
        for line in lines:
            called += line == "called\n"
            settled += line == "settled\n"
            if called >= 150 and called > settled:
                child.kill()
                break
        rest = lines.read()
    child.wait(10)
    return called + rest.count("called"), settled + rest.count("settled")


@pytest.mark.requirement("COST-3")
async def test_killed_with_reservations_open_no_money_is_forgotten_and_nothing_stays_reserved(tmp_path: Path):
    path = tmp_path / "podium.db"
    called, settled = killed_in_the_middle(path)
    store = open_store(path)
    try:
        after = Rig(store)
        await after.budgeting.resume(())
        money, reserved = after.used("usd", "hosted")
        assert reserved == 0
        # each call that was made costs what it used, or else what was reserved for it; one batch may have been on its way
        assert called * 900 <= money <= (called + 20) * 1000
        tokens, reserved = after.used("tok")
        assert reserved == 0
        assert tokens <= settled * 10 + 200
        assert await store.held_budgets() == ()
    finally:
        await store.close()


async def test_a_store_that_fails_loses_nothing_that_was_settled(rig: Rig, monkeypatch: pytest.MonkeyPatch):
    await rig.set(limit=100)
    (await rig.budgeting.reserve("a", WHO, {Unit.TOKENS: Need(9)})).settle(Used(tokens=9))

    async def full(*_: object) -> None:
        raise StoreError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(rig.store, "settle_budgets", full)
        with pytest.raises(StoreError):
            await rig.budgeting.flush()
        assert rig.budgeting.error == "disk full"
    await rig.budgeting.flush()
    assert rig.budgeting.error is None
    assert (await again(rig)).used() == (9, 0)


# ------------------------------------------------------------ budgets come and go


async def test_another_limit_keeps_what_was_used_and_another_kind_begins_anew(rig: Rig):
    await rig.set(limit=100)
    (await rig.budgeting.reserve("a", WHO, {Unit.TOKENS: Need(60)})).settle(Used(tokens=60))
    await rig.set(limit=50)
    assert rig.used() == (60, 0)
    await rig.set(limit=50, period=Period.HOUR)
    assert rig.used() == (0, 0)
    await rig.budgeting.remove("b")
    assert not rig.budgeting.limited
    with pytest.raises(NotFound):
        await rig.budgeting.remove("b")
    assert (await again(rig)).budgeting.ledger.budgets == {}


async def test_declared_budgets_are_changed_in_the_file_only(rig: Rig):
    declared = Budget(name="file", scope=Scope.TASK, subject="code", unit=Unit.TOKENS, limit=10)
    after = await again(rig, declared)
    with pytest.raises(Conflict):
        await after.set("file")
    with pytest.raises(Conflict):
        await after.budgeting.remove("file")
    await after.budgeting.declare([replace(declared, limit=20)])
    assert after.budgeting.ledger.budgets["file"].limit == 20
    await after.budgeting.declare([])
    assert not after.budgeting.limited


async def test_a_zone_nobody_knows_is_refused(rig: Rig):
    with pytest.raises(InvalidRequest, match="time zone"):
        await rig.set(timezone="Mars/Olympus")
    assert rig.budgeting.ledger.budgets == {}


async def test_a_new_budget_begins_with_what_is_on_record_of_its_window(rig: Rig):
    yesterday, today = hour_of(NOON) - 24, hour_of(NOON) - 2
    row = SpentRow(operations=3, input_tokens=10, output_tokens=30, wall_ms=5.0, cpu_ms=4.0, cpu_samples=3)
    rows = {
        SpentKey(yesterday, "code", "m@1", Cause.REQUEST): row,
        SpentKey(today, "code", "m@1", Cause.REQUEST): row,
        SpentKey(today, "code", "m@1", Cause.SHADOW): row,
        SpentKey(today, "other", "m@1", Cause.REQUEST): row,
    }
    await rig.store.write_batch(Batch(spending=rows))
    await rig.set(limit=100)
    assert rig.used() == (40, 0)
    await rig.set("p", scope=Scope.PROVIDER, subject=EACH)
    assert rig.used("p", "hosted") == (120, 0)
    await rig.set(limit=200)
    assert rig.used() == (40, 0)


async def test_has_tells_whether_a_subject_has_a_budget_of_a_unit(rig: Rig):
    await rig.set("usd", 5, Unit.MONEY, scope=Scope.PROVIDER, subject="openai")
    has = rig.budgeting.has
    assert has(Scope.PROVIDER, "openai", Unit.MONEY)
    assert not has(Scope.PROVIDER, "anthropic", Unit.MONEY)
    assert not has(Scope.PROVIDER, "openai", Unit.TOKENS)
    await rig.set("all", 5, Unit.MONEY, scope=Scope.PROVIDER, subject=EACH)
    assert has(Scope.PROVIDER, "anthropic", Unit.MONEY)


# ------------------------------------------------------------ estimates


async def test_a_request_reserves_what_it_may_use_by_its_own_limit_or_what_its_task_uses(rig: Rig):
    estimates, m = rig.budgeting.estimates, version("m@1")
    asked = head(max_tokens=50, n=2)
    assert estimates.need(Unit.TOKENS, asked, "code", m) == Need(100 + -(-asked.size // 3))
    assert not estimates.need(Unit.TOKENS, head(), "code", m).known
    estimates.outcomes([outcome(tokens=20)] * 18 + [outcome(tokens=200)] * 2)
    assert estimates.need(Unit.TOKENS, head(), "code", m) == Need(200 + -(-head().size // 3))
    assert estimates.need(Unit.COMPUTE, head(), "code", m) == Need(40)
    assert estimates.need(Unit.COMPUTE, head(), "code", version("new@1")) == Need(40)
    assert not estimates.need(Unit.COMPUTE, head(), "other", m).known
    assert estimates.need(Unit.MONEY, asked, "code", m) == Need(0)
    estimates.price = lambda _: Price(input_per_mtok=3_000_000.0, output_per_mtok=15_000_000.0)
    tokens_in = -(-asked.size // 3)
    assert estimates.need(Unit.MONEY, asked, "code", m) == Need(tokens_in * 3 + 100 * 15)


async def test_no_budget_for_a_request_is_nothing_to_settle(rig: Rig):
    await rig.set(limit=100)
    held = await rig.budgeting.admit(head(), "poetry", version("m@1"), "d")
    assert held is NOTHING
    held.ended(outcome(), used=True)
    held.settle(Used(tokens=5))
    assert rig.used() == (0, 0)


async def test_low_priority_is_read_from_the_request(rig: Rig):
    await rig.set(limit=1000)
    (await rig.budgeting.reserve("a", WHO, {Unit.TOKENS: Need(910)})).settle(Used(tokens=910))
    with pytest.raises(OverBudget) as error:
        await rig.budgeting.admit(head(max_tokens=3, priority="low"), "code", version("m@1"), "d")
    assert error.value.code == "budget_deferred"
    assert (await rig.budgeting.admit(head(max_tokens=3), "code", version("m@1"), "d")) is not NOTHING


async def test_an_attempt_that_was_turned_away_used_nothing(rig: Rig):
    await rig.set(limit=1000)
    turned = await rig.budgeting.admit(head(max_tokens=3), "code", version("m@1"), "d")
    turned.ended(outcome(), used=False)
    turned.ended(outcome(), used=True)
    assert rig.used() == (0, 0)


async def test_estimates_forget_the_tasks_heard_of_first():
    estimates = Estimates()
    estimates.outcomes(outcome(task=f"t{number}") for number in range(3_000))
    assert not estimates.need(Unit.COMPUTE, head(), "t0", version("m@1")).known
    assert estimates.need(Unit.COMPUTE, head(), "t2999", version("m@1")).known

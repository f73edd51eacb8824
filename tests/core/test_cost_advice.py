"""Advice: each kind where its numbers say so, silence where they do not, and a word where they are not known."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from podium.core.cost_advice import Facts, advise
from podium.core.cost_cells import Cell, Spent, added, cell_of, empty
from podium.core.cost_profile import profile
from podium.core.cost_trends import trends
from podium.domain.belief import Belief
from podium.domain.cost import Cost
from podium.domain.costing import Advice, AdviceKind, CostProfile, TrendPoint
from podium.domain.instance import InstanceState, InstanceView

pytestmark = pytest.mark.requirement("COST-2")
NOW = 1_700_086_400.0
HOUR = 3_600.0


def cell(n: int = 100, *, wall_ms: float = 500.0, wait_ms: float = 1.0, **cost: float | None) -> Cell:
    rng = random.Random(n)

    def spent() -> Spent:
        factor = rng.uniform(0.9, 1.1)
        figures = {name: None if value is None else value * factor for name, value in cost.items()}
        made = Cost(wall_ms=wall_ms * factor, **figures)  # type: ignore[arg-type] # fields by name
        return Spent(success=True, error=None, at=NOW, cost=made, wait_ms=wait_ms * factor, ttft_ms=None)

    return cell_of([spent() for _ in range(n)])


def whole(found: Cell, busy_s: float, ref: str = "a@1") -> CostProfile:
    return profile(found, None, ref, busy=added([found, empty(busy_s * 1000)]), cores=8)


def instance(ref: str = "a@1", **fields: object) -> InstanceView:
    base = InstanceView(
        id=f"{ref}#1", ref=ref, state=InstanceState.READY, pid=1, active=0, waiting=0, concurrency=2, memory_mb=900.0,
        cpu_s=1.0, loaded_at=NOW - 600, load_s=20.0, last_used_at=NOW, pinned=False, device="ram", served=100,
    )  # fmt: skip
    return replace(base, **fields)  # type: ignore[arg-type] # fields by name


def facts(found: Cell, busy_s: float, **more: object) -> Facts:
    return Facts(
        now=NOW, since=NOW - 24 * HOUR, cores=8, gpus=0, versions={"a@1": whole(found, busy_s)}, cells={("t", "a@1"): found},
        **more,  # type: ignore[arg-type] # fields by name
    )  # fmt: skip


def only(given: Facts, kind: AdviceKind) -> Advice:
    found, _ = advise(given)
    assert [one.kind for one in found] == [kind], found
    assert found[0].command is not None
    assert found[0].command.startswith("podium ")
    return found[0]


def test_a_processor_that_is_half_idle_gets_a_further_copy_when_its_places_are_taken():
    idle = cell(cpu_ms=1_000.0)  # 100 x 1 s over 25 s of 8 cores: half of them
    given = facts(
        idle, 27.0, instances=(instance(concurrency=2),), free_mb={"a@1": 4_000.0}, footprint_mb={"a@1": 900.0}
    )
    said = only(given, AdviceKind.IDLE_COMPUTE)
    assert said.command == "podium keep a@1 --copies 1:2"
    assert "47% of 8 cores worked for it and there is no GPU; 1.9 requests ran at a time of 2" in said.says
    assert said.evidence["cpu_share"] == pytest.approx(100 * 1_000 / (27_000 * 8), rel=0.02)


def test_an_idle_processor_with_free_places_is_told_to_send_more():
    given = facts(cell(cpu_ms=1_000.0), 50.0, instances=(instance(concurrency=4),))
    said = only(given, AdviceKind.IDLE_COMPUTE)
    assert "send more at a time" in said.do
    assert said.command == "podium keep a@1 --alive 5m"


@pytest.mark.parametrize(("cpu_ms", "busy_s", "n"), [(3_000.0, 50.0, 100), (1_000.0, 5.0, 100), (1_000.0, 50.0, 20)])
def test_a_busy_processor_a_short_time_and_few_requests_are_no_reason_for_advice(cpu_ms: float, busy_s: float, n: int):
    assert advise(facts(cell(n, cpu_ms=cpu_ms), busy_s)) == ([], [])


def test_a_machine_that_others_keep_busy_is_not_idle():
    other = whole(cell(cpu_ms=6_000.0), 100.0, "*")
    assert advise(facts(cell(cpu_ms=1_000.0), 50.0, machine=other)) == ([], [])


def test_use_that_is_not_measured_is_said_to_be_unknown():
    found, unknown = advise(facts(cell(), 50.0))
    assert found == []
    assert [(one.kind, one.ref) for one in unknown] == [(AdviceKind.IDLE_COMPUTE, "a@1")]
    assert "CPU use is not known" in unknown[0].why
    found, unknown = advise(replace(facts(cell(cpu_ms=1_000.0), 50.0), gpus=1))
    assert "GPU use is not known" in unknown[0].why


def test_a_gpu_that_works_is_no_idle_machine_and_one_that_does_not_is():
    working = replace(facts(cell(cpu_ms=500.0, gpu_ms=400.0), 50.0), gpus=1)
    assert advise(working)[0] == []
    idle = replace(facts(cell(cpu_ms=500.0, gpu_ms=50.0), 50.0), gpus=1)
    assert "10% of a GPU" in only(idle, AdviceKind.IDLE_COMPUTE).says


def test_waits_beside_free_memory_get_a_further_copy_and_without_it_a_smaller_one():
    waiting = cell(cpu_ms=3_000.0, wait_ms=2_000.0)
    room = facts(
        waiting, 50.0, free_mb={"a@1": 2_000.0}, footprint_mb={"a@1": 900.0}, instances=(instance(load_s=None),)
    )
    said = only(room, AdviceKind.WAITS_WITH_ROOM)
    assert said.command == "podium keep a@1 --copies 1:2"
    assert "2,000 MB are free and a copy takes 900 MB" in said.says
    none = replace(room, free_mb={"a@1": 100.0})
    assert "a further copy takes 900 MB and 100 MB are free" in only(none, AdviceKind.OVERLOADED).says
    _, unknown = advise(replace(room, free_mb={}))
    assert "how much memory is free is not known" in unknown[0].why


def test_waits_for_a_processor_that_is_full_are_not_helped_by_copies():
    waiting = cell(cpu_ms=3_000.0, wait_ms=2_000.0)
    smaller = cell(cpu_ms=500.0)
    given = facts(
        waiting,
        50.0,
        machine=whole(cell(cpu_ms=7_500.0), 100.0, "*"),
        free_mb={"a@1": 9_000.0},
        footprint_mb={"a@1": 9.0},
    )
    given = replace(given, cells={**given.cells, ("t", "b@1"): smaller})
    said = only(given, AdviceKind.OVERLOADED)
    assert "more copies would not help" in said.says
    assert said.command == "podium costs compare a@1 b@1 --task t"


def test_waits_as_long_as_loading_are_waits_for_loading():
    few = added([cell(90, cpu_ms=3_000.0, wait_ms=1.0), cell(10, cpu_ms=3_000.0, wait_ms=20_000.0)])
    said = only(facts(few, 50.0, instances=(instance(load_s=20.0),)), AdviceKind.WAITS_WITH_ROOM)
    assert said.command == "podium keep a@1 --alive -1 --preload"


def test_a_model_that_is_loaded_and_hardly_used_is_let_go():
    long = instance(loaded_at=NOW - 10 * HOUR)
    given = facts(cell(20, cpu_ms=3_000.0), 20.0, instances=(long,))
    said = only(given, AdviceKind.HARDLY_USED)
    assert "loaded for 10.0 h in 900 MB of memory and answered 100 requests" in said.says
    assert said.command == "podium keep a@1 --alive 5m"
    pinned = replace(given, instances=(replace(long, pinned=True),))
    assert only(pinned, AdviceKind.HARDLY_USED).command == "podium pin a@1 --off"
    for other in (instance(loaded_at=NOW - 600), replace(long, active=1), replace(long, memory_mb=None)):
        assert advise(replace(given, instances=(other,)))[0] == []
    assert advise(replace(given, versions={"a@1": whole(given.cells["t", "a@1"], 2_000.0)}))[0] == []


def test_what_is_waited_for_because_it_loads_is_not_let_go_in_the_same_breath():
    few = added([cell(90, cpu_ms=3_000.0, wait_ms=1.0), cell(10, cpu_ms=3_000.0, wait_ms=20_000.0)])
    given = facts(few, 50.0, instances=(instance(load_s=20.0, loaded_at=NOW - 10 * HOUR),))
    assert only(given, AdviceKind.WAITS_WITH_ROOM).command == "podium keep a@1 --alive -1 --preload"


def belief(mean: float, sd: float = 0.01, weight: float = 60.0, success: float = 1.0) -> Belief:
    return Belief(mean=mean, sd=sd, index=mean, weight=weight, success=success)


def rivals(own: Belief, its: Belief, *, price: float = 300.0) -> Facts:
    dear, cheap = cell(100, cpu_ms=4_000.0, price_microusd=int(price)), cell(100, cpu_ms=4_000.0, price_microusd=100)
    return Facts(
        now=NOW, since=NOW - HOUR, cores=8, gpus=0, versions={}, cells={("t", "a@1"): dear, ("t", "b@1"): cheap},
        beliefs={"t": {"a@1": own, "b@1": its}}, bound={"t": "a@1"}, active=frozenset({"a@1", "b@1"}),
        about={"a@1": "7 G parameters, Q8_0"},
    )  # fmt: skip


def test_a_dearer_version_that_is_surely_no_better_is_named_with_both_numbers():
    said = only(rivals(belief(0.80), belief(0.81)), AdviceKind.DEARER_NO_BETTER)
    assert (said.ref, said.task, said.command) == ("a@1", "t", "podium swap t b@1 --gradual")
    assert said.evidence["ratio"] == pytest.approx(3.0, rel=0.05)
    assert "a@1 (7 G parameters, Q8_0) takes" in said.says
    free = replace(rivals(belief(0.80), belief(0.81)), bound={})
    assert only(free, AdviceKind.DEARER_NO_BETTER).command == "podium tasks set t --prefer low_cost"


@pytest.mark.parametrize(
    ("own", "its", "price"),
    [
        (belief(0.85), belief(0.80), 300.0),
        (belief(0.80, sd=0.1), belief(0.80), 300.0),
        (belief(0.80, weight=5.0), belief(0.81), 300.0),
        (belief(0.80), belief(0.81, success=0.9), 300.0),
        (belief(0.80), belief(0.81), 104.0),
    ],
    ids=["better", "perhaps better", "few scores", "the other fails", "hardly dearer"],
)
def test_nothing_is_said_of_a_version_that_may_be_worth_its_price(own: Belief, its: Belief, price: float):
    assert advise(rivals(own, its, price=price))[0] == []


def test_a_version_that_is_not_active_is_no_alternative():
    assert advise(replace(rivals(belief(0.80), belief(0.81)), active=frozenset({"a@1"})))[0] == []


def test_what_gets_slower_is_told_once():
    points = [TrendPoint(at=day * 86_400.0, n=50, mean=100.0 * 1.1**day) for day in range(10)]
    found = trends({("t", "a@1"): {"wall_ms": points, "wall_ms_per_token": points}}, 86_400.0)
    said = only(facts(cell(10), 1.0, trends=found), AdviceKind.GETTING_WORSE)
    assert "wall_ms_per_token of a@1 on t rose by 136%" in said.says
    assert said.command == "podium costs trends --task t --model a@1"

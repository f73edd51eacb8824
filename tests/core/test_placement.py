"""Plans never exceed the budget, never touch what is protected, and evict nothing in vain."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.placement import Evict, InstanceFact, Load, PoolSnapshot, Refuse, Step, Wait, plan
from podium.domain.instance import InstanceState

MB = 2**20
S = InstanceState


def fact(ref: str, mb: int = 100, state: InstanceState = S.READY, **over) -> InstanceFact:
    return InstanceFact(ref=ref, state=state, footprint_bytes=mb * MB, **over)


def pool(budget_mb: int, *facts: InstanceFact) -> PoolSnapshot:
    return PoolSnapshot(budget_bytes=budget_mb * MB, instances=facts)


def test_what_fits_is_loaded_and_what_is_ready_needs_nothing() -> None:
    snapshot = pool(300, fact("a"), fact("new", 200, S.STOPPED))
    assert plan(snapshot, "new") == (Load("new"),)
    assert plan(snapshot, "a") == ()


def test_the_pool_may_ask_for_one_it_already_marked_as_loading() -> None:
    assert plan(pool(200, fact("new", 200, S.LOADING)), "new") == (Load("new"),)


@pytest.mark.requirement("POOL-2")
def test_the_cheapest_to_bring_back_for_its_idle_time_goes_first() -> None:
    snapshot = pool(
        300,
        fact("slow-to-load", idle_s=99, load_s=60),  # 0.6
        fact("long-idle", idle_s=999, load_s=60),  # 0.06
        fact("just-used", idle_s=1, load_s=1),  # 0.5
        fact("new", 100, S.STOPPED),
    )
    assert plan(snapshot, "new") == (Evict("long-idle", "idle for 999 s, its 100 MB go to new"), Load("new"))


def test_no_more_is_evicted_than_needed() -> None:
    snapshot = pool(
        400,
        fact("small", 50, idle_s=900, load_s=1),
        fact("big", 300, idle_s=800, load_s=1),
        fact("new", 300, S.STOPPED),
    )
    assert [step.ref for step in plan(snapshot, "new") if isinstance(step, Evict)] == ["big"]


@pytest.mark.requirement("POOL-1")
@pytest.mark.parametrize(
    "held",
    [
        fact("x", active=1),
        fact("x", waiting=1),
        fact("x", state=S.LOADING),
        fact("x", state=S.DRAINING),
    ],
)
def test_it_waits_for_what_is_busy_loading_or_draining(held: InstanceFact) -> None:
    (step,) = plan(pool(150, held, fact("new", 100, S.STOPPED)), "new")
    assert isinstance(step, Wait)
    assert "MB" in step.reason


@pytest.mark.parametrize("held", [fact("x", pinned=True), fact("x", reserved=True)])
def test_it_refuses_with_numbers_where_waiting_would_never_help(held: InstanceFact) -> None:
    (step,) = plan(pool(150, held, fact("new", 100, S.STOPPED)), "new")
    assert isinstance(step, Refuse)
    assert "needs 100 MB, but 100 MB of the budget of 150 MB are pinned or reserved" in step.reason
    (step,) = plan(pool(150, fact("new", 151, S.STOPPED)), "new")
    assert isinstance(step, Refuse)
    assert "needs 151 MB, more than the whole budget of 150 MB" in step.reason


def test_nothing_is_evicted_in_vain() -> None:
    snapshot = pool(300, fact("idle", idle_s=1e6), fact("busy", 200, active=1), fact("new", 200, S.STOPPED))
    (step,) = plan(snapshot, "new")
    assert isinstance(step, Wait)


def test_memory_that_drains_is_waited_for_before_another_is_evicted() -> None:
    snapshot = pool(200, fact("idle"), fact("leaving", state=S.DRAINING), fact("new", 100, S.STOPPED))
    (step,) = plan(snapshot, "new")
    assert isinstance(step, Wait)
    assert "draining" in step.reason


def test_one_that_only_queues_for_room_holds_none() -> None:
    snapshot = pool(100, fact("queued", state=S.LOADING, queued=True), fact("new", 100, S.STOPPED))
    assert plan(snapshot, "new") == (Load("new"),)


def test_the_later_one_may_not_take_what_the_earlier_one_waits_for() -> None:
    snapshot = pool(300, fact("busy", 200, active=1), fact("first", 200, S.STOPPED), fact("second", 100, S.STOPPED))
    assert [type(step) for step in plan(snapshot, "first", "second")] == [Wait, Wait]


def test_an_unknown_ref_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(KeyError):
        plan(pool(1), "nobody")


_facts = st.lists(
    st.builds(
        fact,
        st.sampled_from([f"m{i}" for i in range(8)]),
        st.integers(0, 400),
        st.sampled_from(S),
        active=st.integers(0, 2),
        waiting=st.integers(0, 1),
        idle_s=st.floats(0, 1e6),
        pinned=st.booleans(),
        reserved=st.booleans(),
        load_s=st.none() | st.floats(0, 100),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda item: item.ref,
)


def carry_out(snapshot: PoolSnapshot, wanted: list[str], steps: tuple[Step, ...]) -> None:
    """Do the steps one by one, as the pool would, and look at the memory after each."""
    asked = {ref for ref in wanted if next(f for f in snapshot.instances if f.ref == ref).state is not S.READY}
    held = {f.ref: f for f in snapshot.instances if f.resident and f.ref not in asked}
    before = sum(f.footprint_bytes for f in held.values())
    facts = {f.ref: f for f in snapshot.instances}
    for step in steps:
        match step:
            case Evict(ref=ref):
                gone = held.pop(ref)
                assert gone.state is S.READY
                assert (gone.active, gone.waiting, gone.pinned, gone.reserved) == (0, 0, False, False)
                assert ref not in wanted
            case Load(ref=ref):
                assert ref not in held
                held[ref] = facts[ref]
                assert sum(f.footprint_bytes for f in held.values()) <= snapshot.budget_bytes
            case Wait() | Refuse():
                assert step.ref in asked
    assert sum(f.footprint_bytes for f in held.values()) <= max(snapshot.budget_bytes, before)


@pytest.mark.requirement("POOL-1", "POOL-2")
@given(facts=_facts, budget=st.integers(0, 1_000), data=st.data())
def test_no_plan_exceeds_the_budget_or_evicts_a_protected_instance(
    facts: list[InstanceFact], budget: int, data: st.DataObject
) -> None:
    wanted = data.draw(st.lists(st.sampled_from([f.ref for f in facts]), min_size=1, max_size=3, unique=True))
    snapshot = pool(budget, *facts)
    steps = plan(snapshot, *wanted)
    carry_out(snapshot, wanted, steps)
    # every wanted one that is not ready gets exactly one verdict
    verdicts = [step.ref for step in steps if not isinstance(step, Evict)]
    assert verdicts == [ref for ref in wanted if next(f for f in facts if f.ref == ref).state is not S.READY]

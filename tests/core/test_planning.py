"""The plan for the warm pool: who is loaded where, who goes for it, who waits how long, and who never fits."""

from __future__ import annotations

import pytest

from podium.core.planning import (
    LOOK_AGAIN_S,
    Device,
    Evict,
    Load,
    PoolSnapshot,
    Refuse,
    Resident,
    Rules,
    Step,
    Wait,
    Want,
    plan,
)
from podium.domain.instance import InstanceState

MB = 2**20
S = InstanceState


def ram(mb: int, **over) -> Device:
    return Device(id="ram", capacity_bytes=mb * MB, **over)


def has(ref: str, mb: int = 100, device: str = "ram", state: InstanceState = S.READY, **over) -> Resident:
    over.setdefault("age_s", 1000.0)
    over.setdefault("id", f"{ref}#1")
    return Resident(ref=ref, device=device, footprint_bytes=mb * MB, state=state, **over)


def wants(ref: str, mb: int = 100, *devices: str, **over) -> Want:
    return Want(ref=ref, footprint_bytes=mb * MB, devices=devices or ("ram",), **over)


def steps(devices: Device | int | tuple[Device, ...], *facts: Resident | Want, rules: Rules | None = None):
    devices = ram(devices) if isinstance(devices, int) else devices
    return plan(
        PoolSnapshot(
            devices=devices if isinstance(devices, tuple) else (devices,),
            residents=tuple(fact for fact in facts if isinstance(fact, Resident)),
            wants=tuple(fact for fact in facts if isinstance(fact, Want)),
            rules=rules or Rules(),
        )
    )


def short(answer: tuple[Step, ...]) -> list[str]:
    words = []
    for step in answer:
        match step:
            case Load(ref=ref, device=device):
                words.append(f"load {ref} on {device}")
            case Evict(ref=ref, for_ref=for_ref):
                words.append(f"evict {ref} for {for_ref}")
            case Wait(ref=ref):
                words.append(f"{ref} waits")
            case Refuse(ref=ref):
                words.append(f"{ref} refused")
    return words


def evicted(answer: tuple[Step, ...]) -> list[str]:
    return [step.id for step in answer if isinstance(step, Evict)]


# ---------------------------------------------------------------- fitting


def test_what_fits_is_loaded_at_once_on_the_first_device_that_has_room() -> None:
    gpus = (Device(id="gpu0", capacity_bytes=50 * MB), Device(id="gpu1", capacity_bytes=500 * MB), ram(500))
    assert steps(gpus, wants("new", 100, "gpu0", "gpu1", "ram")) == (Load("new", "gpu1"),)
    assert steps(gpus, wants("new", 100, "ram", "gpu1")) == (Load("new", "ram"),)
    assert steps(gpus, wants("new", 40, "gpu0", "gpu1")) == (Load("new", "gpu0"),)


def test_nothing_wanted_needs_no_plan_and_stopped_ones_hold_nothing() -> None:
    gone = [has("a", state=S.STOPPED), has("b", state=S.FAILED, id="b#1")]
    assert steps(100, *gone) == ()
    assert steps(100, *gone, wants("new", 100)) == (Load("new", "ram"),)


def test_two_wants_of_one_ref_are_two_further_copies() -> None:
    assert short(steps(200, wants("a"), wants("a"))) == ["load a on ram", "load a on ram"]
    assert short(steps(150, wants("a"), wants("a"))) == ["load a on ram", "a waits"]


# ---------------------------------------------------------------- whom to evict


@pytest.mark.requirement("POOL-2")
def test_the_cheapest_to_bring_back_for_its_idle_time_goes_first() -> None:
    answer = steps(
        300,
        has("slow-to-load", idle_s=99, load_s=60),  # 0.6
        has("long-idle", idle_s=999, load_s=60),  # 0.06
        has("just-used", idle_s=1, load_s=1),  # 0.5
        wants("new"),
    )
    assert answer == (
        Evict("long-idle#1", "long-idle", "new", "idle for 999 s, its 100 MB go to new"),
        Load("new", "ram"),
    )


def test_a_load_that_was_never_measured_counts_a_second_per_gib() -> None:
    big, small = has("big", 2048, idle_s=9), has("small", 1024, idle_s=9)
    assert evicted(steps(3072, big, small, wants("new", 1000))) == ["small#1"]
    known = has("big", 2048, idle_s=9, load_s=0.9)
    assert evicted(steps(3072, known, small, wants("new", 1000))) == ["big#1"]


def test_no_more_is_evicted_than_needed() -> None:
    answer = steps(
        400, has("small", 50, idle_s=900, load_s=1), has("big", 300, idle_s=800, load_s=1), wants("new", 300)
    )
    assert evicted(answer) == ["big#1"]


def test_surplus_copies_go_before_last_ones_but_the_last_of_them_is_no_surplus() -> None:
    copies = [has("twice", id=f"twice#{n}", idle_s=1, load_s=100) for n in (1, 2)]
    once = has("once", idle_s=1000, load_s=1)
    assert evicted(steps(300, *copies, once, wants("new"))) == ["twice#1"]
    assert evicted(steps(300, *copies, once, wants("new", 200))) == ["twice#1", "once#1"]
    assert evicted(steps(300, *copies, once, wants("n"), wants("m"))) == ["twice#1", "once#1"]


def test_a_copy_on_another_device_makes_this_one_surplus_until_it_is_gone() -> None:
    gpus = (Device(id="gpu0", capacity_bytes=200 * MB), Device(id="gpu1", capacity_bytes=100 * MB))
    facts = [
        has("twice", device="gpu0", id="twice#1", load_s=100),
        has("once", device="gpu0", load_s=1),
        has("twice", device="gpu1", id="twice#2", load_s=100),
    ]
    assert evicted(steps(gpus, *facts, wants("new", 100, "gpu0"))) == ["twice#1"]
    both = [wants("new", 100, "gpu1"), wants("other", 100, "gpu0")]
    assert evicted(steps(gpus, *facts, *both)) == ["twice#2", "once#1"]


def test_the_device_where_least_is_lost_is_cleared() -> None:
    gpus = (Device(id="gpu0", capacity_bytes=100 * MB), Device(id="gpu1", capacity_bytes=100 * MB))
    facts = [has("dear", device="gpu0", load_s=60), has("cheap", device="gpu1", load_s=1)]
    answer = steps(gpus, *facts, wants("new", 100, "gpu0", "gpu1"))
    assert short(answer) == ["evict cheap for new", "load new on gpu1"]


@pytest.mark.requirement("POOL-1")
@pytest.mark.parametrize(
    "held", [has("x", state=S.LOADING), has("x", state=S.DRAINING), has("x", pinned=True, mb=50), has("x", age_s=1.9)]
)
def test_what_loads_drains_is_pinned_or_new_is_never_evicted(held: Resident) -> None:
    for waited_s in (0.0, 1e6):
        (step,) = steps(ram(120), held, wants("new", 100, waited_s=waited_s))
        assert isinstance(step, Refuse if held.pinned else Wait)


def test_nothing_is_evicted_in_vain() -> None:
    assert short(steps(300, has("idle", idle_s=1e6), has("busy", 200, active=1), wants("new", 200))) == ["new waits"]


def test_one_that_is_young_is_waited_for_exactly_as_long_as_it_must_stay() -> None:
    young = has("x", age_s=0.5)
    (step,) = steps(100, young, wants("new"))
    assert isinstance(step, Wait)
    assert step.retry_in_s == pytest.approx(1.5)
    assert "may be evicted in 1.5 s" in step.reason
    assert short(steps(100, has("x", age_s=2.0), wants("new"))) == ["evict x for new", "load new on ram"]


def test_what_an_eviction_leaves_over_is_not_given_away_before_it_is_back() -> None:
    answer = steps(200, has("big", 200), wants("a"), wants("b"))
    assert short(answer) == ["evict big for a", "load a on ram", "b waits"]
    assert "200 MB are still draining" in answer[2].reason
    answer = steps(300, has("big", 150), has("small", 150, load_s=1e6), wants("a"), wants("b", 200))
    assert short(answer) == ["evict big for a", "load a on ram", "evict small for b", "b waits"]


def test_what_a_load_takes_beyond_its_victims_is_not_given_away_meanwhile() -> None:
    """Else b could start now, a after its eviction, and both would hold too much until the third has drained."""
    facts = [has("busy", 100, active=1), has("leaving", 30, state=S.DRAINING), has("idle", 80)]
    answer = steps(250, *facts, wants("a", 120), wants("b", 20))
    assert short(answer) == ["evict idle for a", "load a on ram", "b waits"]
    assert short(steps(270, *facts, wants("a", 120), wants("b", 20)))[-1] == "load b on ram"


# ---------------------------------------------------------------- draining, and the order of wants


def test_memory_that_drains_is_waited_for_before_another_is_evicted() -> None:
    (step,) = steps(200, has("idle"), has("leaving", state=S.DRAINING), wants("new"))
    assert isinstance(step, Wait)
    assert step.retry_in_s is None
    assert "100 MB are still draining" in step.reason


def test_what_drains_is_credited_to_the_first_and_the_next_evicts_for_itself() -> None:
    facts = [has("idle"), has("leaving", state=S.DRAINING)]
    assert short(steps(200, *facts, wants("a"), wants("b"))) == ["a waits", "evict idle for b", "load b on ram"]


def test_what_is_missing_beside_the_draining_is_evicted_meanwhile() -> None:
    facts = [has("idle"), has("leaving", state=S.DRAINING)]
    assert short(steps(200, *facts, wants("a", 200))) == ["evict idle for a", "a waits"]


@pytest.mark.requirement("POOL-3")
def test_the_later_one_may_not_take_what_the_earlier_one_waits_for() -> None:
    busy = has("busy", 200, active=1)
    answer = steps(300, busy, wants("first", 200), wants("second"))
    assert short(answer) == ["first waits", "load second on ram"], "it fits beside: busy leaves 300 - 200"
    answer = steps(300, busy, wants("first", 201), wants("second"))
    assert short(answer) == ["first waits", "second waits"]
    assert "which an earlier one waits for" in answer[1].reason


def test_a_later_one_may_evict_where_the_earlier_one_will_fit_all_the_same() -> None:
    facts = [has("busy", 50, active=1), has("idle", 30)]
    assert short(steps(100, *facts, wants("first", 60), wants("second", 30))) == [
        "first waits",
        "evict idle for second",
        "load second on ram",
    ]
    assert short(steps(100, *facts, wants("first", 60), wants("second", 50))) == ["first waits", "second waits"]


def test_what_an_earlier_want_is_about_is_not_evicted_for_a_later_one() -> None:
    answer = steps(300, has("a", idle_s=1e6), has("b"), wants("a"), wants("c"))
    assert short(answer) == ["load a on ram", "evict b for c", "load c on ram"]


# ---------------------------------------------------------------- collation


@pytest.mark.requirement("POOL-3")
@pytest.mark.parametrize("use", [{"active": 1}, {"waiting": 3}])
def test_a_busy_one_stays_until_somebody_waited_long_and_its_load_has_paid_off(use: dict[str, int]) -> None:
    old = has("old", load_s=10, age_s=40.0, **use)
    young = has("young", load_s=10, age_s=33.0, **use)
    assert steps(100, old, wants("new", waited_s=4.0))[0].retry_in_s == pytest.approx(1.0)
    assert steps(100, young, wants("new", waited_s=4.0))[0].retry_in_s == pytest.approx(7.0)
    answer = steps(100, old, wants("new", waited_s=5.0))
    assert short(answer) == ["evict old for new", "load new on ram"]
    assert answer[0].reason == "served for 40 s, new has waited 5.0 s; its 100 MB go to new"


def test_an_idle_one_goes_before_a_busy_one_however_valuable() -> None:
    busy, idle = has("busy", active=1, load_s=0.1), has("idle", load_s=1e4)
    assert evicted(steps(200, busy, idle, wants("new", waited_s=60.0))) == ["idle#1"]


def test_three_models_in_turn_on_one_place_do_not_thrash_and_nobody_starves() -> None:
    """A caller of each model comes every 100 ms; loading takes 2 s, so a change every 8 s is right."""
    now, load_s, age, running, loads = 0.0, 2.0, 0.0, "a", 0
    since: dict[str, float] = {"b": 0.0, "c": 0.0}
    longest = 0.0
    while now < 300.0:
        residents = has(running, id=running, waiting=1, active=1, load_s=load_s, age_s=age)
        order = sorted(since, key=since.get)  # type: ignore[arg-type] - every key is there
        answer = steps(150, residents, *(wants(ref, waited_s=now - since[ref]) for ref in order))
        if isinstance(answer[0], Evict):
            assert answer[1] == Load(order[0], "ram")
            since[running], running, age = now, order[0], 0.0
            now += load_s
            longest = max(longest, now - since.pop(running))
            loads += 1
        else:
            now, age = now + 0.1, age + 0.1
    assert 28 <= loads <= 30, "300 s / (8 s + 2 s)"
    assert longest <= 2 * 8.0 + 3 * load_s + 0.2


# ---------------------------------------------------------------- helpers


@pytest.mark.requirement("POOL-2")
def test_serving_models_leave_the_reserve_alone_and_helpers_use_it() -> None:
    device = ram(300, reserve_bytes=100 * MB)
    assert short(steps(device, has("a", 200), wants("b", 50))) == ["evict a for b", "load b on ram"]
    assert short(steps(device, has("a", 200, active=1), wants("judge", 100, helper=True))) == ["load judge on ram"]


def test_a_helper_may_use_what_else_is_free_but_evicts_only_helpers() -> None:
    device = ram(300, reserve_bytes=100 * MB)
    assert short(steps(device, has("a", 150), wants("judge", 150, helper=True))) == ["load judge on ram"]
    (step,) = steps(device, has("a", 151, idle_s=1e6), wants("judge", 150, helper=True, waited_s=1e6))
    assert isinstance(step, Wait)
    assert step.retry_in_s is None
    answer = steps(
        device,
        has("a", 200, idle_s=1e6),
        has("embed", 60, helper=True, load_s=1e6),
        wants("judge", 100, helper=True),
    )
    assert short(answer) == ["evict embed for judge", "load judge on ram"]


def test_a_serving_model_evicts_helpers_only_outside_the_reserve() -> None:
    device = ram(300, reserve_bytes=100 * MB)
    inside = has("judge", 100, helper=True, idle_s=1e6)
    assert short(steps(device, inside, has("a", 200, active=1), wants("new", 50))) == ["new waits"]
    outside = has("big-judge", 150, helper=True, idle_s=1e6)
    answer = steps(device, outside, has("a", 150, active=1), wants("new", 50))
    assert short(answer) == ["evict big-judge for new", "load new on ram"]
    answer = steps(device, outside, has("a", 150, active=1), wants("new", 51))
    assert short(answer) == ["new waits"], "only 50 of its 150 MB are outside"


def test_a_helper_never_takes_what_a_serving_model_of_the_same_plan_needs() -> None:
    device = ram(300, reserve_bytes=100 * MB)
    answer = steps(device, wants("judge", 200, helper=True), wants("a", 150))
    assert short(answer) == ["load a on ram", "judge waits"]


# ---------------------------------------------------------------- optional wants


def test_an_optional_want_takes_free_memory_only_and_is_never_refused() -> None:
    assert short(steps(200, has("a"), wants("a", optional=True))) == ["load a on ram"]
    idle = has("idle", idle_s=1e6)
    assert short(steps(150, idle, wants("b", optional=True, waited_s=1e6))) == ["b waits"]
    assert short(steps(50, wants("b", optional=True))) == ["b waits"]
    assert short(steps(50, wants("b", 10, "tpu", optional=True))) == ["b waits"]


def test_an_optional_want_never_delays_another_wherever_it_stands() -> None:
    assert short(steps(150, wants("maybe", optional=True), wants("must"))) == ["load must on ram", "maybe waits"]
    gpus = (Device(id="gpu0", capacity_bytes=100 * MB), Device(id="gpu1", capacity_bytes=100 * MB))
    busy = [has("x", 60, "gpu0", active=1), has("y", 60, "gpu1", active=1)]
    for name in ("gpu0", "gpu1"):
        answer = steps(gpus, *busy, wants("must", 70, "gpu0", "gpu1"), wants("maybe", 40, name, optional=True))
        assert short(answer) == ["must waits", "maybe waits"], "must may come to either device"
        answer = steps(gpus, *busy, wants("must", 70, "gpu0", "gpu1"), wants("maybe", 30, name, optional=True))
        assert short(answer) == ["must waits", f"load maybe on {name}"], "30 fit beside 70"


# ---------------------------------------------------------------- what the operating system has


def test_no_more_is_loaded_than_the_operating_system_has() -> None:
    (step,) = steps(ram(1000, available_bytes=99 * MB), wants("new"))
    assert isinstance(step, Wait)
    assert step.retry_in_s == LOOK_AGAIN_S
    assert "the operating system has 99 MB free there, 1 MB too little" in step.reason
    assert short(steps(ram(1000, available_bytes=100 * MB), wants("new"))) == ["load new on ram"]
    assert short(steps(ram(1000, available_bytes=150 * MB), wants("new"), wants("two"))) == [
        "load new on ram",
        "two waits",
    ]


def test_evictions_make_up_for_what_other_programs_took() -> None:
    device = ram(1000, available_bytes=50 * MB)
    assert short(steps(device, has("idle", 60), wants("new"))) == ["evict idle for new", "load new on ram"]
    assert short(steps(device, has("idle", 40), wants("new"))) == ["new waits"], "in vain"
    assert short(steps(device, has("gone", 60, state=S.DRAINING), wants("new"))) == ["new waits"]


def test_what_a_loading_instance_has_not_touched_yet_is_not_available() -> None:
    loading = has("x", 300, state=S.LOADING, untouched_bytes=250 * MB)
    assert short(steps(ram(1000, available_bytes=349 * MB), loading, wants("new"))) == ["new waits"]
    assert short(steps(ram(1000, available_bytes=350 * MB), loading, wants("new"))) == ["load new on ram"]


# ---------------------------------------------------------------- refusing


def test_what_can_never_fit_is_refused_with_numbers_and_what_to_do() -> None:
    (step,) = steps(150, wants("new", 151))
    assert step == Refuse(
        "new",
        "new needs 151 MB, more than all 150 MB of ram: raise pool.memory_budget_mb, or use a smaller or more "
        "strongly quantized model",
    )
    (step,) = steps(150, has("x", pinned=True), wants("new"))
    assert step == Refuse(
        "new",
        "new needs 100 MB, but of the 150 MB of ram 100 MB are pinned, at most 50 MB can be freed: unpin a model with "
        "`podium pin --off`, or raise pool.memory_budget_mb, or use a smaller model",
    )
    (step,) = steps(ram(150, reserve_bytes=60 * MB), wants("new"))
    assert "60 MB are reserved for helpers" in step.reason
    assert "lower pool.helper_reserve_mb" in step.reason
    (step,) = steps(150, wants("new", 1, "gpu7"))
    assert isinstance(step, Refuse)
    assert "gpu7" in step.reason


def test_it_is_not_refused_while_another_device_or_a_copy_of_it_can_serve() -> None:
    two = (ram(50), Device(id="gpu0", capacity_bytes=100 * MB))
    assert short(steps(two, has("x", device="gpu0", active=1), wants("new", 100, "ram", "gpu0"))) == ["new waits"]
    assert short(steps(150, has("a", pinned=True, active=1), wants("a"))) == ["a waits"]


def test_a_copy_that_cannot_come_holds_up_nobody() -> None:
    """Its own first copy is in the way: those behind it go on as if it were not there."""
    own = has("a", active=1, load_s=1)
    answer = steps(150, own, wants("a", waited_s=60.0), wants("b", waited_s=60.0))
    assert short(answer) == ["a waits", "evict a for b", "load b on ram"]

"""Plans carried out one after another, on a made-up clock: nobody starves, little is loaded twice, memory holds."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from podium.core.planning import Device, Evict, Load, PoolSnapshot, Refuse, Resident, Rules, Want, plan
from podium.domain.instance import InstanceState

S = InstanceState
TICK_S = 0.25


@dataclass
class Version:
    size: int
    load_s: float
    every_s: float
    """Mean time between its callers."""
    serve_s: float
    devices: tuple[str, ...]
    queue: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)


@dataclass
class Running:
    id: str
    ref: str
    device: str
    state: InstanceState
    since: float
    used: float
    ends: list[float] = field(default_factory=list)


class Pool:
    """As simple as a pool can be that does what the plan says: two requests at once per instance."""

    def __init__(self, devices: tuple[Device, ...], versions: dict[str, Version], seed: int) -> None:
        self.devices, self.versions = devices, versions
        self.pick = random.Random(seed)
        self.now = 0.0
        self.running: list[Running] = []
        self.loads = self.evicted = 0

    def snapshot(self) -> PoolSnapshot:
        here = {one.ref for one in self.running if one.state is not S.DRAINING}
        wanted = sorted((v.queue[0], ref) for ref, v in self.versions.items() if v.queue and ref not in here)
        return PoolSnapshot(
            devices=self.devices,
            residents=tuple(
                Resident(
                    id=one.id,
                    ref=one.ref,
                    device=one.device,
                    footprint_bytes=self.versions[one.ref].size,
                    state=one.state,
                    active=len(one.ends),
                    waiting=len(self.versions[one.ref].queue),
                    idle_s=self.now - one.used,
                    age_s=self.now - one.since,
                    load_s=self.versions[one.ref].load_s,
                )
                for one in self.running
            ),
            wants=tuple(
                Want(
                    ref=ref,
                    footprint_bytes=self.versions[ref].size,
                    devices=self.versions[ref].devices,
                    waited_s=self.now - since,
                )
                for since, ref in wanted
            ),
            rules=Rules(),
        )

    def tick(self) -> None:
        self.now += TICK_S
        for version in self.versions.values():
            if self.pick.random() < TICK_S / version.every_s:
                version.queue.append(self.now)
        for one in list(self.running):
            version = self.versions[one.ref]
            if any(end <= self.now for end in one.ends):
                one.ends = [end for end in one.ends if end > self.now]
                one.used = self.now
            if one.state is S.LOADING and self.now - one.since >= version.load_s:
                one.state, one.since, one.used = S.READY, self.now, self.now
            while one.state is S.READY and version.queue and len(one.ends) < 2:
                version.waits.append(self.now - version.queue.pop(0))
                one.ends.append(self.now + version.serve_s)
            if one.state is S.DRAINING and not one.ends:
                self.running.remove(one)
        self.carry_out()
        for device in self.devices:
            held = sum(self.versions[one.ref].size for one in self.running if one.device == device.id)
            assert held <= device.capacity_bytes

    def carry_out(self) -> None:
        going: set[str] = set()
        for step in plan(self.snapshot()):
            assert not isinstance(step, Refuse)
            if isinstance(step, Evict):
                going.add(step.for_ref)
                victim = next(one for one in self.running if one.id == step.id)
                victim.state = S.DRAINING
                self.evicted += 1
            elif isinstance(step, Load) and step.ref not in going:
                self.loads += 1
                one = Running(f"{step.ref}#{self.loads}", step.ref, step.device, S.LOADING, self.now, self.now)
                self.running.append(one)


def run(pool: Pool, seconds: float) -> None:
    while pool.now < seconds:
        pool.tick()
    for version in pool.versions.values():
        version.waits += [pool.now - since for since in version.queue]


@pytest.mark.no_cover
@pytest.mark.requirement("POOL-3", "SWP-2")
@pytest.mark.parametrize("seed", range(3))
def test_a_model_as_large_as_the_device_gets_its_turn_among_small_ones_that_never_rest(seed: int) -> None:
    small = {f"s{n}": Version(30, 1.0, 0.7, 0.5, ("gpu",)) for n in range(4)}
    pool = Pool(
        (Device(id="gpu", capacity_bytes=100),), {**small, "large": Version(100, 3.0, 5.0, 1.0, ("gpu",))}, seed
    )
    run(pool, 600.0)
    assert len(pool.versions["large"].waits) > 80
    # 5 s until it may push, 12 s that it then keeps the device itself, loads and drains: about 20 s at worst.
    longest = {ref: max(version.waits) for ref, version in pool.versions.items()}
    assert max(longest.values()) <= 25.0, longest


@pytest.mark.no_cover
@pytest.mark.requirement("POOL-3")
@pytest.mark.parametrize("seed", range(3))
def test_many_models_on_two_devices_all_get_served_and_each_load_serves_many(seed: int) -> None:
    both = (("a", "b"), ("b", "a"), ("a",), ("b",))
    versions = {f"m{n}": Version(20 + 10 * (n % 4), 1.0 + n % 3, 0.6, 0.4, both[n % 4]) for n in range(9)}
    devices = (Device(id="a", capacity_bytes=100), Device(id="b", capacity_bytes=100))
    pool = Pool(devices, versions, seed)
    run(pool, 600.0)
    served = sum(len(version.waits) for version in versions.values())
    assert max(max(version.waits) for version in versions.values()) <= 20.0
    assert served / pool.loads > 8, "callers are served model by model"


def test_when_all_fit_each_is_loaded_once_and_stays() -> None:
    versions = {f"m{n}": Version(25, 2.0, 3.0, 0.5, ("gpu",)) for n in range(4)}
    pool = Pool((Device(id="gpu", capacity_bytes=100),), versions, 7)
    run(pool, 300.0)
    assert (pool.loads, pool.evicted) == (4, 0)

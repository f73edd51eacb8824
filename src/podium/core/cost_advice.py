"""Advice on costs: what is under-used, over-used, or dearer than what is as good, with the numbers that say so. Pure.

Every piece names its evidence, what to do, and the command. Questions that cannot be answered because something is not
measured are told apart (``NotAdvised``): silence never means that all is well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from podium.core import cost_cells
from podium.core.cost_cells import Cell
from podium.core.cost_compare import compare
from podium.domain.belief import Belief
from podium.domain.costing import Advice, AdviceKind, CostProfile, NotAdvised, Trend
from podium.domain.instance import InstanceState, InstanceView

LEAST = 30
"""Operations below which nothing is advised."""
LEAST_BUSY_S = 10.0
CPU_IDLE, GPU_IDLE = 0.5, 0.3
CPU_FULL = 0.9
LONG_WAIT = 0.5
"""Of the median time of an answer."""
LONG_WAIT_MS = 100.0
HARDLY_USED = 0.01
"""Share of the time it is loaded in which it answers."""
LOADED_S = 3_600.0
DEARER = 1.1
BETTER = 0.02
"""Quality by which a dearer version has to be able to be better."""
SURE = 1.645
SCORES = 20.0
"""Discounted scores of either below which nothing is said of their quality."""
MAIN_SHARE = 0.1
PRICES = ("price_microusd", "energy_mwh", "cpu_ms", "wall_ms")
"""What two versions are compared by: the first that both have."""
TOLD = ("price_microusd", "energy_mwh_per_token", "energy_mwh", "wall_ms_per_token", "wall_ms")
"""Trends that are told, the first that gets worse."""
_NAMES = MappingProxyType(
    {"price_microusd": "millionths of a dollar", "energy_mwh": "mWh", "cpu_ms": "ms of CPU time", "wall_ms": "ms"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What advice is made from. Profiles by version are over all tasks and have the shares of the machine."""

    now: float
    since: float
    """Start of what was recorded and looked at."""
    cores: int
    gpus: int
    versions: Mapping[str, CostProfile]
    cells: Mapping[tuple[str, str], Cell]
    """By (task, ref)."""
    machine: CostProfile | None = None
    """All versions together."""
    instances: Sequence[InstanceView] = ()
    free_mb: Mapping[str, float] = field(default_factory=dict)
    """Memory that further copies may take, where the version runs."""
    footprint_mb: Mapping[str, float] = field(default_factory=dict)
    beliefs: Mapping[str, Mapping[str, Belief]] = field(default_factory=dict)
    """By task, then ref."""
    bound: Mapping[str, str] = field(default_factory=dict)
    """Version by task."""
    active: frozenset[str] = frozenset()
    """Versions that may serve."""
    about: Mapping[str, str] = field(default_factory=dict)
    """Size and quantisation of versions, in words."""
    trends: Sequence[Trend] = ()


def advise(facts: Facts) -> tuple[list[Advice], list[NotAdvised]]:
    """Everything worth changing, and what could not be looked into."""
    found: list[Advice] = []
    unknown: list[NotAdvised] = []
    for ref, profile in sorted(facts.versions.items()):
        if profile.operations < LEAST:
            continue
        for said in (_idle(facts, ref, profile), _waits(facts, ref, profile)):
            if isinstance(said, Advice):
                found.append(said)
            elif said is not None:
                unknown.append(said)
    found += _hardly_used(facts, {one.ref for one in found})
    found += _dearer(facts)
    found += _worse(facts)
    return found, unknown


# ------------------------------------------------------------ the processor


def _idle(facts: Facts, ref: str, profile: CostProfile) -> Advice | NotAdvised | None:
    kind = AdviceKind.IDLE_COMPUTE
    if profile.busy_s is None or profile.busy_s < LEAST_BUSY_S:
        return None
    if profile.cpu_share is None:
        return NotAdvised(kind=kind, ref=ref, why=f"CPU use is not known: {profile.figures['cpu_ms'].why}")
    if facts.gpus and profile.gpu_share is None:
        return NotAdvised(kind=kind, ref=ref, why=f"GPU use is not known: {profile.figures['gpu_ms'].why}")
    whole = facts.machine.cpu_share if facts.machine is not None else None
    busiest = max(profile.cpu_share, whole or 0.0)
    if busiest >= CPU_IDLE or (profile.gpu_share or 0.0) >= GPU_IDLE:
        return None
    places = sum(one.concurrency for one in facts.instances if one.ref == ref and one.state is InstanceState.READY)
    parallel, wait = profile.parallel or 0.0, profile.figures["wait_ms"].p95
    gpu = "there is no GPU" if not facts.gpus else f"{profile.gpu_share:.0%} of a GPU"
    says = (
        f"while {ref} answered ({profile.busy_s:,.0f} s), {profile.cpu_share:.0%} of {facts.cores} cores worked"
        f" for it and {gpu}; {parallel:.1f} requests ran at a time{f' of {places} it has room for' if places else ''}"
    )
    full = places and parallel >= 0.8 * places
    need, free = facts.footprint_mb.get(ref), facts.free_mb.get(ref)
    if full and free is not None and need is not None and need <= free:
        do = "run more in parallel: a further copy, or more places (slots, concurrency) when it is registered again"
        command = f"podium keep {ref} --copies 1:{_copies(facts, ref) + 1}"
    elif full:
        do = "give it more places or larger batches (slots, concurrency, parallel) when it is registered again"
        command = f"podium models show {ref}"
    else:
        do = (
            "send more at a time (larger batches, more callers at once); if there is no more to do, let it go when idle"
        )
        command = f"podium keep {ref} --alive 5m"
    evidence = {
        "cpu_share": profile.cpu_share, "gpu_share": profile.gpu_share, "cores": facts.cores, "busy_s": profile.busy_s,
        "parallel": parallel, "places": places, "wait_ms_p95": wait, "operations": profile.operations,
    }  # fmt: skip
    return Advice(kind=kind, ref=ref, task=None, says=says, do=do, command=command, evidence=evidence)


def _copies(facts: Facts, ref: str) -> int:
    return max(1, sum(one.ref == ref and one.state is InstanceState.READY for one in facts.instances))


# ------------------------------------------------------------ queues


def _waits(facts: Facts, ref: str, profile: CostProfile) -> Advice | NotAdvised | None:
    wait, wall = profile.figures["wait_ms"], profile.figures["wall_ms"]
    if wait.n < LEAST or wait.p95 is None or wait.p50 is None or wall.p50 is None:
        return None
    if wait.p95 < max(LONG_WAIT_MS, LONG_WAIT * wall.p50):
        return None
    load_s = next((one.load_s for one in facts.instances if one.ref == ref and one.load_s is not None), None)
    need, free = facts.footprint_mb.get(ref), facts.free_mb.get(ref)
    evidence: dict[str, float | int | str | None] = {
        "wait_ms_p50": wait.p50, "wait_ms_p95": wait.p95, "wall_ms_p50": wall.p50, "operations": wait.n,
        "load_s": load_s, "footprint_mb": need, "free_mb": free,
        "cpu_share": None if facts.machine is None else facts.machine.cpu_share,
    }  # fmt: skip
    says = f"requests for {ref} waited {wait.p95:,.0f} ms (95 % of them less), an answer takes {wall.p50:,.0f} ms"

    def advice(kind: AdviceKind, more: str, do: str, command: str) -> Advice:
        return Advice(kind=kind, ref=ref, task=None, says=f"{says}{more}", do=do, command=command, evidence=evidence)

    if load_s is not None and wait.p95 >= 700 * load_s and wait.p50 < 100 * load_s:
        more = f"; loading it takes {load_s:.1f} s, so those who wait that long wait for it to load"
        do, command = "keep it loaded, and load it at start", f"podium keep {ref} --alive -1 --preload"
        return advice(AdviceKind.WAITS_WITH_ROOM, more, do, command)
    full = facts.machine.cpu_share if facts.machine is not None else None
    if full is not None and full >= CPU_FULL:
        more = f"; the processor is the limit: {full:.0%} of {facts.cores} cores worked, so more copies would not help"
        do = "use a smaller model or quantisation where it is good enough, or move work to a quiet time"
        return advice(AdviceKind.OVERLOADED, more, do, _cheaper(facts, ref) or "podium models ls")
    if need is None or free is None:
        what = "how much memory a copy takes" if need is None else "how much memory is free"
        return NotAdvised(kind=AdviceKind.WAITS_WITH_ROOM, ref=ref, why=f"{says}; {what} is not known")
    if need <= free:
        more = f"; {free:,.0f} MB are free and a copy takes {need:,.0f} MB"
        command = f"podium keep {ref} --copies 1:{_copies(facts, ref) + 1}"
        return advice(AdviceKind.WAITS_WITH_ROOM, more, "allow a further copy when it is busy", command)
    more = f"; a further copy takes {need:,.0f} MB and {free:,.0f} MB are free"
    idle = next((one.ref for one in _idlers(facts) if one.ref != ref), None)
    command = f"podium keep {idle} --alive 5m" if idle else _cheaper(facts, ref) or "podium models ls"
    do = "free memory (models that are hardly used go first), or use a smaller model where it is good enough"
    return advice(AdviceKind.OVERLOADED, more, do, command)


def _cheaper(facts: Facts, ref: str) -> str | None:
    """A look at another version that serves one of its tasks with less processor time."""
    for (task, other), cell in sorted(facts.cells.items()):
        own = facts.cells.get((task, ref))
        if other == ref or own is None:
            continue
        a, b = cost_cells.mean(own, "cpu_ms"), cost_cells.mean(cell, "cpu_ms")
        if a is not None and b is not None and b < a:
            return f"podium costs compare {ref} {other} --task {task}"
    return None


# ------------------------------------------------------------ memory


def _idlers(facts: Facts) -> Iterator[InstanceView]:
    for one in facts.instances:
        if one.state is not InstanceState.READY or one.loaded_at is None or one.active:
            continue
        held = one.gpu_memory_mb or one.memory_mb
        if not held or facts.now - one.loaded_at < LOADED_S:
            continue
        looked = facts.now - max(one.loaded_at, facts.since)
        profile = facts.versions.get(one.ref)
        busy = (profile.busy_s or 0.0) if profile is not None else 0.0
        if looked >= LOADED_S and busy / looked < HARDLY_USED:
            yield one


def _hardly_used(facts: Facts, told: set[str]) -> list[Advice]:
    """Of versions nothing was said of: what takes long to load is not to be let go in the same breath."""
    found = []
    for one in _idlers(facts):
        if one.ref in told:
            continue
        assert one.loaded_at is not None
        loaded = facts.now - one.loaded_at
        looked = facts.now - max(one.loaded_at, facts.since)
        profile = facts.versions.get(one.ref)
        busy = (profile.busy_s or 0.0) if profile is not None else 0.0
        held = one.gpu_memory_mb or one.memory_mb or 0.0
        where = "GPU memory" if one.gpu_memory_mb else "memory"
        says = (
            f"{one.ref} is loaded for {loaded / 3600:.1f} h in {held:,.0f} MB of {where} and answered"
            f" {one.served} requests; it worked {busy:,.0f} s of the last {looked / 3600:.1f} h ({busy / looked:.2%})"
        )
        if one.pinned:
            do, command = "it is pinned: let it go when others need the memory", f"podium pin {one.ref} --off"
        else:
            do, command = (
                "let it go when it is idle; it loads again when it is asked for",
                f"podium keep {one.ref} --alive 5m",
            )
        evidence: dict[str, float | int | str | None] = {
            "loaded_s": loaded, "served": one.served, "busy_s": busy, "busy_share": busy / looked, "held_mb": held,
        }  # fmt: skip
        found.append(
            Advice(
                kind=AdviceKind.HARDLY_USED,
                ref=one.ref,
                task=None,
                says=says,
                do=do,
                command=command,
                evidence=evidence,
            )
        )
    return found


# ------------------------------------------------------------ dearer and no better


def _dearer(facts: Facts) -> Iterator[Advice]:
    tasks: dict[str, list[str]] = {}
    for task, ref in facts.cells:
        tasks.setdefault(task, []).append(ref)
    for task, refs in sorted(tasks.items()):
        whole = sum(facts.cells[task, ref].operations for ref in refs)
        for ref in sorted(refs):
            own = facts.cells[task, ref].operations
            if own < LEAST or own < MAIN_SHARE * whole:
                continue
            others = (other for other in sorted(refs) if other != ref and other in facts.active)
            found = [one for other in others if (one := _against(facts, task, ref, other)) is not None]
            if found:
                yield max(found, key=lambda one: float(one.evidence["ratio"] or 0.0))


def _against(facts: Facts, task: str, ref: str, other: str) -> Advice | None:
    """Advice to take ``other`` in the place of ``ref``: surely cheaper, and surely not noticeably worse."""
    beliefs = facts.beliefs.get(task, {})
    own, its = beliefs.get(ref), beliefs.get(other)
    if own is None or its is None or min(own.weight, its.weight) < SCORES or its.success < own.success - BETTER:
        return None
    upper = own.mean - its.mean + SURE * math.hypot(own.sd, its.sd)
    if upper > BETTER:
        return None
    pair = {(task, one): facts.cells[task, one] for one in (ref, other)}
    means = {one.figure: one for one in compare(other, ref, pair, task=task).differences if one.statistic == "mean"}
    name = next((name for name in PRICES if min(means[name].a_n, means[name].b_n) >= LEAST), None)
    gap = means[name] if name is not None else None
    if gap is None or gap.low is None or gap.low <= 0 or gap.ratio is None or gap.ratio < DEARER:
        return None
    assert name is not None
    said = [f"{one} ({about})" if (about := facts.about.get(one)) else one for one in (ref, other)]
    says = (
        f"on {task}, {said[0]} takes {gap.b:,.4g} {_NAMES[name]} a request and {said[1]} {gap.a:,.4g}"
        f" ({gap.ratio:.2f} times as much; the difference is {gap.low:,.4g} to {gap.high:,.4g}); its quality is"
        f" {own.mean:.3f} ± {1.96 * own.sd:.3f} against {its.mean:.3f} ± {1.96 * its.sd:.3f}, so at most {upper:+.3f} better"
    )
    if facts.bound.get(task) == ref:
        do, command = f"serve {task} by {other}, a growing share first", f"podium swap {task} {other} --gradual"
    else:
        do = f"tell {task} to favour what costs less among the versions that are as good"
        command = f"podium tasks set {task} --prefer {'low_cost' if name == 'price_microusd' else 'low_energy'}"
    evidence: dict[str, float | int | str | None] = {
        "figure": name, "own": gap.b, "other": gap.a, "other_ref": other, "ratio": gap.ratio, "low": gap.low,
        "high": gap.high, "operations": gap.b_n, "other_operations": gap.a_n, "quality": own.mean,
        "quality_sd": own.sd, "other_quality": its.mean, "other_quality_sd": its.sd, "at_most_better": upper,
    }  # fmt: skip
    return Advice(
        kind=AdviceKind.DEARER_NO_BETTER, ref=ref, task=task, says=says, do=do, command=command, evidence=evidence
    )


# ------------------------------------------------------------ trends


def _worse(facts: Facts) -> Iterator[Advice]:
    told: set[tuple[str, str]] = set()
    for name in TOLD:
        for one in facts.trends:
            key = (one.task, one.ref)
            if one.figure != name or not one.worse or key in told or one.change is None or one.low is None:
                continue
            told.add(key)
            first, last = one.points[0], one.points[-1]
            says = (
                f"{name} of {one.ref} on {one.task} rose by {one.change:.0%} ({one.low:.0%} to {one.high or 0:.0%}) over"
                f" {len(one.points)} windows of {one.window_s / 3600:g} h (p = {one.p:.2g}):"
                f" {first.mean:,.4g} in the first, {last.mean:,.4g} in the last"
            )
            yield Advice(
                kind=AdviceKind.GETTING_WORSE,
                ref=one.ref,
                task=one.task,
                says=says,
                do="look at when it began, and compare prompts, load and version of the server before and after",
                command=f"podium costs trends --task {one.task} --model {one.ref}",
                evidence={
                    "figure": name, "change": one.change, "low": one.low, "high": one.high, "p": one.p,
                    "windows": len(one.points), "first": first.mean, "last": last.mean,
                },
            )  # fmt: skip

"""Planning the warm pool: what to load, evict, wait for or refuse within one memory budget. Pure.

Owns the eviction order. Must not act: the pool carries a plan out step by step, in order, verifies that evicted
memory came back before the next load, and plans again after anything unexpected.

Never evicted: instances that load or drain, that have leases or waiters, that are pinned or reserved. Among the
rest the least valuable goes first: its value is what it costs to bring back over how long nobody missed it,
``load_s / (1 + idle_s)``. Nothing is evicted in vain: if what may be evicted does not make enough room, the plan
waits, and if it never could, it refuses with the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

from podium.domain.instance import InstanceState

MB = 1_048_576
_HOLDS_MEMORY = frozenset({InstanceState.LOADING, InstanceState.READY, InstanceState.DRAINING})


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceFact:
    """One instance, or one that is wanted. Bytes and seconds."""

    ref: str
    state: InstanceState
    footprint_bytes: int
    active: int = 0
    """Leases given out."""
    waiting: int = 0
    """Callers in its queue."""
    idle_s: float = 0.0
    """Since it was last used."""
    pinned: bool = False
    reserved: bool = False
    """Kept for helpers or for a caller about to lease it."""
    queued: bool = False
    """State ``loading``, but it still waits for room: it holds no memory yet."""
    load_s: float | None = None
    """What loading it took, ``None`` before it was measured (then counted as 1 s per GB)."""

    @property
    def resident(self) -> bool:
        """True while it holds memory."""
        return self.state in _HOLDS_MEMORY and not self.queued

    @property
    def evictable(self) -> bool:
        """True when nobody would notice it going."""
        return (
            self.state is InstanceState.READY
            and self.active == 0
            and self.waiting == 0
            and not self.pinned
            and not self.reserved
        )

    @property
    def value(self) -> float:
        """Seconds of loading saved per second it has been idle."""
        load_s = self.footprint_bytes / (1024 * MB) if self.load_s is None else self.load_s
        return load_s / (1.0 + self.idle_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSnapshot:
    """All instances and the memory they may hold together. A ref appears at most once."""

    budget_bytes: int
    instances: tuple[InstanceFact, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """Start this one; its memory is free once the steps before it are done."""

    ref: str


@dataclass(frozen=True, slots=True)
class Evict:
    """Stop this one and see its memory come back."""

    ref: str
    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now: memory that will come free is held by others."""

    ref: str
    reason: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """Never, as things are configured."""

    ref: str
    reason: str


Step = Load | Evict | Wait | Refuse


def plan(snapshot: PoolSnapshot, *wanted: str) -> tuple[Step, ...]:
    """Steps that bring the ``wanted`` refs into memory, first come first served.

    A ref that is ready needs no step. A wanted ref in state ``loading`` is taken as one that asks for room and holds
    nothing yet: call this before the load begins. Memory that a waiting ref needs is not given to the refs after
    it. Raises ``KeyError`` for a ref the snapshot does not hold.
    """
    facts = {fact.ref: fact for fact in snapshot.instances}
    # What is wanted is planned for here; it neither counts as resident twice nor is evicted for another.
    asked = {ref for ref in wanted if facts[ref].state is not InstanceState.READY}
    held = [fact for fact in snapshot.instances if fact.resident and fact.ref not in asked]
    spare = snapshot.budget_bytes - sum(fact.footprint_bytes for fact in held)
    pool = [fact for fact in held if fact.evictable and fact.ref not in wanted]
    draining = sum(fact.footprint_bytes for fact in held if fact.state is InstanceState.DRAINING)
    steps: list[Step] = []
    for ref in dict.fromkeys(wanted):
        if ref not in asked:
            continue
        need = facts[ref].footprint_bytes
        fixed = sum(fact.footprint_bytes for fact in held if fact.pinned or fact.reserved)
        if need > snapshot.budget_bytes - fixed:
            steps.append(Refuse(ref, _refusal(ref, need, snapshot.budget_bytes, fixed)))
            continue
        victims = [] if need <= spare + draining else _victims(pool, need - spare - draining)
        if victims is None:
            short = need - max(0, spare)
            steps.append(Wait(ref, f"{ref} needs {_mb(short)} more, held by instances that are busy or loading"))
            spare -= need
            continue
        for victim in victims:
            steps.append(
                Evict(victim.ref, f"idle for {victim.idle_s:,.0f} s, its {_mb(victim.footprint_bytes)} go to {ref}")
            )
            pool.remove(victim)
            held.remove(victim)
            spare += victim.footprint_bytes
        if need <= spare:
            steps.append(Load(ref))
        else:
            steps.append(Wait(ref, f"{ref} needs {_mb(need)}, {_mb(draining)} are still draining"))
        spare -= need
    return tuple(steps)


def _victims(pool: list[InstanceFact], short: int) -> list[InstanceFact] | None:
    """The least valuable that free ``short`` bytes, none of them superfluous; ``None`` if all are too little."""
    chosen: list[InstanceFact] = []
    freed = 0
    for fact in sorted(pool, key=lambda fact: (fact.value, -fact.footprint_bytes, fact.ref)):
        if freed >= short:
            break
        if fact.footprint_bytes > 0:
            chosen.append(fact)
            freed += fact.footprint_bytes
    if freed < short:
        return None
    for fact in reversed(chosen[:-1]):
        if freed - fact.footprint_bytes >= short:
            chosen.remove(fact)
            freed -= fact.footprint_bytes
    return chosen


def _refusal(ref: str, need: int, budget: int, fixed: int) -> str:
    if fixed and need <= budget:
        return (
            f"{ref} needs {_mb(need)}, but {_mb(fixed)} of the budget of {_mb(budget)} are pinned or reserved: "
            "unpin a model with `podium pin --off`, or raise pool.memory_budget_mb"
        )
    return (
        f"{ref} needs {_mb(need)}, more than the whole budget of {_mb(budget)}: "
        "raise pool.memory_budget_mb, or use a smaller or more strongly quantized model"
    )


def _mb(size: int) -> str:
    return f"{size / MB:,.0f} MB"

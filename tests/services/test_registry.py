"""The registry on a real database."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from ledger_samples import version
from podium.domain.model import Category, Facts, Lifecycle, Source
from podium.errors import Conflict, InvalidRequest, NotFound
from podium.ports import Page
from podium.services.registry import Registry
from podium.store import SqliteStore, open_store

L = Lifecycle


class FakeClock:
    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = open_store(tmp_path / "podium.db")
    yield opened
    await opened.close()


@pytest.fixture
async def registry(store: SqliteStore, clock: FakeClock) -> Registry:
    return Registry(store, await store.load(), clock)


async def activate(registry: Registry, ref: str) -> None:
    await registry.transition(ref, L.READY, "me", "ok")
    await registry.transition(ref, L.ACTIVE, "me", "go")


@pytest.mark.requirement("REG-2")
async def test_registering_the_same_again_changes_nothing_and_another_digest_names_both(registry: Registry) -> None:
    first, created = await registry.register(version(), "me")
    assert created
    again, created = await registry.register(version(created_at=99.0), "you")
    assert (again, created) == (first, False)
    with pytest.raises(Conflict, match=r"a{64}.*b{64}.*models remove"):
        await registry.register(version(digest="b" * 64), "me")
    other = Source(provider="llamacpp", location="/models/x.gguf", settings={"slots": 4})
    with pytest.raises(Conflict, match=r"'slots': 2.*'slots': 4"):
        await registry.register(version(source=other), "me")


@pytest.mark.requirement("REG-2")
async def test_two_tasks_that_register_at_once_get_one_version(store: SqliteStore, clock: FakeClock) -> None:
    registries = [Registry(store, await store.load(), clock) for _ in range(8)]
    results = await asyncio.gather(*(registry.register(version(), "me") for registry in registries))
    assert sorted(created for _, created in results) == [False] * 7 + [True]
    digests = [f"{n:064x}" for n in range(8)]
    offers = [
        registry.register(version("other", digest=d), "me") for registry, d in zip(registries, digests, strict=True)
    ]
    outcomes = await asyncio.gather(*offers, return_exceptions=True)
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 7


RACER = """
import asyncio, pathlib, sys
sys.path.insert(0, sys.argv[2])
from ledger_samples import version
from podium.errors import Conflict
from podium.services.registry import Registry
from podium.store import open_store

class Clock:
    now = monotonic = staticmethod(lambda: 1.0)

async def main():
    store = open_store(pathlib.Path(sys.argv[1]))
    registry = Registry(store, await store.load(), Clock())
    print("ready", flush=True)
    sys.stdin.readline()
    won = 0
    for n in range(50):
        try:
            won += (await registry.register(version("raced", str(n), digest=sys.argv[3] * 64), "x"))[1]
        except Conflict:
            pass
    await store.close()
    print(won)

asyncio.run(main())
"""


@pytest.mark.requirement("REG-2")
def test_two_processes_that_register_at_once_never_both_win(tmp_path: Path) -> None:
    path = str(tmp_path / "podium.db")
    command = [sys.executable, "-c", RACER, path, str(Path(__file__).parents[1])]
    children = [
        subprocess.Popen([*command, digest], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for digest in ("1", "2")
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    outputs = [child.communicate("go\n", timeout=60)[0] for child in children]
    assert sum(int(output) for output in outputs) == 50


async def test_a_version_that_is_not_given_is_declared_or_eight_hex_of_the_digest(registry: Registry) -> None:
    named, _ = await registry.register(version(number=""), "me")
    assert named.version == "a" * 8
    facts = Facts(digest="sha256:" + "c" * 64, declared_version="2.5")
    declared, _ = await registry.register(version("other", "", facts=facts), "me")
    assert declared.ref == "other@2.5"


@pytest.mark.parametrize("name", ["", "a b", "x@y", "auto", "AUTO", "task:x", "../x", "-x", "x" * 129, "a//b", "é"])
async def test_a_name_that_cannot_be_used_is_refused(registry: Registry, name: str) -> None:
    with pytest.raises(InvalidRequest):
        await registry.register(version(name), "me")


@pytest.mark.parametrize("number", ["a/b", "1@2", "1" * 65, "-1", "1 2"])
async def test_a_version_that_cannot_be_used_is_refused(registry: Registry, number: str) -> None:
    with pytest.raises(InvalidRequest):
        await registry.register(version(number=number), "me")


@pytest.mark.requirement("REG-3")
async def test_every_transition_is_recorded_and_an_illegal_one_changes_nothing(
    registry: Registry, store: SqliteStore, clock: FakeClock
) -> None:
    await registry.register(version(), "me")
    with pytest.raises(Conflict, match="ready or retired"):
        await registry.transition("smol@1", L.ACTIVE, "me", "no")
    await activate(registry, "smol@1")
    assert registry.get("smol@1").activated_at == clock.time
    recorded = await store.transitions("smol@1")
    assert [(t.before, t.after, t.by, t.reason) for t in recorded] == [
        (L.REGISTERED, L.READY, "me", "ok"),
        (L.READY, L.ACTIVE, "me", "go"),
    ]


async def test_a_gateway_that_is_behind_learns_from_the_refusal(store: SqliteStore, clock: FakeClock) -> None:
    one = Registry(store, await store.load(), clock)
    await one.register(version(), "me")
    other = Registry(store, await store.load(), clock)
    await one.transition("smol@1", L.RETIRED, "me", "enough")
    with pytest.raises(Conflict, match="is retired"):
        await other.transition("smol@1", L.READY, "you", "try")
    assert other.get("smol@1").status is L.RETIRED


@pytest.mark.requirement("REG-3")
async def test_a_deprecated_version_is_kept_warm_seven_days_also_after_a_restart(
    registry: Registry, store: SqliteStore, clock: FakeClock
) -> None:
    await registry.register(version(), "me")
    await activate(registry, "smol@1")
    await registry.deprecate("smol@1", "me", "old")
    week = clock.time + 7 * 86400
    again = Registry(store, await store.load(), clock)
    assert again.keep_until("smol@1") == week
    assert again.due_retirements(week - 1) == ()
    assert again.due_retirements(week) == ("smol@1",)
    await again.transition("smol@1", L.ACTIVE, "me", "back")
    assert again.due_retirements(week) == ()
    assert (await store.load()).keep_until == {}


async def test_a_name_is_its_newest_activated_version_and_near_names_are_suggested(
    registry: Registry, clock: FakeClock
) -> None:
    for number in ("1", "2", "3"):
        await registry.register(version(number=number, created_at=float(number)), "me")
    assert registry.resolve("smol").version == "3", "nothing is active: the newest"
    for number in ("2", "1"):
        clock.time += 1
        await activate(registry, f"smol@{number}")
    assert registry.resolve("smol").version == "1"
    assert registry.latest("smol").version == "3"
    assert [item.version for item in registry.versions_of("smol")] == ["3", "2", "1"]
    assert registry.resolve("smol@2").version == "2"
    with pytest.raises(NotFound, match="did you mean smol"):
        registry.resolve("smoll")
    with pytest.raises(NotFound, match="smol@1"):
        registry.resolve("smol@9")
    with pytest.raises(NotFound):
        registry.get("smol")


async def test_aliases_resolve_and_never_hide_a_model(registry: Registry, store: SqliteStore, clock: FakeClock) -> None:
    await registry.register(version(), "me")
    await registry.set_alias("@champion", "smol")
    assert registry.resolve("@champion").ref == registry.resolve("champion").ref == "smol@1"
    assert registry.aliases_of("smol@1") == ("champion",)
    for word in ("auto", "task:x", "a b"):
        with pytest.raises(InvalidRequest):
            await registry.set_alias(word, "smol")
    with pytest.raises(Conflict, match="name of a model"):
        await registry.set_alias("smol", "smol@1")
    with pytest.raises(NotFound):
        await registry.set_alias("x", "nothing")
    with pytest.raises(Conflict, match="alias"):
        await registry.register(version("champion"), "me")
    behind = Registry(store, await store.load(), clock)
    await registry.register(version("late"), "me")
    with pytest.raises(Conflict, match="name of a model"):
        await behind.set_alias("late", "smol")
    await registry.set_alias("champion", None)
    with pytest.raises(NotFound):
        registry.resolve("champion")


@pytest.mark.requirement("REG-4")
async def test_queries_filter_sort_and_page(registry: Registry) -> None:
    for n in range(6):
        facts = replace(version().facts, parameters=n, capabilities=frozenset({"chat"} if n % 2 else {"chat", "tools"}))
        item = version(
            f"m{n // 2}", str(n), facts=facts, created_at=n + 1.0, tags=frozenset({f"t{n % 3}"}),
            category=Category.FAST if n < 3 else None,
        )  # fmt: skip
        await registry.register(item, "me")

    def refs(**query: object) -> list[str]:
        return [item.version for item in registry.query(**query)[0]]  # type: ignore[arg-type] # table of keywords

    assert refs() == ["5", "4", "3", "2", "1", "0"]
    assert refs(name="m1") == ["3", "2"]
    assert refs(latest=True) == ["5", "3", "1"]
    assert refs(capabilities=frozenset({"chat", "tools"})) == ["4", "2", "0"]
    assert refs(tags=frozenset({"t0", "t1"})) == ["4", "3", "1", "0"]
    assert refs(category=Category.FAST, sort="parameters") == ["0", "1", "2"]
    assert refs(status=L.ACTIVE) == refs(provider="nobody") == []
    page, total = registry.query(page=Page(limit=2, offset=1))
    assert ([item.version for item in page], total) == (["4", "3"], 6)
    with pytest.raises(InvalidRequest, match="created_at"):
        registry.query(sort="colour")

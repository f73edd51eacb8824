"""Decisions are found by task, version and result, the newest first, and a name is never a pattern."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ledger_samples import attempt, choice
from podium.ports import Batch, Page, Sought
from podium.store import SqliteStore, ledger

pytestmark = pytest.mark.requirement("OPS-8")


async def found(store: SqliteStore, page: Page | None = None, **sought: object) -> list[str]:
    rows = await store.recent_decisions(page or Page(), Sought(**sought))  # type: ignore[arg-type]
    return [decision.id for decision, _ in rows]


@pytest.fixture
async def filled(store: SqliteStore) -> SqliteStore:
    refs = ("a_b@1", "axb@1", "a_b@2", "a_b%@1", "a_b")
    pairs = []
    for number, ref in enumerate(refs):
        task = f"task-{number % 2}"
        decision, outcome = attempt(number, choice(task=task))
        outcome = replace(outcome, task=task, ref=ref, success=number != 2, error=None if number != 2 else "overloaded")
        pairs.append((replace(decision, served=ref), outcome))
    await store.write_batch(Batch(decisions=tuple(pairs)))
    return store


async def test_a_name_finds_its_versions_and_a_version_itself(filled: SqliteStore) -> None:
    assert await found(filled, model="a_b") == ["dec-2", "dec-0"]
    assert await found(filled, model="a_b@1") == ["dec-0"]
    assert await found(filled, model="a_b%") == ["dec-3"]
    assert await found(filled, model="%") == []


async def test_all_that_is_sought_must_fit(filled: SqliteStore) -> None:
    assert await found(filled) == ["dec-4", "dec-3", "dec-2", "dec-1", "dec-0"]
    assert await found(filled, task="task-0") == ["dec-4", "dec-2", "dec-0"]
    assert await found(filled, failed=True) == ["dec-2"]
    assert await found(filled, task="task-0", failed=False) == ["dec-4", "dec-0"]
    assert await found(filled, task="task-1", model="a_b") == []
    assert await found(filled, Page(limit=1, offset=1), task="task-0") == ["dec-2"]


async def test_only_the_newest_are_looked_through(filled: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "LOOKED_AT", 2)
    assert await found(filled, task="task-0") == ["dec-4"]
    assert await found(filled, task="nowhere") == []

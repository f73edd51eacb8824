"""The tasks of an installation: names are checked, bounded, and durable when they are configured."""

from __future__ import annotations

import pytest

from podium.domain.task import DEFAULT_TASK, Criteria, TaskSpec
from podium.errors import InvalidRequest, NotFound
from podium.services import tasks as module
from podium.services.tasks import Tasks


class Kept:
    """The one thing the service asks of the store."""

    def __init__(self) -> None:
        self.specs: list[TaskSpec] = []

    async def put_task(self, spec: TaskSpec) -> None:
        self.specs.append(spec)


def made(*specs: TaskSpec) -> tuple[Tasks, Kept]:
    store = Kept()
    return Tasks(store, specs, "classic"), store  # type: ignore[arg-type] # the service asks for put_task only


def test_a_task_nobody_configured_exists_once_named_with_the_installations_strategy() -> None:
    tasks, store = made()
    assert tasks.known(DEFAULT_TASK)
    assert not tasks.known("poetry")
    assert tasks.ensure("poetry") == TaskSpec(name="poetry", strategy="classic")
    assert tasks.get("poetry") is tasks.ensure("poetry")
    assert "poetry" in {spec.name for spec in tasks.specs()}
    assert store.specs == []


def test_a_draft_of_a_task_begins_with_the_installations_strategy_and_is_not_kept() -> None:
    tasks, _ = made()
    assert tasks.draft("poetry") == TaskSpec(name="poetry", strategy="classic")
    assert not tasks.known("poetry")


async def test_settings_are_stored_before_they_hold() -> None:
    tasks, store = made()
    spec = TaskSpec(name="poetry", criteria=Criteria(min_quality=0.5))
    await tasks.put(spec)
    assert store.specs == [spec]
    assert tasks.get("poetry") is spec


@pytest.mark.parametrize("name", ["", "Upper", "no space", "a/b", "-dash", "x" * 65, "ünï"])
async def test_an_impossible_name_is_refused_everywhere(name: str) -> None:
    tasks, store = made()
    with pytest.raises(InvalidRequest, match="cannot name a task"):
        tasks.ensure(name)
    with pytest.raises(InvalidRequest):
        await tasks.put(TaskSpec(name=name))
    assert store.specs == []


def test_an_unknown_task_names_the_nearest_ones() -> None:
    tasks, _ = made(TaskSpec(name="poetry"))
    with pytest.raises(NotFound, match="did you mean poetry"):
        tasks.get("poetri")
    with pytest.raises(NotFound, match="podium tasks ls"):
        tasks.get("zzzzzzzz")


def test_the_number_of_names_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks, _ = made()
    monkeypatch.setattr(module, "MAX_TASKS", len(tasks.specs()) + 1)
    tasks.ensure("one-more")
    with pytest.raises(InvalidRequest, match="reuse one"):
        tasks.ensure("too-many")
    assert tasks.ensure("one-more").name == "one-more"

"""Who judges: chosen for a task like any model, and never the model that is judged while another can."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import MappingProxyType

import pytest

from podium.config import Config
from podium.domain.model import Source
from podium.domain.task import Binding, TaskSpec
from podium.runtime import Gateway
from podium.services.judge.picking import JudgePicker
from podium.services.onboarding import Registration

pytestmark = pytest.mark.requirement("JDG-3")


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with Gateway.open(Config(home=tmp_path / "home")) as running:
        yield running


class Models:
    """Registers scripted models; the same ``text`` is the same artifact."""

    def __init__(self, gateway: Gateway, folder: Path) -> None:
        self._gateway = gateway
        self._folder = folder

    async def add(self, name: str, version: str = "1", *, text: str | None = None, **script: object) -> str:
        path = self._folder / f"{name}-{version}.json"
        path.write_text(json.dumps({"text": text or f"{name} {version}", **script}))
        source = Source(provider="scripted", location=str(path), settings=MappingProxyType({}))
        order = Registration(name=name, version=version, source=source, activate=True)
        made, _, problem = await self._gateway.services.onboarding.add(order, "test")
        assert problem is None
        return made.ref


@pytest.fixture
def models(gateway: Gateway, tmp_path: Path) -> Models:
    return Models(gateway, tmp_path)


def picker(gateway: Gateway, *, may_judge_itself: bool = True) -> JudgePicker:
    services = gateway.services
    return JudgePicker(services.selector, services.registry, services.tasks, may_judge_itself=lambda: may_judge_itself)


def picked(gateway: Gateway, judged: str | None, criterion: str = "relevance", *, may_judge_itself: bool = True):
    judge = picker(gateway, may_judge_itself=may_judge_itself).pick_judge(criterion, judged)
    return judge.ref if judge is not None else None


async def test_without_a_model_nobody_judges(gateway: Gateway):
    assert picked(gateway, None) is None


async def test_the_version_bound_to_judgment_judges_all_but_itself(gateway: Gateway, models: Models):
    one, two = await models.add("one"), await models.add("two")
    for bound, other in ((one, two), (two, one)):
        gateway.services.selector.rebind(Binding(task="judgment", ref=bound))
        assert picked(gateway, None) == bound
        assert picked(gateway, other) == bound
        assert picked(gateway, bound) == other


async def test_a_task_of_one_criterion_goes_before_the_common_one(gateway: Gateway, models: Models):
    one, two = await models.add("one"), await models.add("two")
    selector = gateway.services.selector
    selector.rebind(Binding(task="judgment", ref=one))
    await gateway.services.tasks.put(TaskSpec(name="judgment.safety"))
    selector.refresh()
    selector.rebind(Binding(task="judgment.safety", ref=two))
    assert picked(gateway, None, "safety") == two
    assert picked(gateway, None, "relevance") == one


async def test_another_version_of_the_model_or_a_copy_of_it_judges_only_when_nothing_else_can(
    gateway: Gateway, models: Models
):
    first, second = await models.add("one", "1"), await models.add("one", "2")
    gateway.services.selector.rebind(Binding(task="judgment", ref=second))
    assert picked(gateway, first) == second
    copy = await models.add("copy", text="one 1")
    gateway.services.selector.rebind(Binding(task="judgment", ref=copy))
    assert picked(gateway, first) in {copy, second}
    other = await models.add("other")
    assert picked(gateway, first) == other


async def test_alone_it_judges_itself_unless_that_is_not_allowed(gateway: Gateway, models: Models):
    one = await models.add("one")
    assert picked(gateway, one) == one
    assert picked(gateway, one, may_judge_itself=False) is None
    assert picked(gateway, "gone@1") == one


async def test_a_judge_by_name_judges_all_but_itself_while_another_can(gateway: Gateway, models: Models):
    one = await models.add("one")
    named = gateway.services.registry.get(one)
    assert picker(gateway).pick_judge("relevance", "gone@1", named) == named
    assert picker(gateway).pick_judge("relevance", one, named) == named
    two = await models.add("two")
    judge = picker(gateway).pick_judge("relevance", one, named)
    assert judge is not None
    assert judge.ref == two


async def test_a_model_that_cannot_chat_does_not_judge(gateway: Gateway, models: Models):
    one = await models.add("one")
    await models.add("vectors", capabilities=["embedding"])
    assert picked(gateway, one) == one


async def test_one_whose_replies_are_no_verdicts_is_passed_over_unless_it_is_bound_or_alone(
    gateway: Gateway, models: Models
):
    one, two = await models.add("one"), await models.add("two")
    first = picker(gateway).pick_judge("relevance", None)
    assert first is not None
    mute = frozenset({first.ref})
    other = picker(gateway).pick_judge("relevance", None, None, mute)
    assert other is not None
    assert other.ref in {one, two} - mute
    everybody = picker(gateway).pick_judge("relevance", None, None, frozenset({one, two}))
    assert everybody is not None
    alone = picker(gateway).pick_judge("relevance", other.ref, None, mute)
    assert alone == first, "nobody judges itself while another may be asked"
    gateway.services.selector.rebind(Binding(task="judgment", ref=first.ref))
    assert picker(gateway).pick_judge("relevance", None, None, mute) == first

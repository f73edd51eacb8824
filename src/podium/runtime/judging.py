"""Builds the judging pipeline: who judges, by which rubrics, within which budget."""

from __future__ import annotations

from contextlib import AsyncExitStack

from podium.config.values import Config
from podium.core.graders import grade, signals, similar
from podium.core.judge_budget import Budget
from podium.core.judge_orders import JudgeOrders
from podium.domain.model import ModelVersion
from podium.rubrics import RubricLibrary
from podium.runtime.foundation import Foundation
from podium.runtime.serving import Serving
from podium.sandbox import Sandbox
from podium.services.judge.asking import ModelJudge
from podium.services.judge.picking import JudgePicker
from podium.services.judging import Bench, Judging
from podium.services.judging.calibrations import Calibrations


def judge_orders(config: Config) -> JudgeOrders:
    """What the configuration says is judged."""
    return config.judging.orders({name: task.judging for name, task in config.tasks.items()})


def judging(base: Foundation, serving: Serving, stack: AsyncExitStack) -> Judging:
    """Build it and show it the answers of the gateway."""
    orders = judge_orders(base.config)
    budget = Budget(orders.limits, base.clock.monotonic())
    calibrations = Calibrations(base.store)
    picker = JudgePicker(base.policy, base.registry, base.tasks, may_judge_itself=lambda: made.orders.may_judge_itself)

    box = Sandbox()
    stack.callback(box.close)

    def named(ref: str) -> ModelVersion:
        return base.registry.resolve(ref)

    bench = Bench(
        grade=grade,
        asking=ModelJudge(serving.background, base.catalogue.context_length),
        rubrics=RubricLibrary(base.config.home / "rubrics"),
        pick=picker.pick_judge,
        named=named,
        known=calibrations.of,
        budget=budget,
        clock=base.clock,
        idleness=serving.gateway.idleness,
        search=box.search,
    )
    made = Judging(
        store=base.store,
        recorder=base.recorder,
        idleness=serving.gateway.idleness,
        clock=base.clock,
        bench=bench,
        budget=budget,
        calibrations=calibrations,
        orders=orders,
        new_id=serving.gateway.new_id,
        signals=signals,
        similar=similar,
    )
    stack.push_async_callback(made.close)
    serving.gateway.observers = (*serving.gateway.observers, made)
    return made

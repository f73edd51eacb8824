"""Pages of rollouts, costs, quality and the playground on a gateway in this process: what they say, and refuse."""

from __future__ import annotations

import asyncio
import html
import http.client
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from podium.config import load
from podium.core.spending import HOUR_S, hour_of
from podium.domain.cost import Cause, Cost, Operation, SpentKey, SpentRow
from podium.domain.judgment import Calibration
from podium.domain.rollout import Rollout, RolloutPlan, RolloutState
from podium.ports import Batch
from podium.runtime.gateway import Gateway
from podium.web.series.spending import OTHERS, over_time

pytestmark = [pytest.mark.requirement("OPS-8"), pytest.mark.asyncio(loop_scope="module")]
ENOUGH = [(f"m@{version}", f"answer of {version}") for version in "abc"]


class Site:
    """The gateway, and a browser without scripts."""

    def __init__(self, gateway: Gateway, folder: Path) -> None:
        self.gateway = gateway
        self.folder = folder
        self.port = int((gateway.url or "").rsplit(":", 1)[1])

    def _call(self, method: str, path: str, body: object, headers: dict[str, str]) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()

    async def api(self, method: str, path: str, body: object = None) -> Any:
        status, answer = await asyncio.to_thread(self._call, method, path, body, {})
        assert status < 400, answer
        return json.loads(answer)

    async def page(self, path: str, status: int = 200, target: str | None = None) -> str:
        """What people read on it; ``target``: the block alone that an element of this id asks for."""
        headers = {"accept": "text/html"} | ({} if target is None else {"hx-request": "true", "hx-target": target})
        found, answer = await asyncio.to_thread(self._call, "GET", path, None, headers)
        assert found == status, answer[-2000:]
        return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.decode()))).replace("\u202f", " ")

    async def source(self, path: str) -> str:
        return (await asyncio.to_thread(self._call, "GET", path, None, {"accept": "text/html"}))[1].decode()

    async def roll_out(self, task: str, mode: str = "gradual", **plan: object) -> str:
        await self.api("POST", f"/api/v1/tasks/{task}/swap", {"to": "m@a"})
        body = {"to": "m@b", "mode": mode, "plan": {"validate": False, **plan}}
        made: str = (await self.api("POST", f"/api/v1/tasks/{task}/swap", body))["id"]
        return made

    async def ask(self, task: str, times: int, worth: float = 0.5) -> None:
        for _ in range(times):
            body = {"model": f"task:{task}", "messages": [{"role": "user", "content": "hi"}]}
            made = await self.api("POST", "/v1/chat/completions", body)
            assert made["choices"]
        await self.gateway.services.recorder.flush()
        for decision, _ in await self.gateway.services.store.recent_decisions(_rows(times)):
            await self.gateway.services.recorder.feedback(decision.request_id, worth)

    async def until(self, rollout: str, *states: str) -> None:
        deadline = time.monotonic() + 20
        while (found := await self.api("GET", f"/api/v1/rollouts/{rollout}"))["rollout"]["state"] not in states:
            assert time.monotonic() < deadline, found["says"]
            await asyncio.sleep(0.02)


def _rows(limit: int) -> Any:
    from podium.ports import Page

    return Page(limit=limit)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("work")
    async with Gateway.open(load(home=folder / "home", environ={})) as gateway:
        await gateway.serve(port=0)
        made = Site(gateway, folder)
        for ref, text in ENOUGH:
            script = folder / f"{ref}.json"
            script.write_text(json.dumps({"text": text}))
            name, _, version = ref.partition("@")
            source = {"provider": "scripted", "location": str(script)}
            await made.api(
                "POST", "/api/v1/models", {"name": name, "version": version, "source": source, "activate": True}
            )
        yield made


async def test_an_empty_list_says_how_a_rollout_begins_and_what_is_not_there_is_said(site: Site) -> None:
    assert "podium swap TASK NAME@VERSION --gradual" in await site.page("/rollouts")
    assert "There are no older ones" in await site.page("/rollouts?from=100")
    assert "there is no rollout" in (await site.page("/rollouts/nope", 404)).lower()


async def test_a_running_rollout_shows_its_ramp_evidence_orders_and_cost(site: Site) -> None:
    made = await site.roll_out("ramp", start_share=0.5, step_share=0.25, step_s=600.0, min_samples=2)
    await site.until(made, "canary")
    before = await site.page(f"/rollouts/{made}")
    assert "nothing is measured yet" in before
    await site.ask("ramp", 12)
    await site.gateway.services.rollouts.tick()
    text = await site.page(f"/rollouts/{made}")
    assert "Canary, step 1 of 3, 50 % of the traffic" in text
    assert "now: 50 %" in text
    assert "to come: 100 %" in text
    assert all(f" {order} " in text for order in ("Pause", "Promote", "Abort", "Roll back"))
    assert "Resume" not in text, "it is not paused"
    assert "not compared: no energy counter is readable" in text
    assert "at least 95.0 %" in text
    source = await site.source(f"/rollouts/{made}?metric=success")
    series = json.loads(html.unescape(re.findall(r'id="arms"[^>]*data-series="([^"]*)"', source)[0]))
    assert len({len(series["x"]), *(len(line["values"]) for line in series["lines"])}) == 1
    assert series["lines"][1]["values"][-1] == 100.0
    cost = await site.page(f"/rollouts/{made}?part=charged", target="charged")
    assert "asked because of it" in cost
    assert "the model's process is not ours to measure" in cost
    assert "there is no metric 'luck'" in await site.page(f"/rollouts/{made}?metric=luck", 404)
    assert "ramp" in await site.page("/rollouts?task=ramp")
    assert "Nothing is being rolled out" not in await site.page("/rollouts")
    await site.api("POST", f"/api/v1/rollouts/{made}/pause")
    paused = await site.page(f"/rollouts/{made}")
    assert "Resume" in paused
    assert "podium rollouts resume" not in paused, "there is a button for it"
    await site.api("POST", f"/api/v1/rollouts/{made}/abort", {"reason": "enough"})
    ended = await site.page(f"/rollouts/{made}")
    assert "It has ended; nothing more can be ordered" in ended
    assert "ended at: 50 %" in ended
    assert "enough" in await site.page("/rollouts")


@pytest.mark.parametrize(("mode", "says"), [("shadow", "sample"), ("ab", "split")])
async def test_comparisons_have_no_ramp_and_say_how_they_go(site: Site, mode: str, says: str) -> None:
    made = await site.roll_out(f"compare-{mode}", mode=mode)
    await site.until(made, "shadow", "canary")
    text = await site.page(f"/rollouts/{made}")
    assert f" {says} " in text
    assert "to come:" not in text
    await site.api("POST", f"/api/v1/rollouts/{made}/abort")


async def test_a_rollout_that_has_hardly_begun_has_a_page(site: Site) -> None:
    services = site.gateway.services
    item = Rollout(
        id="rollout_young", task="young", baseline="m@a", candidate="m@b", plan=RolloutPlan(step_share=0.001),
        state=RolloutState.REQUESTED, requested_at=services.clock.now(), by="cli", detects="hardly anything",
    )  # fmt: skip
    from podium.web.pages import rollouts as pages

    assert pages._ramp(item) == [], "a thousand steps are not drawn"
    assert [one["name"] for one in pages._orders(item, services.clock.now())] == ["abort"]


async def test_costs_by_version_task_and_key_with_reasons_for_what_nobody_measured(site: Site) -> None:
    await site.ask("ramp", 3)
    for by, named in (("model", "m @a"), ("task", "ramp"), ("key", "without a key")):
        text = await site.page(f"/costs?by={by}&figure=requests")
        assert named in text, by
        assert "the model's process is not ours to measure" in text
        assert "nobody bills these models" in text
    assert "No energy is on record" in await site.page("/costs?figure=energy")
    assert "No price is on record" in await site.page("/costs?figure=money&period=all")
    answers = await site.page("/costs?part=answers", target="answers")
    assert "m @a" in answers
    assert "Not measured" in answers
    assert "Nothing to advise" in await site.page("/costs?part=advice", target="advice")
    assert "too few hours" in await site.page("/costs?part=trends", target="trends")
    for wrong in ("by=moon", "period=2h", "figure=luck", "part=none"):
        await site.page(f"/costs?{wrong}", 404)


async def test_a_month_of_spending_is_added_up_by_day_and_what_is_measured_is_told(site: Site) -> None:
    services = site.gateway.services
    now = hour_of(services.clock.now())
    row = SpentRow(operations=10, wall_ms=5e3, cpu_ms=4e3, cpu_samples=10, energy_mwh=7.0, energy_samples=10,
                   energy_estimated=4, price_microusd=2_000_000, price_samples=10, input_tokens=5, output_tokens=6,
                   token_samples=10, tokens_estimated=1)  # fmt: skip
    spent = {SpentKey(now - 24 * day, "month", f"v{day % 9}@1", Cause.REQUEST): row for day in range(1, 30)}
    await services.store.write_batch(Batch(spending=spent))
    text = await site.page("/costs?period=30d&by=model&figure=money")
    assert "others" in text, "the largest five are curves of their own"
    assert "$58.00" in text
    points = (await site.api("GET", f"/api/v1/costs/over-time?by=task&span_h=24&since={(now - 24 * 40) * HOUR_S}"))[
        "points"
    ]
    assert sum(point["price_usd"] or 0 for point in points if point["task"] == "month") == 58.0


async def test_curves_have_gaps_where_nobody_could_measure_and_zero_where_nothing_was_spent() -> None:
    known, unknown = SpentRow(operations=1, energy_mwh=2.0, energy_samples=1), SpentRow(operations=1)
    rows = {(10, "a"): known, (12, "a"): unknown, (10, "b"): unknown}

    def energy(row: SpentRow) -> float | None:
        return row.energy_mwh if row.energy_samples else None

    made = over_time(rows, energy, "mWh", first=10, last=13, span=1)
    assert made is not None
    assert [(line["name"], line["values"]) for line in made["lines"]] == [("a", [2.0, 0.0, None, 0.0])]
    assert over_time({(10, "b"): unknown}, energy, "mWh", first=10, last=13, span=1) is None
    many = {(10, f"v{number}"): known for number in range(9)}
    made = over_time(many, energy, "mWh", first=10, last=10, span=1)
    assert made is not None
    assert (made["lines"][-1]["name"], made["lines"][-1]["values"]) == (OTHERS, [8.0])


async def test_quality_says_who_may_be_believed_and_what_was_judged(site: Site) -> None:
    services = site.gateway.services
    text = await site.page("/quality")
    assert "No judge was compared with people yet" in text
    assert "Judging is off" in text
    common = {"criterion": "safety", "kind": "platt", "knots": ((1.0, 0.0),), "n": 40, "positives": 20, "at": 1.0}
    services.judging.calibrations.put(
        [
            Calibration(judge="rules", auc=0.8, auc_low=0.7, auc_high=0.9, kappa=0.5, **common),
            Calibration(judge="weak@1", auc=0.5, auc_low=0.4, auc_high=0.6, **common),
            Calibration(judge="forced@1", auc=0.5, auc_low=0.4, auc_high=0.6, forced=True, **common),
        ]
    )
    text = await site.page("/quality?criterion=mine")
    assert "its scores teach" in text
    assert "no better than chance: teaches nothing" in text
    assert "no better than chance, teaches all the same" in text
    assert "mine" in text, "what was chosen can still be seen"
    assert "No judgment fits" in text
    assert "No answer was judged yet" in await site.page("/quality?part=estimates", target="estimates")


async def test_the_playground_offers_what_chats_and_names_what_was_chosen(site: Site) -> None:
    source = await site.source("/playground?a=task:ramp&b=m@c")
    assert '<option value="task:ramp" selected>' in source
    assert "<option selected>m@c</option>" in source
    assert 'data-costs="yes"' in source


async def test_work_behind_users_backs_is_told_by_its_cause(site: Site) -> None:
    done = Operation(
        id="op", at=time.time(), task="ramp", ref="m@a", success=True, cost=Cost(wall_ms=4.0, cause=Cause.JUDGE)
    )
    site.gateway.services.recorder.operation(done)
    text = await site.page("/costs")
    assert "judging answers" in text
    assert "rollouts, seen by users" in text

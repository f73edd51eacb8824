"""Rollouts over HTTP against a real gateway: order, follow, command, report, refuse; and the document says the same."""

from __future__ import annotations

import json
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from podium.domain.rollout import RolloutPlan
from podium.domain.swap import Compatibility
from podium.errors import CallerError
from podium.server import pictures
from podium.server.rollout_plans import PlanBody
from podium.server.rollout_views import CompatibilityView, PlanView
from server import Reply, Server

QUICK = {"start_share": 0.25, "step_share": 0.25, "step_s": 0.5, "min_samples": 2}
SLOW = {**QUICK, "step_s": 600.0}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A gateway with ``m@a``, ``m@b`` and ``m@c``; each test uses its own task."""
    started = Server(tmp_path_factory.mktemp("rollouts") / "home").start()
    for version in "abc":
        started.script(f"m@{version}", text=f"from {version}")
    yield started
    started.stop()


def test_all_that_would_change_by_a_swap_is_shown() -> None:
    assert set(CompatibilityView.model_fields) == {field.name for field in fields(Compatibility)}


def order(server: Server, task: str, to: str = "m@b", mode: str = "gradual", **plan: Any) -> dict[str, Any]:
    """Bind ``task`` to ``m@a`` and order a rollout to ``to``."""
    assert server.ok("POST", f"/api/v1/tasks/{task}/swap", {"to": "m@a"})["ok"]
    reply = server.call("POST", f"/api/v1/tasks/{task}/swap", {"to": to, "mode": mode, "plan": plan})
    assert reply.status == 202, reply.body
    began: dict[str, Any] = reply.json
    return began


def ask(server: Server, task: str, worth: dict[str, float], stop: threading.Event) -> None:
    """Requests to a task, each scored by the version that answered, until told to stop."""
    while not stop.is_set():
        reply = server.chat(f"task:{task}")
        assert reply.status == 200, reply.body
        body = {"request_id": reply.headers["x-request-id"], "score": worth[reply.headers["x-podium-model"]]}
        server.ok("POST", "/api/v1/feedback", body)


def until(server: Server, rollout: str, states: set[str], within_s: float = 20) -> dict[str, Any]:
    """The rollout once it is in one of ``states``."""
    deadline = time.monotonic() + within_s
    while True:
        found: dict[str, Any] = server.ok("GET", f"/api/v1/rollouts/{rollout}")
        if found["rollout"]["state"] in states:
            return found
        assert time.monotonic() < deadline, found["says"]
        time.sleep(0.05)


def played(server: Server, task: str, rollout: str, worth: dict[str, float]) -> dict[str, Any]:
    """Traffic on ``task`` until its rollout ended."""
    stop = threading.Event()
    asking = threading.Thread(target=ask, args=(server, task, worth, stop))
    asking.start()
    try:
        return until(server, rollout, {"promoted", "rolled_back", "failed", "aborted"})
    finally:
        stop.set()
        asking.join(20)


@pytest.mark.requirement("SWP-4")
def test_a_worse_version_is_rolled_back_and_the_report_says_why_in_every_format(gateway: Server):
    began = order(gateway, "worse", **SLOW)
    assert (began["baseline"], began["candidate"], began["state"]) == ("m@a", "m@b", "requested")
    assert began["plan"]["start_share"] == 0.25
    assert began["ramp_steps"] == 4
    found = played(gateway, "worse", began["id"], {"m@a": 0.9, "m@b": 0.1})
    assert found["rollout"]["state"] == "rolled_back"
    reading = {one["metric"]: one for one in found["readings"]}["quality"]
    assert reading["verdict"] == "worse"
    assert (round(reading["baseline"], 3), round(reading["candidate"], 3)) == (0.9, 0.1)
    assert reading["limit_value"] == pytest.approx(0.95 * reading["baseline"])
    assert reading["difference"] == pytest.approx(-0.8)
    assert [step["after"] for step in found["steps"]][-2:] == ["canary", "rolled_back"]
    path = f"/api/v1/rollouts/{began['id']}/report"
    full = gateway.ok("GET", path)
    assert full["telling"] == "quality"
    assert {point["metric"] for point in full["trace"]} >= {"quality", "success"}
    assert "rolled back" in gateway.call("GET", f"{path}?format=text").body.decode()
    plain = gateway.call("GET", f"{path}?format=text&ascii=true&width=60", headers={"accept": "image/png"})
    assert plain.headers["content-type"].startswith("text/plain"), "the address wins over the header"
    assert plain.body.decode().isascii()
    picture = gateway.call("GET", path, headers={"accept": "text/html, image/svg+xml;q=0.9, */*;q=0.1"})
    assert picture.headers["content-type"].startswith("image/svg+xml")
    words = "".join(ET.fromstring(picture.body).itertext())
    assert "worse: m@a → m@b" in words
    assert "rolled back" in words
    png = gateway.call("GET", f"{path}?format=png&metric=success")
    assert png.headers["content-type"] == "image/png"
    assert png.body.startswith(b"\x89PNG\r\n\x1a\n")
    assert gateway.call("GET", path, headers={"accept": "text/html"}).status == 406
    assert gateway.call("GET", f"{path}?format=gif").error["param"] == "format"
    assert gateway.chat("task:worse").headers["x-podium-model"] == "m@a"


@pytest.mark.requirement("SWP-4")
def test_an_equal_version_ramps_to_all_of_the_traffic(gateway: Server):
    began = order(gateway, "equal", **QUICK)
    found = played(gateway, "equal", began["id"], {"m@a": 0.8, "m@b": 0.8})
    assert found["rollout"]["state"] == "promoted", found["says"]
    shares = [step["share"] for step in found["steps"] if step["after"] == "canary"]
    assert shares == [0.25, 0.5, 0.75, 1.0]
    assert gateway.chat("task:equal").headers["x-podium-model"] == "m@b"


@pytest.mark.requirement("SWP-5")
def test_a_rollout_is_paused_resumed_and_promoted_by_hand_and_listed(gateway: Server):
    began = order(gateway, "byhand", to="m@c", **SLOW)
    path = f"/api/v1/rollouts/{began['id']}"
    running = until(gateway, began["id"], {"canary"})
    assert running["next"]["share"] == 0.5
    assert running["next"]["answers"] == 2
    assert "50 % in" in running["says"]
    paused = gateway.ok("POST", f"{path}/pause", {"reason": "lunch"})
    assert (paused["state"], paused["share"], paused["paused_from"]) == ("paused", 0.0, "canary")
    assert gateway.call("POST", f"{path}/pause").status == 409
    listed = gateway.ok("GET", "/api/v1/rollouts?task=byhand&state=paused")["rollouts"]
    assert [one["id"] for one in listed] == [began["id"]]
    opened = gateway.ok("GET", "/api/v1/rollouts?state=open&state=promoted&limit=1000")["rollouts"]
    assert began["id"] in [one["id"] for one in opened]
    assert gateway.ok("GET", "/api/v1/rollouts?task=byhand&state=canary&offset=3")["rollouts"] == []
    assert gateway.ok("POST", f"{path}/resume")["share"] == 0.25
    done = gateway.ok("POST", f"{path}/promote", {"reason": "enough"}, {"x-podium-actor": "somebody"})
    assert (done["state"], done["open"], done["share"]) == ("promoted", False, 1.0)
    assert "enough" in done["ending"]
    assert gateway.call("POST", f"{path}/abort").status == 409
    assert gateway.chat("task:byhand").headers["x-podium-model"] == "m@c"


@pytest.mark.requirement("SWP-5")
def test_an_aborted_comparison_leaves_everything_as_it_was(gateway: Server):
    began = order(gateway, "split", mode="ab", split=0.5)
    until(gateway, began["id"], {"canary"})
    second = {"to": "m@c", "mode": "gradual"}
    assert gateway.call("POST", "/api/v1/tasks/split/swap", second).status == 409
    assert gateway.ok("POST", f"/api/v1/rollouts/{began['id']}/abort")["state"] == "aborted"
    assert gateway.chat("task:split").headers["x-podium-model"] == "m@a"


@pytest.mark.parametrize(
    ("plan", "param"),
    [
        ({"start_share": 0}, "plan.start_share"),
        ({"start_share": 3}, "plan.start_share"),
        ({"step_share": -0.1}, "plan.step_share"),
        ({"step_s": 0}, "plan.step_s"),
        ({"step_s": "soon"}, "plan.step_s"),
        ({"min_samples": 0}, "plan.min_samples"),
        ({"min_samples": 1.5}, "plan.min_samples"),
        ({"min_samples": True}, "plan.min_samples"),
        ({"start_share": "0.5"}, "plan.start_share"),
        ({"early": "yes"}, "plan.early"),
        ({"limits": {"quality": True}}, "plan.limits.quality"),
        ({"false_alarm": 0.9}, "plan.false_alarm"),
        ({"limits": {"quality": 1.2}}, "plan.limits"),
        ({"limits": {}}, "plan.limits"),
        ({"limits": {"speed": 0.9}}, "plan.limits.speed"),
        ({"silence_s": 1e12}, "plan.silence_s"),
        ({"mode": "ab"}, "plan.mode"),
        ({"colour": "red"}, "plan.colour"),
        ("all", "plan"),
    ],
)
def test_a_bad_plan_is_refused_with_its_field(gateway: Server, plan: object, param: str):
    gateway.call("POST", "/api/v1/tasks/refused/swap", {"to": "m@a"})
    reply = gateway.call("POST", "/api/v1/tasks/refused/swap", {"to": "m@b", "mode": "gradual", "plan": plan})
    assert reply.status == 400, reply.body
    assert (reply.error["param"] or "").startswith(param), reply.error
    assert gateway.ok("GET", "/api/v1/rollouts?task=refused")["rollouts"] == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/rollouts/nobody", 404),
        ("GET", "/api/v1/rollouts/nobody/report", 404),
        ("POST", "/api/v1/rollouts/nobody/pause", 404),
        ("POST", "/api/v1/rollouts/nobody/hurry", 400),
        ("GET", "/api/v1/rollouts?state=asleep", 400),
        ("GET", "/api/v1/rollouts?limit=0", 400),
        ("GET", "/api/v1/rollouts/nobody/report?width=1", 400),
    ],
)
def test_what_is_not_there_or_makes_no_sense_is_refused(gateway: Server, method: str, path: str, status: int):
    reply = gateway.call(method, path)
    assert reply.status == status
    assert reply.error["message"]


def test_the_document_describes_what_is_answered(gateway: Server):
    document = gateway.ok("GET", "/openapi.json")
    began = order(gateway, "described", **SLOW)
    name = f"/api/v1/rollouts/{began['id']}"
    until(gateway, began["id"], {"canary"})
    calls = [
        ("post", "/api/v1/tasks/{task}/swap", gateway.call("POST", "/api/v1/tasks/described/swap", {"to": 1})),
        ("get", "/api/v1/rollouts", gateway.call("GET", "/api/v1/rollouts")),
        ("get", "/api/v1/rollouts/{rollout_id}", gateway.call("GET", name)),
        ("get", "/api/v1/rollouts/{rollout_id}/report", gateway.call("GET", f"{name}/report")),
        ("get", "/api/v1/rollouts/{rollout_id}", gateway.call("GET", "/api/v1/rollouts/nobody")),
        ("post", "/api/v1/rollouts/{rollout_id}/{order}", gateway.call("POST", f"{name}/resume")),
        ("post", "/api/v1/rollouts/{rollout_id}/{order}", gateway.call("POST", f"{name}/abort")),
        ("get", "/api/v1/models", gateway.call("GET", "/api/v1/models?limit=0")),
    ]
    for method, path, reply in calls:
        matches(document, method, path, reply)
    said = [one["responses"] for path in document["paths"].values() for one in path.values()]
    assert not [one for one in said if "HTTPValidationError" in str(one.get("422"))], (
        "wrong parameters are answered with 400"
    )
    schema = resolved(document, {"$ref": "#/components/schemas/PlanBody"})
    assert schema["properties"]["start_share"]["maximum"] == 1
    assert schema["additionalProperties"] is False


def matches(document: dict[str, Any], method: str, path: str, reply: Reply) -> None:
    """The body is what the document says of this status."""
    described = document["paths"][path][method]["responses"]
    assert str(reply.status) in described, (path, reply.status, sorted(described))
    schema = described[str(reply.status)]["content"]["application/json"]["schema"]
    jsonschema.validate(reply.json, {**schema, "components": document["components"]})


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """What a reference points at."""
    found: dict[str, Any] = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return found


def test_every_field_of_a_plan_can_be_given_and_is_shown():
    names = {one.name for one in fields(RolloutPlan)}
    for model in (PlanBody, PlanView):
        assert {info.alias or name for name, info in model.model_fields.items()} == names
    given = PlanBody()
    for one in fields(RolloutPlan):
        if one.name not in ("mode", "validate"):
            assert getattr(given, one.name) == getattr(RolloutPlan(), one.name)


def test_png_without_the_library_or_a_font_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pictures, "_has_font", lambda: False)
    with pytest.raises(CallerError, match="install one") as refused:
        pictures.png_of("<svg/>")
    assert refused.value.status == 406
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(CallerError, match=r"podium\[plots\]") as refused:
        pictures.png_of("<svg/>")
    assert refused.value.status == 406


def test_the_history_survives_a_restart(tmp_path: Path):
    server = Server(tmp_path / "home").start()
    try:
        for version in "ab":
            server.script(f"m@{version}", text=version)
        began = order(server, "kept", **SLOW)
        until(server, began["id"], {"canary"})
        server.ok("POST", f"/api/v1/rollouts/{began['id']}/abort", {"reason": "changed my mind"})
        before = server.ok("GET", f"/api/v1/rollouts/{began['id']}")
        server.stop()
        server.start()
        after = server.ok("GET", f"/api/v1/rollouts/{began['id']}")
        assert json.dumps(after["steps"]) == json.dumps(before["steps"])
        assert after["rollout"] == before["rollout"]
        assert "changed my mind" in after["rollout"]["ending"]
    finally:
        server.stop()

"""Costs of a running server, over HTTP, by the Python client and on the command line: the same numbers."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import forking
from podium.client import Podium
from server import Server

pytestmark = pytest.mark.requirement("COST-2")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A gateway with one version that nobody asked anything of."""
    started = Server(tmp_path_factory.mktemp("costs") / "home").start()
    started.script("m@1", text="x")
    yield started
    started.stop()


def podium(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PODIUM_HOME": str(server.home)}
    return forking.podium(*arguments, env=env)


def test_what_was_served_is_profiled_compared_and_drawn(server: Server, tmp_path: Path):
    nothing = server.call("GET", "/api/v1/costs").json
    assert (nothing["profiles"], nothing["costs"]) == ([], [])
    assert server.call("GET", "/api/v1/costs/compare").json["notes"] == [
        "nothing to compare: fewer than two versions have answered"
    ]
    assert "nothing to advise" in podium(server, "costs", "advice").stderr
    server.script("fast@1", text="one two three", latency_ms=1)
    server.script("slow@1", text="one two three", latency_ms=40)
    for number in range(24):
        name = ("fast@1", "slow@1")[number % 2]
        assert server.chat(name, headers={"x-podium-task": "jobs"}).status == 200

    found = server.call("GET", "/api/v1/costs?task=jobs").json
    by_name = {(one["task"], one["ref"]): one for one in found["profiles"]}
    fast, slow = by_name["jobs", "fast@1"], by_name["jobs", "slow@1"]
    assert (fast["operations"], slow["operations"], by_name["jobs", None]["operations"]) == (12, 12, 24)
    assert slow["figures"]["wall_ms"]["mean"] > 40 > fast["figures"]["wall_ms"]["p50"]
    assert fast["figures"]["output_tokens"]["total"] == 36
    assert fast["figures"]["cpu_ms"]["mean"] is None
    assert fast["figures"]["cpu_ms"]["why"]
    assert {row["ref"]: row["requests"] for row in found["costs"]} == {"fast@1": 12, "slow@1": 12}

    compared = server.call("GET", "/api/v1/costs/compare?a=fast&b=slow@1&task=jobs").json
    mean = next(one for one in compared["differences"] if (one["figure"], one["statistic"]) == ("wall_ms", "mean"))
    assert mean["verdict"] == "more"
    assert mean["low"] < mean["difference"] < mean["high"]

    shown = podium(server, "costs", "--task", "jobs")
    assert shown.returncode == 0, shown.stderr
    assert "jobs slow@1" in shown.stdout
    assert "cpu_ms: " in shown.stderr
    rows = list(csv.DictReader(io.StringIO(podium(server, "costs", "--task", "jobs", "--csv").stdout)))
    line = next(row for row in rows if (row["task"], row["ref"], row["figure"]) == ("jobs", "slow@1", "wall_ms"))
    assert float(line["mean"]) == pytest.approx(slow["figures"]["wall_ms"]["mean"])
    assert json.loads(podium(server, "costs", "compare", "fast@1", "slow@1", "--json").stdout)["tasks"] == ["jobs"]
    assert "wall_ms mean" in podium(server, "costs", "compare", "fast@1", "slow@1").stdout
    picture = tmp_path / "costs.svg"
    assert podium(server, "costs", "--plot", str(picture)).returncode == 0
    words = " ".join(ET.fromstring(picture.read_text()).itertext())
    assert "slow@1 on jobs" in words
    assert "too few windows to ask" in podium(server, "costs", "trends").stderr


async def test_the_python_client_gets_them_too(server: Server):
    server.script("m@1", text="one two three")
    assert server.chat("m@1", headers={"x-podium-task": "jobs"}).status == 200
    async with Podium.connect(server.url) as client:
        assert (await client.costs(task="jobs", model="m@1"))["profiles"][0]["operations"] == 1
        assert (await client.costs(task="other"))["profiles"] == []
        assert (await client.cost_trends())[0]["direction"] == "unknown"
        assert (await client.cost_advice())["advice"] == []


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("costs?since=2000000000&until=1000000000", "since 2000000000 is not before until 1000000000"),
        ("costs?model=nobody@1", "nobody@1"),
        ("costs/compare?a=m@1", "name both versions, or neither"),
        ("costs/compare?a=m@1&b=m@1", "the same version"),
        ("costs/trends?window_s=5", "window_s"),
        ("costs?since=-1", "since"),
    ],
)
def test_wrong_questions_are_refused_by_name(shared: Server, path: str, says: str):
    reply = shared.call("GET", f"/api/v1/{path}")
    assert reply.status in (400, 404, 422), reply.body
    assert says in json.dumps(reply.error)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--figure", "beauty"), "is none of wall_ms"),
        (("--plot", "x.gif"), "ends in neither .svg nor .png"),
        (("--csv", "--json"), "choose one of --csv and --json"),
        (("--since", "yesterday"), "is no time"),
        (("compare", "nobody@1", "m@1"), "nobody@1"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_asked(shared: Server, arguments: tuple[str, ...], says: str):
    done = podium(shared, "costs", *arguments)
    assert done.returncode != 0
    assert says in done.stderr.replace("\n", " ").replace("│", "").replace("  ", " ")

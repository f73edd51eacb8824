"""A reload applies the difference: what did not change keeps its process, a bad file changes nothing."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bad_server import Switch
from server import Server
from watching import error_of, gone, instances, kinds, ready, running, split, wait_for

POOL = """
[pool]
memory_budget_mb = {budget}
min_residency_s = 0.1
max_wait_s = 0.5
residency_loads = 1.0
"""


class Site:
    """A gateway whose configuration the test writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "podium.toml"
        self.switches: dict[str, Switch] = {}
        self.budget = 1000
        self.models: dict[str, dict[str, str]] = {}
        self.more = ""
        self.server = Server(folder / "home", "--config", str(self.file))

    def model(self, ref: str, *, hold_mb: int = 0, slots: int = 4, **keys: str) -> Switch:
        """Declare a model behind a misbehaving server; ``keys`` are TOML values."""
        switch = self.switches.setdefault(ref, Switch(self.folder, ref.replace("@", "-")))
        reserve = f", memory_mb = {hold_mb + 10}" if hold_mb else ""
        command = switch.command("--hold-mb", str(hold_mb))
        self.models[ref] = {
            "command": f"'{command}'",
            "settings": f"{{ concurrency = {slots}, stop_timeout_s = 0.5{reserve} }}",
            **keys,
        }
        return switch

    def write(self) -> str:
        """Put it all into the file."""
        entries = [
            f'[models."{ref}"]\n' + "".join(f"{key} = {value}\n" for key, value in keys.items())
            for ref, keys in self.models.items()
        ]
        text = POOL.format(budget=self.budget) + self.more + "\n" + "\n".join(entries)
        partial = self.file.with_suffix(".partial")
        partial.write_text(text)
        partial.replace(self.file)
        return text

    def start(self, *refs: str) -> None:
        """Start, or have the file read again, and wait until these are loaded."""
        if self.server.process is None:
            self.write()
            self.server.start()
        else:
            self.reload()
        for ref in refs:
            wait_for(lambda ref=ref: running(self.server, ref), timeout_s=30)
            wait_for(lambda ref=ref: self.server.ok("GET", f"/api/v1/models/{ref}")["status"] == "active")

    def reload(self) -> Any:
        """Write the file and have it read again."""
        self.write()
        return self.server.ok("POST", "/api/v1/reload", {})

    def pids(self, *refs: str) -> list[int]:
        return [ready(self.server, ref)["pid"] for ref in refs]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One gateway for the tests that need no memory limit."""
    made = Site(tmp_path_factory.mktemp("reload"))
    yield made
    made.server.stop()


@pytest.fixture
def shared(first: Site) -> Site:
    """That gateway with an empty file; the versions of earlier tests are still registered."""
    first.models.clear()
    first.more, first.budget = "", 1000
    for switch in first.switches.values():
        switch.set()
    first.start()
    return first


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.server.stop()


@pytest.mark.requirement("OPS-6")
def test_a_reload_touches_only_what_changed(site: Site):
    site.model("same@1")
    site.model("other@1")
    site.start("same@1", "other@1")
    server, before = site.server, site.pids("same@1", "other@1")
    again = site.reload()
    assert (again["changed"], again["problems"]) == (False, [])

    lines = server.stream("same@1")
    assert b'"status": 200' in next(lines)
    site.model("other@1", pin="true", tags='["nice"]')
    site.model("third@1")
    site.more = '[tasks.jobs]\nmin_context = 7\n\n[fallbacks]\n"same@1" = ["other@1"]\n'
    done = site.reload()
    assert done["changed"]
    assert done["models_changed"] == ["other@1"]
    assert done["models_added"] == ["third@1"]
    assert done["tasks_added"] == ["jobs"]
    assert "fallbacks" in done["live"]
    assert done["problems"] == [], done
    assert b"[DONE]" in b"".join(lines)
    assert site.pids("same@1", "other@1") == before
    assert ready(server, "other@1")["pinned"]
    assert server.chat("third@1").status == 200
    site.switches["same@1"].set(fault="500")
    assert server.chat("same@1").headers["x-podium-model"] == "other@1"
    assert server.ok("GET", "/api/v1/tasks/jobs")["criteria"]["min_context"] == 7

    site.model("other@1")
    site.more = ""
    assert site.reload()["tasks_removed"] == ["jobs"]
    assert not ready(server, "other@1")["pinned"]
    assert server.chat("same@1").status == 502, "its fallback is gone from the file"
    assert site.pids("same@1", "other@1") == before


@pytest.mark.requirement("OPS-6")
def test_a_bad_file_is_refused_with_its_lines_and_the_old_one_stays(shared: Site):
    shared.model("m@1")
    shared.start("m@1")
    server, before = shared.server, shared.pids("m@1")
    good = shared.write()
    line = good.count("\n") + 2
    wrongs = {
        "[pool]\nmax_wait_s = 'soon'\n": None,  # a table twice: no TOML
        '[models."x@1"]\nurl = 5\n': line + 1,
        '[models."x@1"]\nurl = "http://127.0.0.1:1/v1"\ngguf = "x.gguf"\n': line,
        '[models."x@1"]\ncommand = "x ${PORT}"\nkeep_alive = "forever"\n': line + 2,
        "[timeouts]\nfirst_token_s = -1\ntotl_s = 3\n": line + 1,
    }
    for wrong, at in wrongs.items():
        shared.file.write_text(good + "\n" + wrong)
        refused = server.call("POST", "/api/v1/reload", {})
        assert refused.status in (400, 422, 500), refused.body
        assert refused.error["code"] == "invalid_config", wrong
        if at is not None:
            assert f":{at}" in refused.error["message"] or f"line {at}" in refused.error["message"], refused.error
        assert server.chat("m@1").status == 200
    shared.file.unlink()
    assert server.call("POST", "/api/v1/reload", {}).status >= 400
    assert shared.pids("m@1") == before
    assert server.process is not None
    shared.file.write_text(good + "\n[pool]\n")
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "podium.toml" in server.log())
    assert server.chat("m@1").status == 200
    shared.budget = 777
    shared.write()
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: server.ok("GET", "/api/v1/instances")["memory_budget_mb"] == 777)
    assert shared.pids("m@1") == before


@pytest.mark.requirement("OPS-6")
def test_two_reloads_within_ten_milliseconds_end_with_the_last_file(shared: Site):
    shared.model("m@1")
    shared.start("m@1")
    server, before = shared.server, shared.pids("m@1")
    for budget in (500, 900):
        started: list[float] = []

        def again(value: int, started: list[float] = started) -> Any:
            shared.budget = value
            shared.write()
            started.append(time.monotonic())
            return server.ok("POST", "/api/v1/reload", {})

        gate = threading.Event()
        with ThreadPoolExecutor(2) as threads:
            first = threads.submit(again, budget)
            second = threads.submit(lambda b=budget, g=gate: (g.wait(0.005), again(b + 1))[1])
            answers = [first.result(), second.result()]
        assert max(started) - min(started) < 0.1
        assert all("problems" in answer for answer in answers)
        assert server.ok("GET", "/api/v1/instances")["memory_budget_mb"] == shared.budget
    assert shared.pids("m@1") == before


@pytest.mark.requirement("OPS-6", "SWP-2")
def test_a_reload_in_the_middle_of_a_load_fails_nobody(shared: Site):
    switch = shared.model("m@1")
    shared.start("m@1")
    server = shared.server
    server.ok("DELETE", "/api/v1/instances/m@1")
    switch.set(load_s=1.5)
    loads = switch.loads()
    with ThreadPoolExecutor(3) as threads:
        waiters = [threads.submit(server.chat, "m@1") for _ in range(3)]
        wait_for(lambda: [item["state"] for item in instances(server, "m@1")] == ["loading"])
        shared.model("m@1", pin="true")
        shared.model("n@1", activate="false")
        shared.budget = 800
        began = time.monotonic()
        done = shared.reload()
        assert done["models_changed"] == ["m@1"]
        assert done["problems"] == []
        assert time.monotonic() - began < 1.2, "a reload does not wait for a load under way"
        assert [item["state"] for item in instances(server, "m@1")] in (["loading"], ["ready"])
        assert [each.result().status for each in waiters] == [200] * 3
    assert switch.loads() == loads + 1
    assert ready(server, "m@1")["pinned"]


@pytest.mark.requirement("OPS-6", "POOL-2")
def test_a_budget_lowered_below_what_is_loaded_takes_idle_models_away(site: Site):
    site.budget = 500
    for ref in ("a@1", "b@1"):
        site.model(ref, hold_mb=150)
    site.start("a@1", "b@1")
    server = site.server
    before = set(site.pids("a@1", "b@1"))
    site.budget = 300
    assert "pool.memory_budget_mb" in site.reload()["live"]
    wait_for(lambda: sum(gone(pid) for pid in before) == 1)
    kept = [item["pid"] for ref in ("a@1", "b@1") for item in running(server, ref)]
    assert len(kept) == 1
    assert set(kept) < before, "what still fits keeps its process"
    for ref in ("a@1", "b@1"):
        assert server.chat(ref).status == 200
        assert "instance.crashed" not in kinds(server, ref)
    assert not running(server, "a@1")


@pytest.mark.requirement("OPS-6", "POOL-2")
def test_a_budget_lowered_under_a_busy_model_cuts_none_of_its_answers(site: Site):
    site.budget = 500
    switch = site.model("a@1", hold_mb=150)
    site.start("a@1")
    server = site.server
    pid = site.pids("a@1")[0]
    switch.set(words=40, gap_ms=20)
    lines = server.stream("a@1")
    assert b'"status": 200' in next(lines)
    site.budget = 100
    site.reload()
    received = split(lines)
    assert received[-1] == b"data: [DONE]", error_of(received[-1])
    wait_for(lambda: gone(pid))
    refused = server.chat("a@1")
    assert refused.status in (422, 503), refused.body
    assert "100 MB" in refused.error["message"]
    site.budget = 500
    site.reload()
    assert server.chat("a@1").status == 200


@pytest.mark.requirement("OPS-6")
def test_a_model_taken_out_of_the_file_goes_on_serving_until_it_is_retired(shared: Site):
    shared.model("gone@1", pin="true")
    shared.model("stays@1")
    shared.start("gone@1", "stays@1")
    server, before = shared.server, shared.pids("gone@1", "stays@1")
    del shared.models["gone@1"]
    done = shared.reload()
    assert done["models_removed"] == ["gone@1"]
    assert any("gone@1" in problem and "podium models retire" in problem for problem in done["problems"])
    assert server.chat("gone@1").status == 200
    assert shared.pids("gone@1", "stays@1") == before
    assert not ready(server, "gone@1")["pinned"], "the file ordered the pin, and no longer does"


@pytest.mark.requirement("OPS-6")
def test_a_changed_command_of_a_registered_version_is_a_problem_that_says_what_to_do(shared: Site):
    shared.model("changed@1")
    shared.start("changed@1")
    server, before = shared.server, shared.pids("changed@1")
    shared.model("changed@1", slots=2)
    done = shared.reload()
    assert done["models_changed"] == ["changed@1"]
    (problem,) = done["problems"]
    assert "changed@1" in problem
    assert "version" in problem
    assert shared.pids("changed@1") == before
    assert server.chat("changed@1").status == 200


@pytest.mark.requirement("OPS-6")
def test_an_order_given_by_hand_outlasts_a_reload_of_an_unchanged_entry(shared: Site):
    shared.model("m@1", keep_alive='"10m"')
    shared.start("m@1")
    server = shared.server
    server.ok("PUT", "/api/v1/instances/m@1/directive", {"keep_alive": "5m", "pinned": True})
    shared.budget = 600
    shared.reload()
    assert server.ok("GET", "/api/v1/instances/m@1/directive")["keep_alive_s"] == 300
    assert ready(server, "m@1")["pinned"]
    shared.model("m@1", keep_alive='"20m"')
    shared.reload()
    order = server.ok("GET", "/api/v1/instances/m@1/directive")
    assert (order["keep_alive_s"], order["pinned"]) == (1200, False)
    assert not ready(server, "m@1")["pinned"]


@pytest.mark.requirement("OPS-6")
def test_a_strategy_nobody_knows_is_refused_before_it_could_spoil_answers(shared: Site):
    shared.model("m@1")
    shared.start("m@1")
    server = shared.server
    for wrong, where in (
        ('[selection]\nstrategy = "magic"\n', "selection.strategy"),
        ('[tasks.jobs]\nstrategy = "magic"\n', "tasks.jobs.strategy"),
    ):
        shared.more = wrong
        shared.write()
        refused = server.call("POST", "/api/v1/reload", {})
        assert refused.error["code"] == "invalid_config", refused.body
        assert where in refused.error["message"]
        assert server.chat("auto").status == 200
    weights = "{ quality = 1.0, latency = 0.0, memory = 0.0, reliability = 0.0, recency = 0.0 }"
    shared.more = f'[selection]\nstrategy = "magic"\n[selection.weights]\nmagic = {weights}\n'
    assert "selection.weights" in shared.reload()["live"]
    reply = server.chat("auto")
    assert reply.status == 200, reply.body
    (attempt,) = server.ok("GET", f"/api/v1/decisions/{reply.headers['x-request-id']}")["attempts"]
    assert attempt["strategy"] == "magic"


@pytest.mark.requirement("OPS-6")
def test_a_declared_model_that_could_not_start_is_tried_again_by_the_next_reload(shared: Site):
    switch = shared.model("m@1")
    shared.start("m@1")
    switch = shared.model("late@1", pin="true")
    switch.set(load_error="its disk is not there yet")
    (problem,) = shared.reload()["problems"]
    assert "late@1" in problem
    assert "its disk is not there yet" in problem
    switch.set()
    done = shared.reload()
    assert done["problems"] == []
    assert shared.server.chat("late@1").status == 200
    assert ready(shared.server, "late@1")["pinned"]
    loads = switch.loads()
    shared.reload()
    assert switch.loads() == loads


@pytest.mark.requirement("OPS-6", "POOL-2")
def test_a_file_that_adds_a_model_and_the_memory_for_it_is_applied_in_that_order(site: Site):
    site.budget = 200
    site.model("a@1", hold_mb=150, pin="true")
    site.start("a@1")
    pids = site.pids("a@1")
    site.model("b@1", hold_mb=150)
    site.budget = 400
    assert site.reload()["problems"] == []
    assert site.pids("a@1") == pids
    assert running(site.server, "b@1")

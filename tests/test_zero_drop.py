"""The zero-drop benchmark itself: a small run against the real gateway, and proof that it finds what it looks for."""

from __future__ import annotations

import importlib
import itertools
import json
import random
import socket
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SERVER = "podium.providers.scripted_server"


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The benchmark's own modules by name; they import each other as scripts do."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    names = ("bound", "fleet", "load")
    yield {name: importlib.import_module(f"zero_drop_{name}") for name in names}
    for name in names:
        sys.modules.pop(f"zero_drop_{name}", None)


def run(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit status, the JSON object, and what it wrote on stderr."""
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "zero_drop.py"), "--json", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


@pytest.mark.requirement("SWP-2", "POOL-3")
def test_nothing_is_dropped_while_six_models_share_the_memory_of_two() -> None:
    size = ("--requests", "400", "--swaps", "15", "--clients", "32", "--limit-s", "60", "--seed", "7")
    code, found, errors = run(*size, "--pool", "min_residency_s = 0.2\nmax_wait_s = 1.0")
    assert code == 0, (found, errors)
    assert found["reached"]
    assert found["requests"] >= 400
    assert found["swaps"] >= 15
    assert found["task_swaps"] > 0
    assert found["evictions"] > 0
    assert found["loads"] >= found["evictions"]
    assert [found[key] for key in ("failed", "cut", "wrong_model", "shed", "left_behind")] == [0, 0, 0, 0, 0]
    assert sum(found["served"].values()) == found["requests"]
    assert len(found["served"]) == 6
    assert found["added_wait_p50_ms"] <= found["added_wait_p99_ms"] <= found["added_wait_max_ms"]
    assert found["thrash"] >= 1


def peer(fleet: ModuleType, tmp_path: Path, change: dict[str, Any]) -> tuple[int, dict[str, Any], str]:
    """A run against another server, of whose second model something was changed after its words were noted."""
    prepared, running = tmp_path / "prepared", tmp_path / "running"
    for folder in (prepared, running):
        fleet.prepare(folder, ["m0", "m1"], fleet.Timing())
    script = running / "m1.json"
    script.write_text(json.dumps({**json.loads(script.read_text()), **change}))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start = f"{sys.executable} -m {SERVER} {running / 'm0.json'} {script} --port {port}"
    return run(
        *("--url", f"http://127.0.0.1:{port}", "--models", "m0,m1", "--start-command", start),
        *("--expect", str(prepared), "--requests", "120", "--clients", "4", "--limit-s", "30"),
    )


@pytest.mark.parametrize(
    ("change", "counted"),
    [
        ({"faults": [{"kind": "cut", "every": 31, "after_chunks": 2}]}, "cut"),
        ({"faults": [{"kind": "half_event", "every": 31, "after_chunks": 2}]}, "cut"),
        ({"faults": [{"kind": "error", "every": 31}]}, "failed"),
        ({"faults": [{"kind": "garbage", "every": 31}]}, "failed"),
    ],
    ids=["a cut stream", "half an event", "an error status", "garbage"],
)
def test_what_another_server_drops_is_counted_and_fails_the_run(
    modules: dict[str, ModuleType], tmp_path: Path, change: dict[str, Any], counted: str
) -> None:
    code, found, errors = peer(modules["fleet"], tmp_path, change)
    assert code == 1, errors
    assert found[counted] > 0, found
    assert found["requests"] >= 120
    others = {"failed", "cut", "wrong_model", "shed"} - {counted}
    assert {key: found[key] for key in others} == dict.fromkeys(others, 0), found["examples"]


def test_another_server_that_drops_nothing_passes_and_its_unknown_loads_stay_unknown(
    modules: dict[str, ModuleType], tmp_path: Path
) -> None:
    code, found, errors = peer(modules["fleet"], tmp_path, {})
    assert code == 0, (found, errors)
    assert found["swaps"] is None
    assert found["thrash"] is None
    assert found["left_behind"] is None


def test_a_model_that_says_something_else_before_the_run_stops_it(
    modules: dict[str, ModuleType], tmp_path: Path
) -> None:
    code, found, errors = peer(modules["fleet"], tmp_path, {"answers": []})
    assert code == 1
    assert not found
    assert "m1 does not answer properly" in errors


# ------------------------------------------------------------ the judge


EXPECTED = {"a": {"p": "one two"}, "b": {"p": "three four"}}


def judged(modules: dict[str, ModuleType], body: str, **changes: Any) -> str:
    """The verdict on a stream for model ``a`` whose words are ``body``, with parts of the reply changed."""
    load = modules["load"]
    finish = '{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"total_tokens":3}}'
    lines = [f"data: {json.dumps({'choices': [{'delta': {'content': body}}], 'model': changes.pop('chunk', 'a')})}"]
    lines += [f"data: {finish}"] if changes.pop("finish", True) else []
    lines += ["data: [DONE]"] if changes.pop("done", True) else []
    reply = load.Reply(0.0, status=200, headers={"x-podium-model": "a"}, complete=True)
    reply.body = ["\n\n".join([*lines, ""]).encode()]
    expected = changes.pop("expected", EXPECTED)
    for name, value in changes.items():
        setattr(reply, name, value)
    verdict: str = load.judge(load.Request("a", "p", {"a"}), reply, frozenset(EXPECTED), expected).verdict
    return verdict


@pytest.mark.parametrize(
    ("body", "changes", "verdict"),
    [
        ("one two", {}, "ok"),
        ("anything", {"expected": None}, "ok"),
        ("", {"expected": None}, "cut"),
        ("one", {}, "cut"),
        ("one two", {"done": False}, "cut"),
        ("one two", {"finish": False}, "cut"),
        ("one two", {"complete": False}, "cut"),
        ("three four", {}, "wrong_model"),
        ("one four", {}, "wrong_model"),
        ("one two", {"chunk": "b"}, "wrong_model"),
        ("anything", {"chunk": "b", "expected": None}, "wrong_model"),
        ("three four", {"headers": {"x-podium-model": "b"}}, "wrong_model"),
        ("", {"status": 503, "headers": {"retry-after": "2"}}, "shed"),
        ("", {"status": 503, "headers": {}}, "failed"),
        ("", {"status": 0, "complete": False}, "failed"),
        ("", {"finish": False}, "failed"),
    ],
)
def test_the_judge_tells_what_became_of_an_answer(
    modules: dict[str, ModuleType], body: str, changes: dict[str, Any], verdict: str
) -> None:
    assert judged(modules, body, **dict(changes)) == verdict


# ------------------------------------------------------------ the minimum of loads


def lru_loads(models: list[str], fit: int) -> int:
    """What a policy that serves every request at once and drops the least recently used one loads."""
    held: OrderedDict[str, None] = OrderedDict()
    loads = 0
    for model in models:
        if model not in held:
            loads += 1
            if len(held) == fit:
                held.popitem(last=False)
        held[model] = None
        held.move_to_end(model)
    return loads


def exact_loads(models: list[str], fit: int) -> int:
    """The true minimum for requests served in order and at once, by trying every choice; the first state is free."""
    names = sorted(set(models))
    reach = {frozenset(held): 0 for held in itertools.combinations(names, min(fit, len(names)))}
    for model in models:
        following: dict[frozenset[str], int] = {}
        for held, cost in reach.items():
            options = [held] if model in held else [held - {out} | {model} for out in held]
            for state in options:
                price = cost + (model not in held)
                following[state] = min(following.get(state, price), price)
        reach = following
    return min(reach.values())


def test_the_minimum_of_loads_is_exact_where_it_can_be_counted_by_hand(modules: dict[str, ModuleType]) -> None:
    least = modules["bound"].minimum_loads
    assert least([], 1) == 0
    assert least([(t, t, "a") for t in range(9)], 1) == 0
    assert least([(t, t, "abc"[t % 3]) for t in range(9)], 1) == 8
    assert least([(t, t, "abc"[t % 3]) for t in range(9)], 3) == 0
    # With nine seconds of patience ABCABCABC needs each model once, and the first is there already.
    assert least([(t, t + 9, "abc"[t % 3]) for t in range(9)], 1) == 2


def test_the_minimum_of_loads_is_never_more_than_what_is_really_needed(modules: dict[str, ModuleType]) -> None:
    least = modules["bound"].minimum_loads
    rng = random.Random(11)
    for _ in range(300):
        fit = rng.randint(1, 3)
        models = [rng.choice("abcde") for _ in range(rng.randint(1, 14))]
        demands = [(float(t), float(t), model) for t, model in enumerate(models)]
        exact = exact_loads(models, fit)
        assert least(demands, fit) <= exact <= lru_loads(models, fit)
        if fit == 1:
            assert least(demands, fit) == exact
        patient = [(start, end + rng.random() * 5, model) for start, end, model in demands]
        assert least(patient, fit) <= least(demands, fit)

"""``podium evaluate`` on files of both formats, on this home's own log, and on every bad row."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from peak_memory import peak

from podium import Podium
from podium.cli import main as entry
from podium.core.bandit import Bandit
from podium.domain.cost import Cost
from podium.domain.decision import Candidate, Choice, Decision, Feedback, Outcome
from podium.ports import Batch
from podium.services.evaluating import Learning, evaluate
from podium.store import open_store
from podium.store.evaluable import scored_decisions

Run = Callable[..., tuple[int, str, str]]
ARMS = ["a@1", "b@1", "c@1"]
WORTH = {"t": (0.8, 0.4, 0.2), "u": (0.3, 0.7, 0.4)}


@pytest.fixture
def podium(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """``podium ARGUMENTS`` in this process: exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["podium", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            entry.main()
        shown = capsys.readouterr()
        code = done.value.code
        return (code if isinstance(code, int) else 0), shown.out, shown.err

    return run


def logged(rows=1500, seed=5) -> list[dict[str, Any]]:
    """Decisions made by chance: half of them a, the rest b and c."""
    rng, made = np.random.default_rng(seed), []
    for number in range(rows):
        task, arm = "tu"[number % 2], int(rng.choice(3, p=(0.5, 0.25, 0.25)))
        reward = float(rng.random() < WORTH[task][arm])
        row = {"task": task, "chosen": ARMS[arm], "propensity": (0.5, 0.25, 0.25)[arm], "reward": reward}
        made.append({**row, "candidates": ARMS})
    return made


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def ok(podium: Run, *arguments: object) -> dict[str, Any]:
    code, out, err = podium("evaluate", *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def refused(podium: Run, *arguments: object) -> str:
    code, out, err = podium("evaluate", *arguments, "--json")
    assert (code, out) == (1, ""), err
    assert err.startswith("podium: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.requirement("TRK-4")
def test_the_estimates_of_one_model_hold_its_true_worth(podium, tmp_path):
    # Seed 5; the true worth of b is the mean of .4 and .7.
    result = ok(podium, jsonl(tmp_path / "log.jsonl", logged()), "--policy", "always:b@1")
    assert result["n"] == 1500
    for name in ("ips", "snips", "doubly_robust"):
        assert result[name]["low"] < 0.55 < result[name]["high"], name
        assert result[name]["value"] == pytest.approx(0.55, abs=4 * result[name]["error"])
    assert result["effective_samples"] == pytest.approx(1500 / 4, rel=0.1)
    assert set(result["tasks"]) == {"t", "u"}
    assert result["tasks"]["t"]["verdict"] == "worse"
    assert result["tasks"]["u"]["verdict"] == "better"


@pytest.mark.requirement("TRK-4")
def test_a_policy_that_learns_from_the_log_is_found_better_than_chance(podium, tmp_path):
    file = jsonl(tmp_path / "log.jsonl", logged(2500))
    for name in ("default", "linucb"):
        result = ok(podium, file, "--policy", name, "--warm-up", "400")
        assert (result["verdict"], result["n"]) == ("better", 2100), name
        assert result["doubly_robust"]["low"] < 0.75 < result["doubly_robust"]["high"] + 0.05
    assert ok(podium, file, "--policy", "uniform")["verdict"] != "better"


def test_the_distribution_taken_for_the_default_is_the_one_it_chooses_from():
    # Seed 1; 20,000 draws, every frequency within 4.5 standard errors.
    policy, rng, draws = Bandit(), np.random.default_rng(1), 20_000
    for _ in range(60):
        arm = policy.choose("t", ARMS, float(rng.random())).arm
        policy.observe("t", arm, float(rng.random() < WORTH["t"][ARMS.index(arm)]))
    shares = np.array(Learning(policy).distribution("t", ARMS))
    picked = [policy.choose("t", ARMS, float(draw)) for draw in rng.random(draws)]
    assert all(one.propensity == pytest.approx(shares[ARMS.index(one.arm)]) for one in picked)
    counts = np.array([sum(one.arm == arm for one in picked) for arm in ARMS])
    assert np.all(np.abs(counts / draws - shares) < 4.5 * np.sqrt(shares * (1 - shares) / draws))


def test_the_column_target_is_a_policy_and_the_column_predicted_a_reward_model(podium, tmp_path):
    shares = {"a@1": 0.1, "b@1": 0.8, "c@1": 0.1}
    rows = [
        {**row, "target": shares, "predicted": dict(zip(ARMS, WORTH[row["task"]], strict=True))} for row in logged()
    ]
    truth = np.mean([0.1 * a + 0.8 * b + 0.1 * c for a, b, c in WORTH.values()])
    names = list(rows[0])
    kinds = {"candidates": pa.list_(pa.string())}
    kinds |= {name: pa.map_(pa.string(), pa.float64()) for name in ("target", "predicted")}
    columns = {
        name: pa.array(
            [list(r[name].items()) if name in ("target", "predicted") else r[name] for r in rows], kinds.get(name)
        )
        for name in names
    }
    maps, structs = tmp_path / "maps.parquet", tmp_path / "structs.parquet"
    pq.write_table(pa.table(columns), maps)
    pq.write_table(pa.Table.from_pylist(rows), structs)
    results = [ok(podium, file, "--policy", "target") for file in (jsonl(tmp_path / "log.jsonl", rows), maps, structs)]
    assert results[0] == results[1] == results[2]
    assert results[0]["doubly_robust"]["low"] < truth < results[0]["doubly_robust"]["high"]
    other = ok(podium, maps, "--policy", "always:b@1")
    assert other["ips"]["value"] != results[0]["ips"]["value"]


def test_rows_without_reward_or_without_the_model_are_counted(podium, tmp_path):
    rows = logged(300)
    for row in rows[:40]:
        row["reward"] = None
    for row in rows[40:70]:
        row["candidates"] = ["a@1", "b@1"] if row["chosen"] != "c@1" else ["a@1", "c@1"]
    result = ok(podium, jsonl(tmp_path / "log.jsonl", rows), "--policy", "always:b@1")
    gone = sum(row["chosen"] == "c@1" for row in rows[40:70])
    assert (result["without_reward"], result["left_out"], result["n"]) == (40, gone, 260 - gone)


def test_a_log_made_without_exploration_is_refused_and_parts_of_it_are_counted(podium, tmp_path):
    rows = logged(600)
    for row in rows[::2]:
        row["propensity"] = 1.0
    result = ok(podium, jsonl(tmp_path / "half.jsonl", rows), "--policy", "always:b@1")
    assert (result["certain"], result["n"]) == (300, 300)
    for row in rows:
        row["propensity"] = 1.0
    error = refused(podium, jsonl(tmp_path / "none.jsonl", rows), "--policy", "always:b@1")
    assert "the log explored nothing, 600 decisions had no alternative (propensity 1)" in error


def test_people_get_the_verdict_first(podium, tmp_path):
    code, out, err = podium("evaluate", jsonl(tmp_path / "log.jsonl", logged()), "--policy", "always:c@1")
    assert (code, err) == (0, "")
    assert out.startswith("always:c@1: worse by ")
    assert "doubly robust" in out


def test_file_and_log_exclude_each_other_and_one_is_needed(podium, tmp_path):
    assert podium("evaluate")[0] == 2
    assert podium("evaluate", tmp_path / "log.jsonl", "--log")[0] == 2


# ---------------------------------------------------------------- this home's log


def decided(number: int, arm: str, *, parent: str | None = None) -> tuple[Decision, Outcome]:
    choice = Choice(
        task="t",
        strategy="learned",
        chosen=arm,
        propensity=1 / 3,
        fallbacks=(),
        reason="",
        confidence=1.0,
        candidates=(*(Candidate(ref=ref) for ref in ARMS), Candidate(ref="gone@1", dropped="too small")),
    )
    ids = (f"dec-{number}", f"req-{number}")
    decision = Decision(
        id=ids[0], request_id=ids[1], at=float(number), choice=choice, served=arm, propensity=1 / 3, parent=parent
    )
    outcome = Outcome(
        decision_id=ids[0],
        request_id=ids[1],
        task="t",
        ref=arm,
        at=float(number),
        success=True,
        error=None,
        streamed=False,
        latency_ms=1.0,
        ttft_ms=None,
        cost=Cost(wall_ms=1.0),
    )
    return decision, outcome


@pytest.mark.requirement("TRK-4")
def test_this_homes_own_decisions_and_feedback_are_evaluated(podium, home):
    rng = np.random.default_rng(8)
    pairs = [decided(number, ARMS[int(rng.integers(3))]) for number in range(900)]
    pairs += [decided(number, "a@1", parent="dec-1") for number in range(900, 910)]
    feedback = []
    for decision, _ in pairs[:800] + pairs[900:]:
        score = float(rng.random() < WORTH["t"][ARMS.index(decision.served)])
        one = Feedback(
            request_id=decision.request_id, decision_id=decision.id, task="t", ref=decision.served, score=score, at=1.0
        )
        feedback += [one, dataclasses.replace(one, source="judge")]

    async def fill() -> None:
        store = open_store(home / "podium.db")
        await store.write_batch(Batch(decisions=pairs, feedback=feedback))
        await store.close()

    asyncio.run(fill())
    result = ok(podium, "--log", "--policy", "always:a@1")
    assert result["n"] == 800
    assert result["logging"]["value"] == pytest.approx(np.mean([one.score for one in feedback[: 2 * 800]]))
    assert result["ips"]["low"] < 0.8 < result["ips"]["high"]
    assert result["verdict"] == "better"


@pytest.mark.requirement("TRK-4")
async def test_what_a_real_gateway_recorded_is_evaluated(home, tmp_path):
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"text": "An answer."}))
    async with Podium.open(home=home) as gateway:
        for version in ("1", "2"):
            made = await gateway.add_model(
                "echo", provider="scripted", location=str(script), version=version, activate=True
            )
            assert made["status"] == "active", made
            await gateway.load_model(made["ref"])
        await gateway.set_task("poetry", strategy="default")
        for number in range(12):
            done = await gateway.execute("Say something", task="poetry")
            await gateway.feedback(done.request_id, 1.0 if number % 3 else 0.0)
    rows = list(scored_decisions(home / "podium.db"))
    assert len(rows) == 12
    assert sum(row.reward for row in rows) == 8
    assert {frozenset(row.candidates) for row in rows} == {frozenset({"echo@1", "echo@2"})}
    explored = [row for row in rows if row.propensity < 1]
    assert explored, "both versions were loaded, so each choice had an alternative"
    report = evaluate(rows, "uniform")
    assert (report.evaluation.overall.n, report.certain) == (len(explored), 12 - len(explored))


def test_a_home_without_a_log_or_without_feedback_says_so(podium, home):
    assert "there is no log" in refused(podium, "--log")

    async def create() -> None:
        await open_store(home / "podium.db").close()

    asyncio.run(create())
    assert "no row has a reward" in refused(podium, "--log")
    (home / "podium.db").write_bytes(b"no database at all" * 100)
    for rest in home.glob("podium.db-*"):
        rest.unlink()
    assert "podium.db" in refused(podium, "--log")


# ---------------------------------------------------------------- bad files


BAD = {
    "propensity 0": ({"propensity": 0.0}, "column propensity: 0 is not a probability above 0"),
    "propensity above 1": ({"propensity": 1.1}, "column propensity: 1.1 is not a probability"),
    "no propensity": ({"propensity": None}, "column propensity: null is not a probability"),
    "propensity as text": ({"propensity": "1"}, "column propensity: '1' is not a number"),
    "reward above 1": ({"reward": 2}, "column reward: 2 is not between 0 and 1"),
    "reward nan": ({"reward": float("nan")}, "column reward: nan is not a finite number"),
    "chosen is no candidate": ({"chosen": "z@1"}, "column chosen: 'z@1' is not among the candidates"),
    "no candidates": ({"candidates": []}, "column candidates: [] is not a list"),
    "candidates as text": ({"candidates": "a@1,b@1"}, "column candidates: 'a@1,b@1' is not a list"),
    "candidate twice": ({"candidates": [*ARMS, "a@1"]}, "column candidates: names a model twice"),
    "no task": ({"task": None}, "column task: None is not a text"),
    "target lacks one": ({"target": {"a@1": 1.0}}, "column target: None for b@1"),
    "target is no distribution": ({"target": dict.fromkeys(ARMS, 0.5)}, "column target: the probabilities sum to 1.5"),
    "target is text": ({"target": "a@1"}, "column target: 'a@1' does not map candidates"),
}


@pytest.mark.requirement("TRK-4")
@pytest.mark.parametrize("case", BAD)
def test_bad_rows_are_refused_by_file_line_and_column(podium, tmp_path, case):
    cells, message = BAD[case]
    rows = [{**row, "target": None} for row in logged(5)]
    rows[2] |= cells
    file = jsonl(tmp_path / "log.jsonl", rows)
    error = refused(podium, file, "--policy", "uniform")
    assert f"{file}, line 3, {message}" in error


def test_missing_columns_unknown_policies_and_nothing_to_judge_are_refused(podium, tmp_path):
    rows = logged(5)
    file = jsonl(tmp_path / "log.jsonl", rows)
    assert "unknown policy 'best': use always:MODEL, target, or one of default" in refused(
        podium, file, "--policy", "best"
    )
    assert "the policy has a choice in none of 5 rows" in refused(podium, file, "--policy", "always:z@1")
    assert "the policy has a choice in none of 5 rows" in refused(podium, file, "--policy", "target")
    assert "all of 5 rows are for warming up" in refused(podium, file, "--policy", "uniform", "--warm-up", "5")
    bare = jsonl(tmp_path / "bare.jsonl", [{"task": "t", "chosen": "a", "reward": 1}])
    assert "lacks the columns propensity, candidates" in refused(podium, bare)
    unscored = jsonl(tmp_path / "unscored.jsonl", [{**row, "reward": None} for row in rows])
    assert "no row has a reward" in refused(podium, unscored)


@pytest.mark.requirement("TRK-4")
def test_a_log_far_larger_than_the_bound_is_evaluated_within_it(tmp_path):
    # 20,000 decisions with a note of 10,000 characters each: 200 MB.
    file, text = tmp_path / "large.jsonl", "x" * 10_000
    with file.open("w") as out:
        for row in logged(20_000):
            out.write(json.dumps({**row, "note": text}) + "\n")
    assert file.stat().st_size > 200e6
    measured = peak(["evaluate", str(file), "--policy", "always:a@1", "--json"])
    assert measured["result"]["n"] == 20_000
    assert measured["peak_bytes"] < 130e6, measured["peak_bytes"]

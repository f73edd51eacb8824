"""``podium replay`` on files as users have them: good ones of both formats, and every bad one."""

from __future__ import annotations

import errno
import io
import json
import re
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from peak_memory import peak

from podium.cli import main as entry
from podium.datasets import parquet, shuffling
from podium.datasets.replay_file import ReplayFile
from podium.errors import InvalidRequest, StoreError
from podium.services.replay import POLICIES

Run = Callable[..., tuple[int, str, str]]
MODELS = ("small", "medium", "large")


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


def scored(rows=400, seed=5, **more: Any) -> list[dict[str, Any]]:
    """Prompts of three tasks on which another model is best each."""
    rng, worth = np.random.default_rng(seed), {"t": (0.8, 0.4, 0.2), "u": (0.3, 0.7, 0.4), "v": (0.1, 0.3, 0.9)}
    made = []
    for number in range(rows):
        task = "tuv"[number % 3]
        scores = (rng.random(3) < worth[task]).astype(float)
        row = {"prompt_id": f"p{number}", "task": task, "prompt": "…"}
        row |= {f"q__{model}": float(score) for model, score in zip(MODELS, scores, strict=True)}
        row |= {f"lat__{model}": 0.1 * (1 + place) for place, model in enumerate(MODELS)}
        row |= {f"cost__{model}": 0.001 * (1 + place) for place, model in enumerate(MODELS)}
        made.append({**row, **more})
    return made


def jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def table(path: Path, rows: list[dict[str, Any]], **types: pa.DataType) -> Path:
    columns = {name: pa.array([row[name] for row in rows], type=types.get(name), from_pandas=False) for name in rows[0]}
    pq.write_table(pa.table(columns), path)
    return path


def ok(podium: Run, *arguments: object) -> dict[str, Any]:
    code, out, err = podium(*arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def refused(podium: Run, *arguments: object) -> str:
    """The one line on stderr of a command that must fail, without a stack."""
    code, out, err = podium("replay", *arguments, "--json")
    assert (code, out) == (1, ""), err
    assert err.startswith("podium: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.requirement("TRK-4")
def test_replay_prints_the_fields_of_the_contract(podium, tmp_path):
    result = ok(podium, "replay", jsonl(tmp_path / "f.jsonl", scored()), "--policy", "linucb", "--seed", 3)
    assert {"policy": "linucb", "seed": 3, "n": 400}.items() <= result.items()
    contract = "mean_quality task_oracle best_single regret final_quarter cost shares"
    assert set(contract.split()) <= set(result)
    assert "recovery" not in result
    assert result["regret"] == pytest.approx(400 * (result["task_oracle"] - result["mean_quality"]))
    assert sum(result["shares"].values()) == pytest.approx(1)
    assert result["cost"] == pytest.approx(
        400 * sum(result["shares"][m] * c for m, c in zip(MODELS, (1e-3, 2e-3, 3e-3), strict=True))
    )
    assert result["best_single"] < result["mean_quality"] < result["task_oracle"] < 1


@pytest.mark.parametrize("name", list(POLICIES))
def test_every_listed_policy_runs_and_the_same_seed_gives_the_same_result(podium, tmp_path, name):
    file = jsonl(tmp_path / "f.jsonl", scored(120))
    first = ok(podium, "replay", file, "--policy", name, "--seed", 1)
    assert first == ok(podium, "replay", file, "--policy", name, "--seed", 1)
    assert first["policy"] == name


def test_another_seed_is_another_order(podium, tmp_path):
    file = jsonl(tmp_path / "f.jsonl", scored())
    results = [ok(podium, "replay", file, "--policy", "ucb1", "--seed", seed)["mean_quality"] for seed in range(4)]
    assert len(set(results)) > 1


def test_both_formats_and_any_memory_give_the_same_stream(podium, tmp_path):
    rows = scored(5000)
    files = jsonl(tmp_path / "f.jsonl", rows), table(tmp_path / "f.parquet", rows)
    one, other = (ok(podium, "replay", file, "--policy", "linucb", "--seed", 2) for file in files)
    assert one == other
    streams = []
    for file, memory in ((files[0], shuffling.MEMORY_BYTES), (files[1], 50_000)):
        with ReplayFile(file, 2, memory_bytes=memory) as source:
            parts = list(source.rows())
            again = list(source.rows())
        streams.append(
            [np.concatenate([getattr(part, name) for part in parts]) for name in ("task", "quality", "draws")]
        )
        assert [len(part.task) for part in parts] == [len(part.task) for part in again]
    assert all(np.array_equal(a, b) for a, b in zip(*streams, strict=True))


def test_the_stream_is_a_permutation_in_which_every_place_is_as_likely(tmp_path):
    # Seeds 0 to 199; the first row's place is uniform over 40: chi-squared over 8 bins, 7 degrees, p = 1e-4 at 29.9.
    rows = scored(40)
    for number, row in enumerate(rows):
        row["q__small"] = number / 40
    file, places = jsonl(tmp_path / "f.jsonl", rows), []
    for seed in range(200):
        with ReplayFile(file, seed) as source:
            order = np.concatenate([part.quality[:, 0] for part in source.rows()])
        assert sorted(order) == pytest.approx([n / 40 for n in range(40)])
        places.append(int(np.flatnonzero(order == 0)[0]))
    counts = np.bincount(np.array(places) // 5, minlength=8)
    assert float(((counts - 25) ** 2 / 25).sum()) < 29.9


def test_a_limit_ends_the_same_stream_earlier_and_keeps_the_yardsticks(podium, tmp_path):
    file = jsonl(tmp_path / "f.jsonl", scored(5000))
    whole = ok(podium, "replay", file, "--policy", "uniform")
    part = ok(podium, "replay", file, "--policy", "uniform", "--limit", 4500)
    assert (part["n"], part["best_single"]) == (4500, whole["best_single"])
    assert part["regret"] == pytest.approx(4500 * (part["task_oracle"] - part["mean_quality"]))
    assert ok(podium, "replay", file, "--policy", "uniform", "--limit", 9999) == whole
    assert "from 1 to 99" in refused(podium, file, "--policy", "uniform", "--limit", 100, "--degrade", 100)


@pytest.mark.requirement("LRN-3")
def test_degrading_adds_the_recovery(podium, tmp_path):
    file = jsonl(tmp_path / "f.jsonl", scored(1500))
    result = ok(podium, "replay", file, "--policy", "uniform", "--degrade", "700")
    assert (result["recovery"], result["never_recovered"]) == (None, 1.0)
    assert result["degraded"] == {"t": "small", "u": "medium", "v": "large"}
    share = ok(podium, "replay", file, "--policy", "epsilon-greedy", "--degrade", "0.5", "--degrade-tasks", "1")
    assert share["recovery"] is None or share["recovery"] >= 20
    assert list(share["degraded"]) == ["t"]
    same = ok(podium, "replay", file, "--policy", "uniform", "--degrade", "700", "--degrade-to", "1")
    assert same["regret"] == pytest.approx(ok(podium, "replay", file, "--policy", "uniform")["regret"])


@pytest.mark.parametrize("at", ["0", "-1", "400", "1e9", "20.5", "nan"])
def test_a_degrade_that_never_happens_is_refused(podium, tmp_path, at):
    assert "from 1 to 399" in refused(podium, jsonl(tmp_path / "f.jsonl", scored()), f"--degrade={at}", "--policy=ucb1")


def test_the_policies_are_listed(podium):
    code, out, _ = podium("replay", "--policies")
    assert (code, out.split()) == (0, list(POLICIES))
    assert ok(podium, "replay", "--policies") == {"policies": list(POLICIES)}
    assert sorted(POLICIES) == sorted(
        [*["default", "epsilon-greedy", "ucb1", "thompson", "linucb", "balanced", "classic", "uniform"]]
    )


def test_without_json_people_get_a_table(podium, tmp_path):
    code, out, err = podium("replay", jsonl(tmp_path / "f.jsonl", scored(60)), "--policy", "ucb1")
    assert (code, err) == (0, "")
    assert "task_oracle" in out
    assert "MODEL" in out


def test_a_terminal_sees_progress_on_stderr_and_none_with_json(podium, tmp_path, monkeypatch):
    file = jsonl(tmp_path / "f.jsonl", scored(60))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("FORCE_COLOR", "1")
    code, out, err = podium("replay", file, "--policy", "ucb1")
    assert code == 0
    assert "reading f.jsonl" in err
    assert "replaying ucb1" in err
    assert "replaying" not in out
    assert podium("replay", file, "--policy", "ucb1", "--json")[2] == ""


def test_the_page_names_every_field_policy_and_option(podium, tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "replay.md").read_text(encoding="utf-8")
    result = ok(podium, "replay", jsonl(tmp_path / "f.jsonl", scored(60)), "--policy", "ucb1", "--degrade", "0.5")
    words = [*result, *POLICIES, "--limit", "--degrade-tasks", "--degrade-to", "--policies", "--seed"]
    assert [word for word in words if not re.search(rf"`[^`]*{word}[^`]*`", page)] == []


def test_a_file_must_be_given_and_a_policy_must_be_known(podium, tmp_path):
    assert podium("replay")[0] == 2
    assert "use one of default, epsilon-greedy" in refused(
        podium, jsonl(tmp_path / "f.jsonl", scored()), "--policy", "best"
    )


# ---------------------------------------------------------------- bad files


def spoiled(**cells: Any) -> list[Any]:
    rows = scored(6)
    rows[3] |= cells
    return rows


def without(name: str, *, everywhere: bool) -> list[Any]:
    rows = scored(6)
    for row in rows if everywhere else rows[3:4]:
        del row[name]
    return rows


LINES = {
    "empty file": ([], "is empty"),
    "blank lines": (["", "  "], "has no rows"),
    "no task": (without("task", everywhere=True), "lacks the columns task"),
    "no prompt id": (without("prompt_id", everywhere=True), "lacks the columns prompt_id"),
    "no models": ([{"prompt_id": "a", "task": "t"}], "lacks the columns q__MODEL"),
    "nothing at all": (["{}"], "lacks the columns prompt_id, task, q__MODEL (one for each model); it has none"),
    "column missing later": (without("q__medium", everywhere=False), "line 4, column q__medium: is missing"),
    "text score": (spoiled(q__large="good"), "line 4, column q__large: 'good' is not a number"),
    "number in quotes": (spoiled(q__large="0.5"), "line 4, column q__large: '0.5' is not a number"),
    "boolean score": (spoiled(q__large=True), "line 4, column q__large: True is not a number"),
    "nested score": (spoiled(q__large=[1]), "line 4, column q__large: [1] is not a number"),
    "nan": (spoiled(q__large=float("nan")), "line 4, column q__large: nan is not a finite number"),
    "infinite": (spoiled(q__small=float("-inf")), "line 4, column q__small: -inf is not a finite number"),
    "huge integer": (spoiled(q__small=10**400), "line 4, column q__small"),
    "too large": (spoiled(q__small=1.5), "line 4, column q__small: 1.5 is not a score between 0 and 1"),
    "too small": (spoiled(q__medium=-0.001), "line 4, column q__medium: -0.001 is not a score between 0 and 1"),
    "negative latency": (spoiled(lat__medium=-1), "line 4, column lat__medium: -1 is negative"),
    "negative cost": (spoiled(cost__small=-0.1), "line 4, column cost__small: -0.1 is negative"),
    "no task in a row": (spoiled(task=None), "line 4, column task: None is not a text"),
    "empty task": (spoiled(task=""), "line 4, column task: '' is not a text"),
    "list as id": (spoiled(prompt_id=["a"]), "line 4, column prompt_id: ['a'] is not a text"),
    "no scores": (spoiled(q__small=None, q__medium=None, q__large=None), "line 4, column q__…: no model has a score"),
    "repeated id": (spoiled(prompt_id="p1"), "line 4, column prompt_id: is the same as in line 2"),
    "latency of nobody": (scored(6, lat__other=1.0), "column lat__other: there is no column q__other"),
    "one model": ([{"prompt_id": "a", "task": "t", "q__m": 1}], "one model only, 'm'"),
    "not json": (["prompt_id,task,q__a", "1,t,0.5"], "line 1 is not JSON"),
    "json array": (["[", "{}", "]"], "line 1 is not JSON"),
    "half a surrogate": ([*scored(1), '{"prompt_id": "\\ud800", "task": "t"}'], "line 2 is not JSON"),
    "nested without end": ([*scored(1), '{"prompt_id": ' + "[" * 100_000], "line 2 is not JSON"),
    "row is a list": (["[1, 2]"], "line 1 is not a JSON object"),
    "cut off": ([*scored(2), '{"prompt_id": "p9", "ta'], "line 3 is not JSON"),
}


@pytest.mark.requirement("TRK-4")
@pytest.mark.parametrize("case", LINES)
def test_bad_json_lines_are_refused_by_file_line_and_column(podium, tmp_path, case):
    rows, message = LINES[case]
    file = jsonl(tmp_path / "bad.jsonl", rows)
    error = refused(podium, file, "--policy", "uniform")
    assert str(file) in error
    assert message in error


def test_text_that_is_not_utf8_is_refused_with_its_line(podium, tmp_path):
    file = jsonl(tmp_path / "bad.jsonl", scored(3))
    with file.open("ab") as more:
        more.write('{"prompt_id": "p9", "task": "é", "prompt": "x"}\n'.encode("latin-1"))
    assert f"{file}, line 4 is not UTF-8 (at byte 30 of it)" in refused(podium, file, "--policy", "uniform")


def test_an_endless_line_is_refused_and_not_loaded(podium, tmp_path, monkeypatch):
    monkeypatch.setattr("podium.datasets.jsonl.LONGEST_LINE", 1 << 20)
    file = tmp_path / "bad.jsonl"
    file.write_text('{"prompt_id": "' + "x" * (1 << 21))
    assert "line 1 is longer than 1 MB" in refused(podium, file, "--policy", "uniform")


def test_a_mark_of_the_encoding_blank_lines_and_integer_ids_are_fine(podium, tmp_path):
    rows = scored(6)
    for number, row in enumerate(rows):
        row["prompt_id"] = number
    file = tmp_path / "f.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + b"\r\n\r\n".join(json.dumps(row).encode() for row in rows))
    assert ok(podium, "replay", file, "--policy", "uniform")["n"] == 6


TABLES = {
    "text column": (spoiled(q__large="good"), {"q__large": pa.string()}, "row 4, column q__large: 'good' is not"),
    "numbers as text": (scored(3), {"q__large": pa.string()}, "row 1, column q__large: the column holds string"),
    "nan": (spoiled(q__large=float("nan")), {}, "row 4, column q__large: nan is not a finite number"),
    "infinite": (spoiled(q__large=float("inf")), {}, "row 4, column q__large: inf is not a finite number"),
    "too large": (spoiled(q__small=1.5), {}, "row 4, column q__small: 1.5 is not a score between 0 and 1"),
    "negative cost": (spoiled(cost__small=-0.5), {}, "row 4, column cost__small: -0.5 is negative"),
    "no task in a row": (spoiled(task=None), {}, "row 4, column task: None is not a text"),
    "numbers as tasks": (scored(3, task=0.5), {}, "row 1, column task: the column holds double, not text"),
    "repeated id": (spoiled(prompt_id="p1"), {}, "row 4, column prompt_id: is the same as in row 2"),
    "no task": (without("task", everywhere=True), {}, "lacks the columns task"),
    "one model": ([{"prompt_id": "a", "task": "t", "q__m": 1.0}], {}, "one model only, 'm'"),
}


@pytest.mark.requirement("TRK-4")
@pytest.mark.parametrize("case", TABLES)
def test_bad_parquet_is_refused_by_file_row_and_column(podium, tmp_path, case):
    rows, types, message = TABLES[case]
    if "q__large" in types:
        rows = [{**row, "q__large": str(row["q__large"])} for row in rows]
    file = table(tmp_path / "bad.parquet", rows, **types)
    error = refused(podium, file, "--policy", "uniform")
    assert str(file) in error
    assert message in error


def test_a_parquet_file_without_rows_is_refused(podium, tmp_path):
    file = tmp_path / "none.parquet"
    pq.write_table(pa.table({name: pa.array([], pa.string()) for name in ("prompt_id", "task", "q__a", "q__b")}), file)
    assert "has no rows" in refused(podium, file, "--policy", "uniform")


@pytest.mark.parametrize("kept", [4, 100, 0.5, 0.99])
def test_truncated_parquet_is_refused(podium, tmp_path, kept):
    whole = table(tmp_path / "whole.parquet", scored(500)).read_bytes()
    file = tmp_path / "cut.parquet"
    file.write_bytes(whole[: kept if kept >= 1 else int(kept * len(whole))])
    error = refused(podium, file, "--policy", "uniform")
    assert "cannot be read as Parquet" in error
    assert "copied completely" in error


def test_damaged_parquet_is_refused(podium, tmp_path):
    file = table(tmp_path / "bad.parquet", scored(2000))
    content = bytearray(file.read_bytes())
    content[50:3000] = b"\xff" * 2950
    file.write_bytes(bytes(content))
    assert str(file) in refused(podium, file, "--policy", "uniform")


def test_parquet_with_text_that_is_not_utf8_is_refused(podium, tmp_path):
    rows = scored(3)
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    columns["task"] = pa.Array.from_buffers(pa.string(), 3, pa.array([b"t", b"\xff", b"v"], type=pa.binary()).buffers())
    file = tmp_path / "bad.parquet"
    pq.write_table(pa.table(columns), file)
    assert "not UTF-8" in refused(podium, file, "--policy", "uniform")


def test_a_file_that_is_missing_a_folder_or_misnamed_is_refused(podium, tmp_path):
    assert "cannot read" in refused(podium, tmp_path / "none.parquet", "--policy", "uniform")
    assert "cannot read" in refused(podium, tmp_path, "--policy", "uniform")
    file = jsonl(tmp_path / "lines.parquet", scored(3))
    assert "is not a Parquet file" in refused(podium, file, "--policy", "uniform")


def test_without_pyarrow_the_command_to_install_it_is_named(podium, tmp_path, monkeypatch):
    file = table(tmp_path / "f.parquet", scored(3))
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, parquet.__name__)
    assert "pip install 'podium[replay]'" in refused(podium, file, "--policy", "uniform")


# ---------------------------------------------------------------- odd but good files


def test_a_model_that_was_not_run_on_a_prompt_is_not_chosen_there(podium, tmp_path):
    rows = scored(300)
    for row in rows:
        row["q__large"] = None
    rows[7]["q__large"] = 1.0
    for file in (jsonl(tmp_path / "f.jsonl", rows), table(tmp_path / "f.parquet", rows)):
        result = ok(podium, "replay", file, "--policy", "uniform")
        assert result["shares"]["large"] <= 1 / 300
        assert result["mean_quality"] <= 1


def test_parquet_columns_of_any_text_and_number_type_are_read(podium, tmp_path):
    rows = [{**row, "prompt_id": n} for n, row in enumerate(scored(200))]
    plain = ok(podium, "replay", table(tmp_path / "plain.parquet", rows), "--policy", "linucb")
    types = {
        "prompt_id": pa.uint32(),
        "task": pa.dictionary(pa.int8(), pa.string()),
        "q__small": pa.int8(),
        "q__medium": pa.float16(),
        "q__large": pa.decimal128(3, 1),
        "lat__small": pa.float32(),
    }
    rows = [{**row, "q__small": int(row["q__small"]), "q__medium": np.float16(row["q__medium"])} for row in rows]
    rows = [{**row, "q__large": Decimal(str(row["q__large"]))} for row in rows]
    typed = ok(podium, "replay", table(tmp_path / "typed.parquet", rows, **types), "--policy", "linucb")
    assert typed.pop("latency_s") == pytest.approx(plain.pop("latency_s"))
    assert typed == plain


def test_a_parquet_column_of_nulls_is_a_model_that_was_never_run(podium, tmp_path):
    rows = [{**row, "q__large": None} for row in scored(90)]
    result = ok(podium, "replay", table(tmp_path / "f.parquet", rows, q__large=pa.null()), "--policy", "ucb1")
    assert result["shares"]["large"] == 0.0
    assert result["best_single_model"] in {"small", "medium"}


def test_one_task_is_a_plain_bandit(podium, tmp_path):
    file = jsonl(tmp_path / "f.jsonl", [{**row, "task": "only"} for row in scored(300)])
    result = ok(podium, "replay", file, "--policy", "thompson")
    assert result["task_oracle"] == pytest.approx(result["best_single"])


def test_latency_and_cost_may_be_known_for_some_models_only(podium, tmp_path):
    rows = scored(60)
    for row in rows:
        del row["lat__small"], row["cost__small"], row["cost__large"]
    result = ok(podium, "replay", jsonl(tmp_path / "f.jsonl", rows), "--policy", "uniform")
    assert 0.2 <= result["latency_s"] <= 0.3
    assert result["cost"] == pytest.approx(60 * result["shares"]["medium"] * 0.002)


def test_rows_repeated_entirely_count_again_and_are_reported(podium, tmp_path):
    rows = scored(30)
    file = jsonl(tmp_path / "f.jsonl", [*rows, *rows[:5]])
    code, out, err = podium("replay", file, "--policy", "uniform", "--json")
    assert (code, json.loads(out)["n"]) == (0, 35)
    assert "5 rows repeat" in err


def test_names_with_dots_are_taken_as_they_are(podium, tmp_path):
    rows = [{"prompt_id": str(n), "task": "t", "q__m-3": 0.5, "q__m-3.1": 1.0, "q__m-3.1.x": 0.0} for n in range(50)]
    result = ok(podium, "replay", table(tmp_path / "f.parquet", rows), "--policy", "epsilon-greedy")
    assert (result["best_single_model"], result["best_single"]) == ("m-3.1", 1.0)
    assert list(result["shares"]) == ["m-3", "m-3.1", "m-3.1.x"]


def test_too_many_tasks_and_unnamed_or_doubled_columns_are_refused(podium, tmp_path, monkeypatch):
    monkeypatch.setattr("podium.datasets.replay_file.MOST_CELLS", 30)
    file = jsonl(tmp_path / "f.jsonl", [{**row, "task": str(n)} for n, row in enumerate(scored(20))])
    assert "more than 10 tasks for 3 models" in refused(podium, file, "--policy", "uniform")
    unnamed = jsonl(tmp_path / "unnamed.jsonl", [{"prompt_id": "a", "task": "t", "q__": 1, "q__b": 0}])
    assert "each with a name" in refused(podium, unnamed, "--policy", "uniform")
    twice = tmp_path / "twice.parquet"
    words, numbers = pa.array(["a"]), pa.array([1.0])
    names = ["prompt_id", "task", "task", "q__a", "q__b"]
    pq.write_table(pa.table([words, words, words, numbers, numbers], names=names), twice)
    assert "more than one column task" in refused(podium, twice, "--policy", "uniform")


def test_a_full_disk_is_said_with_what_to_do(tmp_path, monkeypatch):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shuffling.tempfile, "TemporaryFile", lambda prefix: Full())
    file = jsonl(tmp_path / "f.jsonl", scored(5000))
    with pytest.raises(StoreError, match=r"No space left on device; set TMPDIR"):
        ReplayFile(file, 0, memory_bytes=10_000)


def test_no_temporary_file_is_left_open(tmp_path, monkeypatch):
    opened, real = [], shuffling.tempfile.TemporaryFile
    monkeypatch.setattr(shuffling.tempfile, "TemporaryFile", lambda prefix: opened.append(real()) or opened[-1])
    file = jsonl(tmp_path / "f.jsonl", scored(2000))
    with ReplayFile(file, 0, memory_bytes=10_000) as source:
        assert sum(len(part.task) for part in source.rows()) == 2000
    with pytest.raises(InvalidRequest, match="other contents"):
        ReplayFile(jsonl(tmp_path / "g.jsonl", [*scored(2000), *scored(1, seed=6)]), 0, memory_bytes=10_000)
    assert len(opened) == 4
    assert all(one.closed for one in opened)


def test_a_file_far_larger_than_the_bound_is_replayed_within_it(tmp_path):
    # 40,000 prompts of 5,000 characters: 200 MB. The bound is for the whole process, libraries and all.
    file, text = tmp_path / "large.jsonl", "x" * 5000
    with file.open("w") as out:
        for number in range(40_000):
            small, large = number % 2, (number // 2) % 2
            out.write(
                f'{{"prompt_id":{number},"task":"t{number % 7}","prompt":"{text}","q__a":{small},"q__b":{large},"q__c":1}}\n'
            )
    assert file.stat().st_size > 200e6
    measured = peak(["replay", str(file), "--policy", "uniform", "--json"])
    assert measured["result"]["n"] == 40_000
    assert measured["peak_bytes"] < 130e6, measured["peak_bytes"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_millions_of_rows_are_sorted_on_disk_within_the_bound(tmp_path):
    # 3,000,000 rows of 40 models: 1 GB of scores to sort.
    file, rng, models = tmp_path / "large.parquet", np.random.default_rng(1), 40
    names = ["prompt_id", "task", *(f"q__{model}" for model in range(models))]
    schema = pa.schema([(name, pa.string() if place < 2 else pa.float32()) for place, name in enumerate(names)])
    with pq.ParquetWriter(file, schema) as out:
        for start in range(0, 3_000_000, 100_000):
            ids = [str(number) for number in range(start, start + 100_000)]
            tasks = [f"t{number}" for number in rng.integers(0, 50, 100_000)]
            scores = [pa.array(rng.random(100_000).astype(np.float32)) for _ in range(models)]
            out.write_table(pa.table([pa.array(ids), pa.array(tasks), *scores], schema=schema))
    measured = peak(["replay", str(file), "--policy", "uniform", "--json"], limit_s=800)
    assert measured["result"]["n"] == 3_000_000
    assert measured["peak_bytes"] < 350e6, measured["peak_bytes"]

"""``podium export``: every format and back, the same estimates as on the live log, every damage found, every bad case."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from podium.cli import main as entry
from podium.cli.exporting import moment
from podium.domain.cost import Cost
from podium.domain.decision import Candidate, Choice, Decision, Feedback, Outcome
from podium.errors import InvalidRequest
from podium.ports import Batch
from podium.store import open_store

Run = Callable[..., tuple[int, str, str]]
ARMS = ["a@1", "b@1", "c|d:e f@1"]
WORTH = (0.8, 0.4, 0.2)
FORMATS = ("jsonl", "parquet", "vw")
ROWS, SCORED, FALLBACKS = 320, 260, 10
pytestmark = pytest.mark.requirement("TRK-3")


@pytest.fixture
def podium(home: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """``podium ARGUMENTS`` in this process: exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["podium", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            entry.main()
        sys.stdout.flush()
        shown = capfdbinary.readouterr()
        code = done.value.code
        return (code if isinstance(code, int) else 0), shown.out.decode(), shown.err.decode()

    return run


def decided(number: int, arm: str, *, parent: str | None = None) -> tuple[Decision, Outcome]:
    candidates = tuple(Candidate(ref=ref, score=0.5, terms=(("quality", 0.25),), samples=3) for ref in ARMS)
    choice = Choice(
        task="a task: with | signs",
        strategy="default",
        chosen=arm,
        propensity=1 / 3,
        fallbacks=(),
        reason="",
        confidence=1.0,
        candidates=(*candidates, Candidate(ref="gone@1", dropped="too small")),
    )
    ids = (f"dec-{number}", f"req-{number}")
    at = 1.7e9 + number
    decision = Decision(id=ids[0], request_id=ids[1], at=at, choice=choice, served=arm, propensity=1 / 3, parent=parent)
    outcome = Outcome(
        decision_id=ids[0],
        request_id=ids[1],
        task=choice.task,
        ref=arm,
        at=at,
        success=True,
        error=None,
        streamed=False,
        latency_ms=1.0,
        ttft_ms=None,
        cost=Cost(wall_ms=1.0),
    )
    return decision, outcome


@pytest.fixture
def filled(home: Path) -> Path:
    """A home whose gateway chose by chance; two sources scored, fallbacks were scored too."""
    rng = np.random.default_rng(8)
    pairs = [decided(number, ARMS[int(rng.integers(3))]) for number in range(ROWS)]
    pairs += [decided(ROWS + number, "a@1", parent="dec-1") for number in range(FALLBACKS)]
    feedback = []
    for decision, _ in pairs[:SCORED] + pairs[ROWS:]:
        for source in ("user", "judge"):
            score = float(rng.random() < WORTH[ARMS.index(decision.served)])
            ids = {"request_id": decision.request_id, "decision_id": decision.id}
            feedback.append(Feedback(**ids, task="t", ref=decision.served, score=score, at=1.0, source=source))

    async def fill() -> None:
        store = open_store(home / "podium.db")
        await store.write_batch(Batch(decisions=pairs, feedback=feedback))
        await store.close()

    asyncio.run(fill())
    return home


def ok(podium: Run, *arguments: object) -> Any:
    code, out, err = podium(*arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def refused(podium: Run, *arguments: object) -> str:
    code, out, err = podium(*arguments)
    assert (code, out) == (1, ""), err
    assert err.startswith("podium: ")
    assert err.count("\n") == 1, err
    return err


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def exported(podium: Run, folder: Path, kind: str = "jsonl") -> Path:
    out = folder / f"export.{kind}"
    made = ok(podium, "export", "--format", kind, "--out", out)
    assert made["rows"] == (SCORED if kind == "vw" else ROWS + FALLBACKS)
    assert made["rows"] + made["left_out"] == ROWS + FALLBACKS
    return out


def problems(podium: Run, file: Path, *more: object) -> list[str]:
    code, out, err = podium("export", "--verify", file, *more)
    assert (code, "is not what was exported" in err) == (1, True), (out, err)
    return out.splitlines()


@pytest.mark.parametrize("kind", FORMATS)
def test_an_export_checks_as_whole_and_only_its_owner_can_read_it(podium, filled, tmp_path, kind):
    made = ok(podium, "export", "--format", kind, "--out", tmp_path / "x")
    checked = ok(podium, "export", "--verify", tmp_path / "x", "--last", made["last"])
    assert (checked["format"], checked["rows"], checked["intact"]) == (kind, made["rows"], True)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == ["home", "x"]
    assert (filled / "export.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("policy", ["always:b@1", "default", "uniform"])
def test_evaluate_says_the_same_of_an_export_as_of_the_live_log(podium, filled, tmp_path, policy):
    live = ok(podium, "evaluate", "--log", "--policy", policy)
    assert live["n"] == SCORED
    for kind in ("jsonl", "parquet"):
        file = ok(podium, "evaluate", exported(podium, tmp_path, kind), "--policy", policy)
        assert (file.pop("without_reward"), file.pop("no_choice")) == (ROWS - SCORED, FALLBACKS)
        assert file == {name: value for name, value in live.items() if name not in ("without_reward", "no_choice")}


def test_all_formats_hold_the_same_rows(podium, filled, tmp_path):
    lines = [json.loads(line) for line in exported(podium, tmp_path).read_text().splitlines()]
    table = pq.read_table(exported(podium, tmp_path, "parquet")).to_pylist(maps_as_pydicts="strict")
    assert table == lines
    assert b"podium.execution/1" in pq.read_schema(tmp_path / "export.parquet").metadata[b"podium.schema"]
    examples = exported(podium, tmp_path, "vw").read_text().split("\n\n")[:-1]
    scored = [row for row in lines if row["reward"] is not None and row["evaluable"]]
    assert len(examples) == len(scored)
    for text, row in zip(examples, scored, strict=True):
        shared, *actions = text.split("\n")
        assert re.fullmatch(
            r"shared '\d+/\w{64}/\w{64}/(more|last) \|c task=a%20task%3A%20with%20%7C%20signs .*", shared
        )
        assert len(actions) == len(row["candidates"]) == 3
        labelled = [place for place, action in enumerate(actions) if not action.startswith("|")]
        assert labelled == [row["candidates"].index(row["chosen"])]
        label, rest = actions[labelled[0]].split(" ", 1)
        assert [float(part) for part in label.split(":")] == [0, 1 - row["reward"], row["propensity"]]
        assert " score:0.5 " in rest
        assert actions[2].split(" |a ")[-1].removeprefix("|a ").startswith("ref=c%7Cd%3Ae%20f@1 ")


def test_the_command_that_checks_an_export_is_told(podium, filled, tmp_path):
    code, _, err = podium("export", "--out", tmp_path / "my log")
    assert code == 0
    told = next(line for line in err.splitlines() if line.startswith("check it: "))
    program, *command = shlex.split(told.removeprefix("check it: "))
    assert (program, podium(*command)[0]) == ("podium", 0)


def test_rows_go_to_stdout_without_a_file(podium, filled):
    code, out, err = podium("export", "--task", "a task: with | signs", "--since", "1700000100")
    assert code == 0
    assert len(out.splitlines()) == ROWS + FALLBACKS - 100
    assert f"{ROWS + FALLBACKS - 100} rows; hash of the last: {json.loads(out.splitlines()[-1])['hash']}" in err


def test_a_key_of_the_environment_wins_and_is_checked(podium, filled, tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_EXPORT_KEY", "0123456789abcdef")
    one = exported(podium, tmp_path).read_text().splitlines()[0]
    assert not (filled / "export.key").exists()
    monkeypatch.delenv("PODIUM_EXPORT_KEY")
    ok(podium, "export", "--out", tmp_path / "other")
    other = (tmp_path / "other").read_text().splitlines()[0]
    assert json.loads(one)["id"] != json.loads(other)["id"]
    ok(podium, "export", "--out", tmp_path / "again")
    assert (tmp_path / "again").read_text().splitlines()[0] == other, "the key that was made is used again"
    monkeypatch.setenv("PODIUM_EXPORT_KEY", "short")
    assert "PODIUM_EXPORT_KEY holds 5 bytes" in refused(podium, "export", "--out", tmp_path / "no")
    monkeypatch.delenv("PODIUM_EXPORT_KEY")
    (filled / "export.key").chmod(0o644)
    assert "chmod 600" in refused(podium, "export", "--out", tmp_path / "no")
    assert not (tmp_path / "no").exists()


# ---------------------------------------------------------------- damage


def test_altered_removed_and_moved_lines_are_named(podium, filled, tmp_path):
    file = exported(podium, tmp_path)
    lines = file.read_text().splitlines(keepends=True)

    def said(*changed: str) -> list[str]:
        file.write_text("".join(changed))
        return problems(podium, file)

    altered = lines[9].replace('"reward":0.', '"reward":1.').replace('"reward":1.0', '"reward":0.25')
    assert altered != lines[9]
    assert said(*lines[:9], altered, *lines[10:]) == [
        "row 10 (line 10) was altered: its hash is not that of its contents"
    ]
    assert said(*lines[:9], *lines[10:]) == ["row 10 is missing before line 10"]
    assert said(*lines[:9], lines[10], lines[9], *lines[11:]) == [
        "row 10 was moved: it stands in line 11, behind later rows"
    ]
    assert said(*lines[:-3]) == [f"the file ends with row {len(lines) - 3}, which was not the last one: it was cut off"]
    assert said(*lines[:9], lines[9][: len(lines[9]) // 2]) == [
        "line 10 (where row 10 is due) is damaged: it is not JSON",
        "the file ends with row 10, which was not the last one: it was cut off",
    ]
    assert said(*lines[:9], "\0\0\0\n", *lines[10:])[0].startswith("line 10 (where row 10 is due) is damaged")
    assert said(*lines[:9], '{"reward":1}\n', *lines[10:]) == [
        "line 10 (where row 10 is due) is damaged: it is no row of an export"
    ]
    twice = lines[9].replace('{"at":', '{"reward":0.0,"at":', 1)
    assert said(*lines[:9], twice, *lines[10:]) == ["line 10 (where row 10 is due) is damaged: a key is there twice"]
    nan = re.sub(r'"reward":[^,]+', '"reward":NaN', lines[9])
    assert "row 10 (line 10) was altered" in said(*lines[:9], nan, *lines[10:])[0]
    file.write_bytes("".join(lines[:9]).encode() + b"\xff\xfe\n" + "".join(lines[10:]).encode())
    assert problems(podium, file) == ["line 10 (where row 10 is due) is damaged: it is not UTF-8"]


def test_rows_that_were_only_written_differently_are_still_whole(podium, filled, tmp_path):
    file = exported(podium, tmp_path)
    again = [json.dumps(json.loads(line), indent=None) for line in file.read_text().splitlines()]
    file.write_text("\r\n".join(again) + "\r\n")
    assert ok(podium, "export", "--verify", file)["intact"]
    assert "the last row has the hash" in problems(podium, file, "--last", "0" * 64)[0]


def test_damage_shows_in_parquet_and_vw_too(podium, filled, tmp_path):
    file = exported(podium, tmp_path, "parquet")
    table = pq.read_table(file)
    values = table.column("propensity").to_pylist()
    values[4] = 0.9
    place = table.schema.get_field_index("propensity")
    pq.write_table(table.set_column(place, "propensity", pa.array(values)), file)
    assert problems(podium, file) == ["row 5 (row 5) was altered: its hash is not that of its contents"]
    pq.write_table(pa.concat_tables([table.slice(0, 7), table.slice(8)]), file)
    assert problems(podium, file) == ["row 8 is missing before row 8"]
    content = exported(podium, tmp_path / "home", "parquet").read_bytes()
    file.write_bytes(content[: len(content) // 2])
    assert "it is damaged or was not copied completely" in refused(podium, "export", "--verify", file)

    file = exported(podium, tmp_path, "vw")
    examples = file.read_text().split("\n\n")
    examples[3] = re.sub(r"(?m)^0:[^:]+:", "0:0.125:", examples[3])
    file.write_text("\n\n".join(examples))
    assert problems(podium, file) == ["row 4 (example 4) was altered: its hash is not that of its contents"]
    del examples[3]
    file.write_text("\n\n".join(examples))
    assert problems(podium, file) == ["row 4 is missing before example 4"]


# ---------------------------------------------------------------- bad cases


def test_a_home_without_a_record_or_with_an_empty_one_says_so(podium, home, tmp_path):
    out = tmp_path / "export.jsonl"
    assert "there is no record at" in refused(podium, "export", "--out", out)

    async def create() -> None:
        await open_store(home / "podium.db").close()

    asyncio.run(create())
    assert "there is nothing to export" in refused(podium, "export", "--out", out)
    assert names(tmp_path) == ["home"]


def test_a_window_without_rows_and_vw_without_scores_leave_no_file(podium, filled, tmp_path):
    out = tmp_path / "x"
    assert "nothing to export" in refused(podium, "export", "--out", out, "--until", "2001-01-01")
    since = 1_700_000_000 + SCORED
    assert "nothing to train on" in refused(podium, "export", "--format", "vw", "--out", out, "--since", since)
    assert names(tmp_path) == ["home"]


def test_a_file_that_is_there_is_kept_unless_forced(podium, filled, tmp_path):
    out = tmp_path / "export.jsonl"
    out.write_text("precious")
    assert "is there already; --force replaces it" in refused(podium, "export", "--out", out)
    assert out.read_text() == "precious"
    ok(podium, "export", "--out", out, "--force")
    assert ok(podium, "export", "--verify", out)["intact"]
    assert "is a folder" in refused(podium, "export", "--out", tmp_path)
    assert "No such file or directory" in refused(podium, "export", "--out", tmp_path / "no" / "x")


def test_prompts_unknown_formats_and_wrong_times_are_refused(podium, filled, tmp_path):
    assert "prompts and answers are not stored" in refused(podium, "export", "--with-prompts")
    assert "unknown format 'csv': use one of jsonl, parquet, vw" in refused(
        podium, "export", "--format", "csv", "--out", tmp_path / "x"
    )
    assert "name a file with --out" in refused(podium, "export", "--format", "parquet")
    assert "name a file for the rows" in refused(podium, "export", "--json")
    assert "--since 'soon' is no time" in refused(podium, "export", "--since", "soon")
    assert "is not before" in refused(podium, "export", "--since", "1h", "--until", "2h")
    assert (podium("export", "--last", "0")[0], names(tmp_path)) == (2, ["home"])


def test_times_are_dates_unix_times_and_ages():
    assert moment("7d", 1e9, "since") == 1e9 - 7 * 86400
    assert moment("1.5h", 1e9, "since") == 1e9 - 5400
    assert moment("1700000000.5", 0.0, "since") == 1700000000.5
    assert moment("2026-01-31T08:00:00+00:00", 0.0, "since") == 1769846400.0
    for wrong in ("", "yesterday", "2026-13-01", "-5d", "nan"):
        with pytest.raises(InvalidRequest, match="is no time"):
            moment(wrong, 0.0, "since")


def test_without_pyarrow_parquet_names_the_command_that_installs_it(podium, filled, tmp_path, monkeypatch):
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "podium.datasets.export_parquet", raising=False)
    error = refused(podium, "export", "--format", "parquet", "--out", tmp_path / "x")
    assert "pip install 'podium[replay]'" in error
    assert names(tmp_path) == ["home"]


FULL = """
import resource, sys
from podium.cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))
main()
"""


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "vw"])
def test_a_disk_that_is_full_leaves_nothing_behind(filled, tmp_path, kind):
    # A limit on the size of a file, which the kernel enforces as it does a full disk.
    out = tmp_path / f"x.{kind}"
    done = subprocess.run(
        [sys.executable, "-c", FULL, "export", "--format", kind, "--out", str(out)],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr == (
        f"podium: the disk with {out} is full; nothing of the export was left there; "
        "free some space or write elsewhere\n"
    )
    assert names(tmp_path) == ["home"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_an_output_that_is_full_is_told_once(filled):
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "podium", "export"], check=False, stdout=full, stderr=subprocess.PIPE, timeout=100
        )
    assert done.returncode == 1
    said = done.stderr.decode()
    assert said.startswith("podium: the disk with the output is full; what was written ends early")
    assert said.count("\n") == 1


def test_an_export_that_is_killed_leaves_only_what_is_marked_as_partial(filled, tmp_path):
    code = (
        "import os, signal\n"
        "from podium.datasets import export_jsonl\n"
        "export_jsonl.JsonlWriter.close = lambda self: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from podium.cli.main import main\n"
        "main()\n"
    )
    out = str(tmp_path / "x.jsonl")
    done = subprocess.run([sys.executable, "-c", code, "export", "--out", out], check=False, timeout=100)
    assert done.returncode == -9
    assert [Path(name).suffix for name in names(tmp_path)] == ["", ".partial"]


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"no export at all\n", b"shared 'x |c\n\n", b"[1, 2]\n", b"\0" * 5000]
)
def test_files_that_are_no_exports_are_said_to_be_damaged(podium, home, tmp_path, content):
    file = tmp_path / "x"
    file.write_bytes(content)
    code, out, err = podium("export", "--verify", file)
    assert code == 1
    assert "damaged" in out + err or "empty" in err
    assert "No such file" in refused(podium, "export", "--verify", tmp_path / "none")
    assert "Is a directory" in refused(podium, "export", "--verify", tmp_path)

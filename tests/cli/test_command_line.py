"""The commands as a user types them, against a real gateway with the scripted provider."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from podium.cli import main as entry

Run = Callable[..., tuple[int, str, str]]

REPLY = {"text": "A short answer."}


@pytest.fixture
def podium(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """``podium ARGUMENTS`` in this process: exit code, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["podium", *arguments])
        with pytest.raises(SystemExit) as done:
            entry.main()
        shown = capsys.readouterr()
        code = done.value.code
        return (code if isinstance(code, int) else 0), shown.out, shown.err

    return run


@pytest.fixture
def script(home: Path) -> Path:
    path = home.parent / "script.json"
    path.write_text(json.dumps(REPLY))
    return path


def ok(podium: Run, *arguments: str) -> Any:
    """The JSON of a command that must succeed."""
    code, out, err = podium(*arguments, "--json")
    assert code == 0, err
    return json.loads(out)


@pytest.fixture
def pool(podium: Run, script: Path) -> Run:
    """Two active versions of ``echo``."""
    assert ok(podium, "models", "add", "echo", "--scripted", str(script), "--version", "1")["status"] == "active"
    second = script.with_name("second.json")
    second.write_text(json.dumps({**REPLY, "text": "Another answer."}))
    added = ok(podium, "models", "add", "echo", "--scripted", str(second), "--version", "2", "--activate", "--tag", "x")
    assert added["problem"] is None
    return podium


def test_help_imports_nothing_heavy():
    heavy = "numpy sqlalchemy fastapi starlette pydantic alembic uvloop httptools psutil rich structlog asyncio msgspec"
    code = (
        "import sys; sys.argv = ['podium', '--help']\n"
        "from podium.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print([name for name in {heavy.split()!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert "serve" in done.stdout
    loaded = done.stderr.strip()
    assert loaded in ("[]", "['asyncio']"), loaded


def test_an_expected_error_is_one_line_on_stderr_and_exit_code_one(podium):
    code, out, err = podium("models", "show", "nobody")
    assert (code, out) == (1, "")
    assert err.startswith("podium: ")
    assert "nobody" in err
    assert "Traceback" not in err


def test_wrong_usage_exits_with_two(podium, script):
    assert podium("models", "add", "m")[0] == 2
    assert podium("models", "add", "m", "--scripted", str(script), "--url", "http://x")[0] == 2
    assert podium("models", "add", "m", "--scripted", str(script), "--set", "threads")[0] == 2
    assert podium("frobnicate")[0] == 2


def test_commands_that_need_a_server_say_so(podium):
    code, _, err = podium("ps")
    assert code == 1
    assert "podium serve" in err


@pytest.mark.requirement("REG-1", "REG-2", "REG-4", "REG-5", "REG-6")
def test_models_are_added_once_listed_and_shown(pool, script):
    again = ok(pool, "models", "add", "echo", "--scripted", str(script), "--version", "1")
    assert (again["ref"], again["created"]) == ("echo@1", False)
    assert {one["ref"] for one in ok(pool, "models", "ls")["models"]} == {"echo@1", "echo@2"}
    assert [one["ref"] for one in ok(pool, "models", "ls", "--tag", "x")["models"]] == ["echo@2"]
    shown = ok(pool, "models", "show", "echo@1")
    assert shown["source"]["location"] == str(script)
    assert [step["to"] for step in shown["transitions"]] == ["ready", "active"]
    assert shown["profile"]["latency_ms"] > 0
    _, out, _ = pool("models", "show", "echo@1")
    assert shown["facts"]["digest"] in out


def test_another_artifact_under_the_same_version_is_refused(pool, script):
    script.write_text(json.dumps({**REPLY, "text": "changed"}))
    code, _, err = pool("models", "add", "echo", "--scripted", str(script), "--version", "1")
    assert code == 1
    assert "echo@1" in err


@pytest.mark.requirement("REG-3")
def test_a_version_is_deprecated_retired_and_an_illegal_step_refused(pool):
    assert ok(pool, "models", "deprecate", "echo@2", "--reason", "old")["status"] == "deprecated"
    assert ok(pool, "models", "retire", "echo@2")["status"] == "retired"
    code, _, err = pool("models", "activate", "echo@2")
    assert code == 1
    assert "retired" in err


@pytest.mark.requirement("SEL-6", "COST-1", "LRN-1")
def test_run_answers_and_explain_says_why(pool):
    answer = ok(pool, "run", "Say something", "--task", "chatting", "--model", "echo@1")
    assert (answer["text"], answer["version"], answer["task"]) == ("A short answer.", "echo@1", "chatting")
    assert answer["cost"]["wall_ms"] > 0
    why = ok(pool, "explain", answer["request_id"])
    assert why["attempts"][0]["decision"]["served"] == "echo@1"
    code, out, _ = pool("explain", answer["request_id"])
    assert code == 0
    assert "echo@1 for task chatting" in out
    given = ok(pool, "feedback", answer["request_id"], "--score", "0.9", "--comment", "good")
    assert (given["ref"], given["score"]) == ("echo@1", 0.9)
    rows = ok(pool, "stats")["stats"]
    assert [(row["task"], row["ref"], row["samples"], row["quality"]) for row in rows] == [
        ("chatting", "echo@1", 1, 0.9)
    ]
    assert ok(pool, "costs")["costs"][0]["requests"] == 1
    for command in ("stats", "costs"):
        assert "echo@1" in pool(command)[1]


def test_a_request_is_explained_in_words_and_praised_or_blamed_but_not_both(pool):
    answered = ok(pool, "run", "hello", "--model", "echo@1")
    code, out, _ = pool("explain", answered["request_id"])
    assert code == 0
    assert "echo@1 for task general (named by the caller)" in out
    code, _, err = pool("feedback", answered["request_id"], "--up", "--down")
    assert code == 2
    assert "not both" in err
    assert ok(pool, "feedback", answered["request_id"], "--up")["score"] == 1


def test_a_prompt_to_classify_is_read_from_the_standard_input(pool, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("Write a Python function that reverses a list"))
    assert (
        ok(pool, "classify", "-")["task"]
        == ok(pool, "classify", "Write a Python function that reverses a list")["task"]
    )


def test_run_streams_text_to_stdout_and_the_rest_to_stderr(pool):
    code, out, err = pool("run", "Say something", "--model", "echo@2", "--max-tokens", "8")
    assert code == 0
    assert out.strip() == "Another answer."
    assert "echo@2" in err
    assert "podium explain" in err


def test_run_without_a_model_says_what_to_do(podium):
    code, out, err = podium("run", "Hello")
    assert (code, out.strip()) == (1, "")
    assert "podium models add" in err


@pytest.mark.requirement("SWP-1", "SWP-7")
def test_swap_and_rollback_move_a_task(pool):
    assert ok(pool, "tasks", "set", "poetry", "--min-context", "16", "--prefer", "quality")["task"] == "poetry"
    assert ok(pool, "swap", "poetry", "echo@1")["ok"]
    moved = ok(pool, "swap", "poetry", "echo@2", "--reason", "better")
    assert (moved["before"], moved["after"], moved["ok"]) == ("echo@1", "echo@2", True)
    assert ok(pool, "run", "rhyme", "--task", "poetry")["version"] == "echo@2"
    assert ok(pool, "rollback", "poetry")["after"] == "echo@1"
    shown = ok(pool, "tasks", "show", "poetry")
    assert (shown["bound_to"], shown["criteria"]["min_context"]) == ("echo@1", 16)
    _, out, _ = pool("tasks", "ls")
    assert "poetry" in out
    assert "echo@1" in out


def test_a_swap_that_fails_exits_with_one_and_the_cause(pool):
    ok(pool, "tasks", "set", "poetry", "--min-context", "100000000")
    code, out, err = pool("swap", "poetry", "echo@2", "--json")
    assert code == 1
    assert json.loads(out)["ok"] is False
    assert "did not take over poetry" in err


def test_setting_a_task_keeps_what_is_not_named(pool):
    ok(pool, "tasks", "set", "poetry", "--min-quality", "0.5", "--keyword", "rhyme")
    kept = ok(pool, "tasks", "set", "poetry", "--max-latency-ms", "900")
    assert (kept["criteria"]["min_quality"], kept["criteria"]["max_latency_ms"]) == (0.5, 900)
    assert kept["keywords"] == ["rhyme"]
    cleared = ok(pool, "tasks", "set", "poetry", "--clear", "--max-memory-mb", "5")
    assert (cleared["criteria"]["min_quality"], cleared["criteria"]["max_memory_mb"]) == (None, 5)


@pytest.mark.requirement("OPS-6")
def test_config_check_names_the_problem_and_config_schema_is_json(podium, home):
    assert ok(podium, "config", "check")["ok"] is True
    (home / "podium.toml").write_text("[server]\nprot = 1\n")
    code, out, err = podium("config", "check")
    assert (code, out) == (1, "")
    assert "podium.toml:2: server.prot: unknown key 'prot'; did you mean 'port'?" in err
    assert json.loads(podium("config", "check", "--json")[1])["ok"] is False
    assert ok(podium, "config", "schema")["$defs"]["Server"]
    (home / "podium.toml").write_text("[tasks.a]\nkeywords = ['b', 'a']\n")
    assert ok(podium, "config", "check")["config"]["tasks"]["a"]["keywords"] == ["a", "b"]
    assert "podium.toml" in podium("config", "check")[1]


def test_config_check_looks_into_the_files_of_tls_as_the_start_does(podium, home):
    (home / "podium.toml").write_text("[server]\ntls_certificate = 'cert.pem'\ntls_key = 'key.pem'\n")
    (home / "cert.pem").write_text("nothing")
    (home / "key.pem").touch(mode=0o644)
    code, _, err = podium("config", "check")
    assert (code, f"podium.toml:3: server.tls_key: {home / 'key.pem'} is empty" in err) == (1, True), err
    (home / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    assert (
        f"podium.toml:3: server.tls_key: {home / 'key.pem'} can be read by every user" in podium("config", "check")[2]
    )
    (home / "key.pem").chmod(0o600)
    assert "podium.toml:2: server.tls_certificate: " in podium("config", "check")[2]


def test_doctor_says_what_to_do_next(podium):
    found = ok(podium, "doctor")
    assert found["host"]["cores_logical"] == os.cpu_count()
    code, out, _ = podium("doctor")
    assert code == 0
    assert "next: podium models add" in out


def test_empty_lists_say_how_to_begin(podium):
    code, out, err = podium("models", "ls")
    assert (code, out) == (0, "")
    assert "podium models add" in err


@pytest.mark.requirement("REG-3")
def test_a_mistyped_model_is_removed_and_its_name_used_again(podium: Run, script: Path):
    wrong = script.with_name("wrong.json")
    wrong.write_text(json.dumps({**REPLY, "load_error": "no such weights"}))
    code, _, err = podium("models", "add", "echo", "--scripted", str(wrong), "--version", "1")
    assert code != 0
    assert "podium models remove echo@1" in err
    assert ok(podium, "models", "remove", "echo@1") == {"ref": "echo@1", "removed": True}
    made = ok(podium, "models", "add", "echo", "--scripted", str(script), "--version", "1")
    assert (made["status"], made["created"]) == ("active", True)
    code, _, err = podium("models", "remove", "echo@1")
    assert code != 0
    assert "podium models retire echo@1" in err


@pytest.mark.requirement("SWP-1")
def test_a_task_is_unbound_and_left_to_the_selection(pool: Run):
    assert ok(pool, "swap", "general", "echo@2")["ok"]
    done = ok(pool, "tasks", "unbind", "general", "--reason", "enough")
    assert (done["before"], done["bound_to"]) == ("echo@2", None)
    code, _, err = pool("tasks", "unbind", "general")
    assert code != 0
    assert "general is not bound" in err

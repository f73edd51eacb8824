"""``podium audit`` and ``podium config history``, ``diff``, ``restore`` as a user types them."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from podium.cli import main as entry

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))
from server import Server

Run = Callable[..., tuple[int, str, str]]


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
def served(home: Path) -> Iterator[Path]:
    """A home with a server, so that commands are answered at once."""
    server = Server(home).start()
    yield home
    server.stop()


def ok(podium: Run, *arguments: str) -> Any:
    code, out, err = podium(*arguments, "--json")
    assert code == 0, err
    return json.loads(out)


@pytest.mark.requirement("OPS-3")
def test_what_was_made_is_told_with_its_role_and_limits_in_words(podium: Run, served: Path) -> None:
    made = ok(podium, "keys", "create", "--name", "ci", "--scope", "task:code", "--requests", "60/min")
    ok(podium, "keys", "update", made["id"], "--requests", "none", "--concurrency", "2")
    ok(podium, "budgets", "set", "few", "--task", "code", "--limit", "100", "--unit", "tokens")
    said = podium("audit")[1]
    assert "limits: requests 60/min; name: ci; role: user; scopes: task:code" in said
    assert "limits: requests 60/min → requests none, under way 2" in said
    assert "limit: 100; period: month; scope: task; subject: code" in said


@pytest.mark.requirement("OPS-3")
def test_actions_are_listed_checked_exported_and_an_altered_row_is_named(podium: Run, served: Path) -> None:
    home = served
    ok(podium, "tasks", "set", "poems", "--min-quality", "0.4")
    (action,) = ok(podium, "audit", "--task", "poems", "--since", "1h")["actions"]
    assert (action["what"], action["by"]["id"], action["by"]["via"], action["origin"]) == (
        "PUT /api/v1/tasks/{task}", "owner", "cli", "127.0.0.1",
    )  # fmt: skip
    assert ok(podium, "audit", "--by", "bob")["actions"] == []
    assert "criteria" in podium("audit")[1]
    assert "nothing that was done is like that" in podium("audit", "--by", "bob")[2]
    code, out, err = podium("audit", "verify")
    noted = out.splitlines()[-1]
    assert (code, out.splitlines()[0], noted[:2]) == (0, "whole: 2 rows", "2:")
    assert "kept elsewhere" in err or "keep the line" in err
    file = home.parent / "audit.jsonl"
    exported = ok(podium, "audit", "export", "--out", str(file))
    assert (exported["ok"], file.stat().st_mode & 0o777) == (True, 0o600)
    assert podium("audit", "export", "--out", str(file))[0] == 1, "a file that is there stays"
    assert ok(podium, "audit", "verify", str(file), "--head", noted)["rows"] == 3
    file.write_text(file.read_text().replace('"poems"', '"prose"', 1))
    code, _, err = podium("audit", "verify", str(file))
    assert code == 1
    assert "row 1 was altered" in err

    connection = sqlite3.connect(home / "podium.db")
    connection.execute("DROP TRIGGER audit_never_changes")
    connection.execute("UPDATE audit SET name = 'bob' WHERE seq = 2")
    connection.commit()
    connection.close()
    code, _, err = podium("audit", "verify")
    assert code == 1
    assert "row 2 was altered" in err
    assert podium("audit", "verify", "--head", "nonsense")[0] == 2


@pytest.mark.requirement("OPS-6")
def test_a_configuration_is_restored_without_a_server_and_while_the_file_is_broken(podium: Run, home: Path) -> None:
    file = home / "podium.toml"
    secret = 'settings = { api_key = "pa55word-pa55word" }'
    file.write_text(f'[pool]\nqueue_limit = 7\n[models.far]\nurl = "http://127.0.0.1:1"\nactivate = false\n{secret}\n')
    (kept,) = ok(podium, "config", "history")["configurations"]
    assert (kept["how"], kept["redacted"]) == ("start", 1)
    with contextlib.closing(sqlite3.connect(home / "podium.db")) as connection:
        (content,) = connection.execute("SELECT content FROM config_history").fetchone()
    assert "pa55word" not in content
    good = file.read_text()
    file.write_text(good.replace("queue_limit", "queue_limt"))
    done = ok(podium, "config", "restore", str(kept["number"]), "--force")
    assert file.read_text() == good, "what was not kept comes from the present file"
    assert "queue_limt" in Path(done["copy"]).read_text()

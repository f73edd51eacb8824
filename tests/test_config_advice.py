"""What ``config check`` says of files and names, with their lines; and what of a configuration may be kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from podium.config import load
from podium.config.advice import Known, advice, located
from podium.config.redacting import MARK, redacted, restored
from podium.errors import ConfigError
from podium.store import open_store
from podium.store.recorded_names import recorded_names

pytestmark = pytest.mark.requirement("OPS-6")
KNOWN = Known(
    models=frozenset({"demo", "demo@1"}),
    aliases=frozenset({"champion"}),
    tasks=frozenset({"poems"}),
    keys=frozenset({"abcdefgh"}),
    providers=frozenset({"openai", "llamacpp"}),
    recorded=True,
)
MODELS = '[models."coder@2"]\nurl = "http://127.0.0.1:1/v1"\n[models.big]\nurl = "http://127.0.0.1:2/v1"\n'


def said(folder: Path, text: str, known: Known = KNOWN) -> tuple[list[str], list[str]]:
    file = folder / "podium.toml"
    file.write_text(text)
    config = load(file, home=folder, environ={})
    found = advice(config, known, {"SET": "x"})
    cut = len(str(folder)) + 1
    return [located(one, config)[cut:] for one in found.problems], [
        located(one, config)[cut:] for one in found.warnings
    ]


def test_files_that_are_not_there_are_problems_with_their_line_and_a_near_name(tmp_path: Path) -> None:
    (tmp_path / "coder-q4.gguf").write_text("x")
    text = '[models.a]\ngguf = "coder-q4.gguf"\n[models.b]\nactivate = false\ngguf = "coder_q4.gguf"\n'
    text += '[webhooks.w]\nurl = "https://example.com"\nsecret = "file:none"\n'
    problems, warnings = said(tmp_path, text)
    assert problems == [
        f"podium.toml:5: models.b.gguf: there is no {tmp_path}/coder_q4.gguf; did you mean 'coder-q4.gguf'?",
        f"podium.toml:8: webhooks.w.secret: there is no {tmp_path}/none; nothing is sent until there is",
    ]
    assert warnings == []


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ('[fallbacks]\n"coder@2" = ["bg"]\n', "6: fallbacks.coder@2: there is no model 'bg'; did you mean 'big'?"),
        ('[fallbacks]\n"task:coed" = ["big"]\n', "6: fallbacks.task:coed: there is no task 'coed'; it counts once"),
        ('[fallbacks]\nnobody = ["big"]\n', "6: fallbacks.nobody: there is no model 'nobody'; nothing falls back"),
        (
            '[tasks.t]\nbinding = "coder@3"\n',
            "6: tasks.t.binding: there is no model 'coder@3'; did you mean 'coder@2'?",
        ),
        ('[tasks.t]\nfollow = "demoo"\n', "6: tasks.t.follow: there is no model 'demoo'; did you mean 'demo'?"),
        (
            '[rules.r]\ntask = "poem"\nmetric = "latency_ms"\nabove = 5\n',
            "6: rules.r.task: there is no task 'poem'; did you mean 'poems'?",
        ),
        (
            '[budgets.b]\nscope = "task"\nsubject = "typo"\nunit = "tokens"\nlimit = 5\n',
            "7: budgets.b.subject: there is no task 'typo'; nothing is counted until there is",
        ),
        (
            '[budgets.b]\nscope = "provider"\nsubject = "opnai"\nunit = "usd"\nlimit = 5\n',
            "7: budgets.b.subject: there is no provider 'opnai'; did you mean 'openai'?",
        ),
        (
            '[budgets.b]\nscope = "key"\nsubject = "abcdefgx"\nunit = "usd"\nlimit = 5\n',
            "7: budgets.b.subject: there is no key 'abcdefgx'; did you mean 'abcdefgh'?",
        ),
    ],
)
def test_names_that_nothing_has_are_warnings_with_their_line(tmp_path: Path, text: str, warning: str) -> None:
    problems, warnings = said(tmp_path, MODELS + text)
    assert problems == []
    (found,) = warnings
    assert found.startswith(f"podium.toml:{warning}")


def test_names_that_are_declared_recorded_or_made_later_are_fine(tmp_path: Path) -> None:
    text = MODELS + (
        '[tasks.code]\nbinding = "big@1"\n'
        '[fallbacks]\n"coder@2" = ["big", "demo@1", "@champion"]\n"task:code" = ["demo"]\nauto = ["coder@2"]\n'
        '"task:poems" = ["coder"]\n'
        '[budgets.a]\nscope = "task"\nsubject = "*"\nunit = "tokens"\nlimit = 5\n'
        '[budgets.b]\nscope = "key"\nsubject = "abcdefgh"\nunit = "tokens"\nlimit = 5\n'
    )
    assert said(tmp_path, text) == ([], [])
    unknown = '[budgets.b]\nscope = "key"\nsubject = "whoever"\nunit = "tokens"\nlimit = 5\n'
    assert said(tmp_path, unknown, Known()) == ([], []), "without a record nobody knows the keys"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[models]\nm = { url = "http://127.0.0.1:1", actvate = true }\n', 2),
        ('note = """\n[pool]\n"""\n', 1),
        ("[pool]\n# max_wait = 1\n\n  max_wait = 1\n", 4),
        ('[tasks]\n[tasks."a.b"]\n[tasks."a.b".judging]\ncriteri = []\n', 4),
        ("pool.queue_limt = 4\n", 1),
        ("[tasks.a.objectives]\n[taks.b]\n", 2),
        ("[pool]\nqueue_limit = 1\nqueue_limit = 2\n", 3),
        ("[pool]\n[pool]\n", 2),
    ],
)
def test_a_misspelt_key_is_named_with_its_line_however_it_is_written(tmp_path: Path, text: str, line: int) -> None:
    (tmp_path / "podium.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(home=tmp_path, environ={})
    assert caught.value.message.startswith(f"{tmp_path}/podium.toml:{line}: "), caught.value.message


async def test_names_on_record_are_read_beside_a_store_that_is_open(tmp_path: Path) -> None:
    path = tmp_path / "podium.db"
    assert recorded_names(path) is None
    assert not path.exists()
    store = open_store(path)
    await store.set_alias("best", "nobody")
    assert recorded_names(path) == {
        "models": frozenset(), "aliases": {"best"}, "tasks": frozenset(), "keys": frozenset(), "providers": frozenset(),
    }  # fmt: skip
    await store.close()
    path.write_bytes(b"no database at all")
    assert recorded_names(path) is None


SECRETIVE = """\
[models.far]   # sk-abcdefghijklmnopqrstuv is mine
url = "https://ann:pass-word-1@example.com/v1"
settings = { api_key = "pass-word-1", context = 4096, api_key_env = "NAME" }
command = "serve --token pass-word-1 --port ${PORT}"
[webhooks.w]
secret = "env:NAME"
[budgets.b]
unit = "tokens"
max_tokens = 5
"""


def test_what_looks_like_a_secret_is_not_kept_and_comes_back_from_the_present_file() -> None:
    kept, count = redacted(SECRETIVE)
    assert count == 4
    assert "pass-word-1" not in kept
    assert "sk-abc" not in kept
    for whole in ('api_key_env = "NAME"', 'secret = "env:NAME"', 'unit = "tokens"', "max_tokens = 5", "[models.far]"):
        assert whole in kept
    back, missing = restored(kept, SECRETIVE)
    assert missing == ()
    assert back.splitlines()[1:] == SECRETIVE.splitlines()[1:], "but for what a comment said"
    _, missing = restored(kept, "[models.far]\n")
    assert missing == ("models.far.url", "models.far.settings", "models.far.command")
    assert redacted("[pool]\nqueue_limit = 4\n") == ("[pool]\nqueue_limit = 4\n", 0)
    assert restored("[pool]\n", "") == ("[pool]\n", ())
    assert MARK not in redacted(kept.replace(MARK, "x"))[0] or MARK in kept

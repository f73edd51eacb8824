"""The list of commands, and what is imported for it."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

import podium.cli
from podium.cli.main import app
from podium.cli.tree import ENTRIES

ROOT = typer.main.get_command(app)


@pytest.mark.parametrize("name", ENTRIES)
def test_the_list_says_of_a_command_what_the_command_says_of_itself(name):
    command = ROOT.commands[name]
    assert command.name == name
    first = command.help.split("\n\n")[0].replace("\n", " ")
    assert first == ENTRIES[name].help


def test_the_help_has_every_command_in_order():
    said = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    shown = [line.split()[0] for line in said.partition("Commands:")[2].splitlines() if line.strip()]
    assert shown == list(ENTRIES)


@pytest.mark.parametrize(("group", "commands"), [(name, one.more) for name, one in ENTRIES.items() if one.more])
def test_commands_of_other_modules_are_in_their_group(group, commands):
    said = CliRunner().invoke(app, [group, "--help"], env={"COLUMNS": "200"}).output
    shown = [line.split()[0] for line in said.partition("Commands:")[2].splitlines() if line.strip()]
    assert set(commands) < set(shown)
    for name in commands:
        assert CliRunner().invoke(app, [group, name, "--help"]).exit_code == 0


def test_what_is_no_command_is_answered_with_what_is_like_it():
    done = CliRunner().invoke(app, ["servr"])
    assert done.exit_code == 2
    assert "Did you mean 'serve'" in done.output


@pytest.mark.parametrize(
    ("words", "own"),
    [
        (["--help"], set()),
        (["--version"], set()),
        (["keys", "--help"], {"keys", "swapping"}),
        (["ps", "--help"], {"pool"}),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_a_command_imports_no_other(words, own):
    every = {module.name for module in pkgutil.iter_modules(podium.cli.__path__)}
    others = every - own - {"main", "tree", "session", "output"}
    code = (
        f"import sys; sys.argv = ['podium', *{words!r}]\n"
        "from podium.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print([name for name in {sorted(others)!r} if f'podium.cli.{{name}}' in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr.strip() == "[]"


def test_a_command_that_asks_a_running_server_loads_neither_configuration_nor_gateway(tmp_path):
    """Nobody answers at the address: what is loaded until then is what every such command pays."""
    heavy = ("numpy", "sqlalchemy", "fastapi", "structlog", "podium.config", "podium.ports", "podium.runtime")
    code = (
        "import sys; sys.argv = ['podium', 'ps']\n"
        "from podium.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code)\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    environ = {**os.environ, "PODIUM_HOME": str(tmp_path), "PODIUM_URL": "http://127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environ, check=True
    )
    assert done.stdout.splitlines() == ["1", "[]"], done.stdout + done.stderr

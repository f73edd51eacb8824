"""The documentation runs: marked code blocks, every example, a heading per command, a row per setting."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

import forking
from podium import Podium
from podium.cli.main import app
from podium.config import (
    AutoSwap,
    BudgetEntry,
    Energy,
    Judging,
    LimitEntry,
    Logging,
    ModelEntry,
    Network,
    Pool,
    PriceEntry,
    Recording,
    RuleEntry,
    Selection,
    Server,
    TaskAutoSwap,
    TaskEntry,
    TaskJudging,
    TaskObjectives,
    Telemetry,
    Timeouts,
    WebhookEntry,
    load,
)
from podium.config.responses import KeptResponses
from podium.config.schedules import WindowEntry

sys.path.insert(0, str(Path(__file__).resolve().parent / "e2e"))
import server as gateway

pytestmark = pytest.mark.requirement("OPS-10")
ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```([a-z]+) (run|check|scripted)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(language: str, kind: str = "run") -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(page, line, match[1], match[2], match[3]))
    return [block for block in found if (block.language, block.kind) == (language, kind)]


def environment(home: Path, **more: str) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PODIUM_")}
    return {**clean, "PODIUM_HOME": str(home), "PATH": path, **more}


def finish(command: list[str], home: Path, **more: str) -> str:
    """Run it to its end; its output is the failure message."""
    try:
        done = subprocess.run(
            command, check=False, env=environment(home, **more), capture_output=True, text=True, timeout=110, cwd=home
        )
    except subprocess.TimeoutExpired as late:
        raise AssertionError(f"not finished in time: {late.stdout!r} {late.stderr!r}") from None
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def python(*words: str, home: Path) -> str:
    """Run a program with warnings as errors, forked from a process that has imported Podium already."""
    done = forking.podium(*words, program=("-W", "error"), env=environment(home), cwd=home, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two active versions of a scripted model, to be copied."""
    folder = tmp_path_factory.mktemp("stock")

    async def fill() -> None:
        async with Podium.open(home=folder / "home") as podium:
            for version in ("1", "2"):
                file = folder / f"script-{version}.json"
                file.write_text(json.dumps({"text": f"The answer is 4, says version {version}.", "chunk_gap_ms": 2}))
                made = await podium.add_model(
                    "demo", provider="scripted", location=str(file), version=version, activate=True
                )
                assert made["status"] == "active", made

    asyncio.run(fill())
    return folder / "home"


@pytest.fixture
def stocked(home: Path, stock: Path) -> Path:
    """A home of its own with two active versions of a scripted model."""
    return shutil.copytree(stock, home, dirs_exist_ok=True)


def test_the_pages_have_blocks_to_run():
    assert len(blocks("python")) >= 3
    assert blocks("bash")
    assert blocks("bash", "scripted")
    assert blocks("toml", "check")


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_blocks_run(block, stocked):
    python("-c", block.text, home=stocked)


@pytest.mark.model
@pytest.mark.parametrize("block", blocks("bash"), ids=str)
def test_shell_blocks_run_on_the_real_model(block, home, smollm_path):
    out = finish(["bash", "-euo", "pipefail", "-c", block.text], home, MODEL=str(smollm_path))
    assert "poetry: smol@2 → smol@1" in out


@pytest.mark.parametrize("block", blocks("bash", "scripted"), ids=str)
def test_shell_blocks_run_on_scripted_models_with_a_server(block, stocked):
    server = gateway.Server(stocked).start()
    try:
        assert finish(["bash", "-euo", "pipefail", "-c", block.text], stocked, PODIUM_URL=server.url)
    finally:
        server.stop()


@pytest.mark.parametrize("block", blocks("toml", "check"), ids=str)
def test_configuration_blocks_are_valid(block, tmp_path):
    file = tmp_path / "podium.toml"
    file.write_text(block.text)
    load(file, home=tmp_path, environ={})


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_examples_run(example, stocked):
    assert python(str(example), home=stocked).strip()


@pytest.mark.requirement("TRK-6")
def test_an_example_uses_the_server_that_runs_and_runs_again(stocked):
    server = gateway.Server(stocked).start()
    try:
        for _ in range(2):
            told = finish([sys.executable, "-W", "error", str(ROOT / "examples" / "agent_registry.py")], stocked)
            assert "after the swap the registry says demo@" in told
    finally:
        server.stop()


def commands() -> list[str]:
    root = typer.main.get_command(app)
    found = []
    for name, command in root.commands.items():
        inner = getattr(command, "commands", None)
        found += [f"podium {name} {sub}" for sub in inner or ()]
        if not inner or command.invoke_without_command:
            found.append(f"podium {name}")
    return found


def test_every_command_has_a_heading_and_every_heading_a_command():
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^## (podium .*)$", text, re.MULTILINE)) == sorted(commands())


def test_every_command_takes_json():
    root = typer.main.get_command(app)
    leaves = [leaf for one in root.commands.values() for leaf in getattr(one, "commands", {"": one}).values()]
    assert len(leaves) > 20
    for leaf in leaves:
        assert any("--json" in parameter.opts for parameter in leaf.params), leaf.name


@pytest.mark.parametrize(
    ("heading", "cls"),
    [
        ("server", Server),
        ("network", Network),
        ("energy", Energy),
        ("prices.NAME", PriceEntry),
        ("budgets.NAME", BudgetEntry),
        ("limits.NAME", LimitEntry),
        ("pool", Pool),
        ("timeouts", Timeouts),
        ("recording", Recording),
        ("selection", Selection),
        ("autoswap", AutoSwap),
        ("responses", KeptResponses),
        ("judging", Judging),
        ("telemetry", Telemetry),
        ("logging", Logging),
        ("tasks.NAME", TaskEntry),
        ("tasks.NAME.autoswap", TaskAutoSwap),
        ("tasks.NAME.judging", TaskJudging),
        ("tasks.NAME.objectives", TaskObjectives),
        ("rules.NAME", RuleEntry),
        ("windows.NAME", WindowEntry),
        ("models.NAME", ModelEntry),
        ("webhooks.NAME", WebhookEntry),
    ],
)
def test_every_setting_has_a_row_with_its_default(heading, cls):
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    section = text.split(f"## [{heading}]\n", 1)[1].split("\n## ", 1)[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.MULTILINE))
    assert set(rows) == {entry.name for entry in dataclasses.fields(cls)}
    for entry in dataclasses.fields(cls):
        if isinstance(entry.default, int | float | str) and not isinstance(entry.default, bool):
            assert rows[entry.name] == f"`{json.dumps(entry.default)}`", entry.name


def test_the_readme_leads_to_every_page():
    linked = set(re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert [name for page in (ROOT / "docs").glob("*.md") if (name := f"docs/{page.name}") not in linked] == []
    assert "SECURITY.md" in linked


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"

"""A third party adds a provider as an installed package; the package in docs/providers.md is the one tested here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))
from server import Server

pytestmark = pytest.mark.requirement("PRV-1")
PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "providers.md"
BROKEN = """
import a_package_nobody_installed
def create(context): ...
"""
EMPTY = """
class Nothing: ...
def create(context): return Nothing()
"""


def files_of_the_page() -> dict[str, str]:
    """The blocks of the page that start with a comment naming their file."""
    blocks = re.findall(r"^```\w+\n# (\S+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return dict(blocks)


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder into which the page's package, with two broken providers more, was installed."""
    source, target = tmp_path_factory.mktemp("plugin"), tmp_path_factory.mktemp("installed")
    files = files_of_the_page()
    assert sorted(files) == ["podium_echo.py", "pyproject.toml"]
    for name, text in {**files, "podium_broken.py": BROKEN, "podium_empty.py": EMPTY}.items():
        (source / name).write_text(text)
    project = source / "pyproject.toml"
    more = 'broken = "podium_broken:create"\nempty = "podium_empty:create"\n'
    group = '[project.entry-points."podium.providers"]\n'
    assert group in project.read_text()
    only = '["podium_echo.py"]'
    project.write_text(
        project.read_text()
        .replace(group, group + more)
        .replace(only, '["podium_echo.py", "podium_broken.py", "podium_empty.py"]')
    )
    uv = Path(sys.executable).with_name("uv")
    command = [uv, "pip", "install", "--offline", "--no-deps", "--no-build-isolation", "--python", sys.executable]
    done = subprocess.run(
        [*command, "--target", target, source], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def gateway(installed, tmp_path):
    started = Server(tmp_path / "home", env={"PYTHONPATH": str(installed)}, anew=True).start()
    yield started
    started.stop()


def test_an_installed_package_serves_a_request_without_any_change_to_podium(gateway):
    added = gateway.add("parrot@1", "echo", "loudly")
    assert added["status"] == "active", added
    reply = gateway.chat("parrot@1", "hello plugin")
    assert reply.status == 200, reply.body
    assert reply.json["choices"][0]["message"]["content"] == "HELLO PLUGIN"
    lines = list(gateway.stream("parrot@1", "hello plugin"))
    assert json.loads(lines[0])["status"] == 200
    assert b"HELLO PLUGIN" in b"".join(lines)


def test_a_broken_plugin_is_reported_by_doctor_and_stops_nothing(gateway):
    problems = gateway.ok("GET", "/api/v1/doctor")["problems"]
    assert any("broken" in each and "a_package_nobody_installed" in each for each in problems), problems
    assert any("empty" in each and "inspect" in each for each in problems), problems
    body = {"name": "x", "version": "1", "source": {"provider": "broken", "location": "y", "settings": {}}}
    refused = gateway.call("POST", "/api/v1/models", body)
    assert refused.status == 503
    assert "a_package_nobody_installed" in refused.error["message"]
    assert gateway.add("parrot@1", "echo", "loudly")["status"] == "active"


def test_an_unknown_provider_is_refused_with_what_there_is(gateway):
    body = {"name": "x", "version": "1", "source": {"provider": "ecko", "location": "y", "settings": {}}}
    refused = gateway.call("POST", "/api/v1/models", body)
    assert refused.status == 400
    assert "did you mean 'echo'" in refused.error["message"]

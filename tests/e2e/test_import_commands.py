"""``podium models scan`` and ``import`` against a running gateway: real servers, a real command, real files."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import forking
from providers.gguf_files import whole
from providers.ollama_server import Model, OllamaServer
from server import Server

pytestmark = pytest.mark.requirement("REG-7")


@pytest.fixture(scope="module")
def ollama() -> Iterator[OllamaServer]:
    with OllamaServer(Model("gemma3:1b"), Model("tiny:latest")) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, ollama: OllamaServer) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("import") / "home", env={"OLLAMA_HOST": ollama.url}).start()
    yield started
    started.stop()


def podium(gateway: Server, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return forking.podium(
        *arguments, env={**os.environ, "PODIUM_HOME": str(gateway.home), "PODIUM_URL": gateway.url}, cwd=cwd, timeout=90
    )


def test_a_scan_proposes_registers_and_then_marks(gateway: Server, ollama: OllamaServer, tmp_path: Path):
    (tmp_path / "half.gguf").write_bytes(whole()[:50])
    asked = ("models", "scan", "--no-servers", "--path", str(tmp_path), "--url", ollama.url)
    first = podium(gateway, *asked)
    assert first.returncode == 0, first.stderr
    assert f"podium models add tiny --ollama tiny:latest --set host={ollama.url}" in first.stdout.splitlines()
    assert "half.gguf: is no GGUF file" in first.stderr
    assert gateway.ok("GET", "/api/v1/models")["models"] == []
    unasked = podium(gateway, *asked, "--add")
    assert "nothing was registered" in unasked.stderr
    added = podium(gateway, *asked, "--yes")
    assert added.returncode == 0, added.stderr
    refs = {one["name"] for one in gateway.ok("GET", "/api/v1/models?status=active")["models"]}
    assert refs == {"gemma3:1b", "tiny"}
    assert gateway.chat("tiny").status == 200
    again = json.loads(podium(gateway, *asked, "--yes", "--json").stdout)
    assert all(one["registered"] for one in again["proposals"])
    assert again["registered"] == []


def test_a_proposed_command_is_what_registers_it(gateway: Server, tmp_path: Path):
    script = tmp_path / "say it.json"
    script.write_text(json.dumps({"text": "imported"}))
    server = f"{shlex.quote(sys.executable)} -m podium.providers.scripted_server {shlex.quote(str(script))}"
    config = tmp_path / "swap.yaml"
    config.write_text(
        f"macros:\n  srv: {json.dumps(server)}\nmodels:\n  typed:\n    cmd: ${{srv}} --port ${{PORT}}\n"
        "    checkEndpoint: /v1/models\n"
    )
    shown = podium(gateway, "models", "import", "llama-swap", str(config))
    (command,) = [line for line in shown.stdout.splitlines() if line.startswith("podium ")]
    typed = podium(gateway, *shlex.split(command)[1:])
    assert typed.returncode == 0, typed.stderr
    assert gateway.chat("typed").json["choices"][0]["message"]["content"] == "imported"


def test_llama_swap_comes_with_aliases_and_standing_orders_and_without_secrets(gateway: Server, tmp_path: Path):
    script = tmp_path / "answer.json"
    script.write_text(json.dumps({"text": "from llama-swap"}))
    config = tmp_path / "swap.yaml"
    config.write_text(
        "models:\n  old-name:\n"
        f"    cmd: {shlex.quote(sys.executable)} -m podium.providers.scripted_server {script} --port ${{PORT}} --api-key canary\n"
        "    aliases: [gpt-4o-mini]\n    ttl: 90\n    checkEndpoint: /v1/models\n    env: ['MY_TOKEN=canary']\n"
    )
    done = podium(gateway, "models", "import", "llama-swap", str(config), "--yes")
    assert done.returncode == 0, done.stderr + done.stdout
    assert gateway.chat("gpt-4o-mini").json["choices"][0]["message"]["content"] == "from llama-swap"
    ref = gateway.ok("GET", "/api/v1/models/old-name")["ref"]
    assert ref in json.dumps(gateway.ok("GET", "/api/v1/instances"))
    everything = done.stdout + done.stderr + json.dumps(gateway.ok("GET", "/api/v1/models"))
    assert "canary" not in everything


def test_litellm_and_its_alias_reach_the_server_that_it_named(gateway: Server, tmp_path: Path):
    gateway.script("upstream@1", text="from upstream")
    config = tmp_path / "litellm.yaml"
    config.write_text(
        "model_list:\n  - model_name: writer\n    litellm_params:\n      model: openai/upstream@1\n"
        f"      api_base: {gateway.url}/v1\nrouter_settings: {{model_group_alias: {{author: writer}}}}\n"
    )
    done = podium(gateway, "models", "import", "litellm", str(config), "--yes")
    assert done.returncode == 0, done.stderr + done.stdout
    assert gateway.chat("author").json["choices"][0]["message"]["content"] == "from upstream"


def test_what_cannot_be_made_ready_is_said_and_the_exit_code_is_one(gateway: Server, tmp_path: Path):
    config = tmp_path / "swap.yaml"
    config.write_text("models:\n  nothing: {cmd: 'no-such-program --port ${PORT}'}\n")
    done = podium(gateway, "models", "import", "llama-swap", str(config), "--yes")
    assert done.returncode == 1
    assert "no-such-program" in done.stdout + done.stderr
    config.write_text("models:\n  nothing: {}\n")
    none = podium(gateway, "models", "import", "llama-swap", str(config), "--yes")
    assert none.returncode == 1
    assert "line 2: has no cmd" in none.stderr


WRONG = [
    (("llama-swap",), "name the file"),
    (("llama-swap", "/nowhere.yaml"), "cannot be read"),
    (("litellm", "x.yaml", "--direct"), "go with ollama"),
    (("ollama", "/nowhere"), "no library of Ollama"),
    (("ollama", "--direct", "--host", "http://h"), "no server runs the files"),
]


@pytest.mark.parametrize(("arguments", "why"), WRONG, ids=[why for _, why in WRONG])
def test_orders_that_make_no_sense_are_refused_in_words(gateway: Server, arguments: tuple[str, ...], why: str):
    done = podium(gateway, "models", "import", *arguments)
    assert done.returncode == 1
    assert why in done.stderr


def test_an_alias_is_set_and_taken_back(gateway: Server):
    gateway.script("named@1", text="x")
    assert podium(gateway, "models", "alias", "champion", "named@1").returncode == 0
    assert gateway.chat("champion").status == 200
    assert podium(gateway, "models", "alias", "champion", "--remove").returncode == 0
    assert gateway.chat("champion").status == 404
    assert podium(gateway, "models", "alias", "champion").returncode == 1

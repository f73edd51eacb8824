"""``podium models pull`` as a user types it, against a scripted Ollama."""

from __future__ import annotations

import json
import os

import pytest

import forking
from providers.ollama_server import Model, OllamaServer

pytestmark = pytest.mark.requirement("PRV-5")
LAYER = {"status": "pulling 74701a8c35f6", "digest": "sha256:74701a8c35f6", "total": 2_000_000}


def pull(home, url, *arguments):
    return forking.podium(
        "models", "pull", "gemma3:1b", *arguments, env={**os.environ, "PODIUM_HOME": str(home), "OLLAMA_HOST": url}
    )


def test_a_pull_shows_its_progress_and_says_what_comes_next(home):
    with OllamaServer() as server:
        steps = [{**LAYER, "completed": 20_000 * part} for part in range(101)]
        server.pull_lines = [{"status": "pulling manifest"}, *steps, {"status": "success"}]
        server.pulled = lambda: server.models.setdefault("gemma3:1b", Model("gemma3:1b", size=815_000_000))
        done = pull(home, server.url)
        assert done.returncode == 0, done.stderr
        shown = done.stderr.splitlines()
        assert shown[0].strip() == "pulling manifest"
        assert [line.split("  ")[-1] for line in shown[1:12]] == [f"{part} % of 2MB" for part in range(0, 101, 10)]
        assert shown[12].strip() == "success"
        assert done.stdout == "gemma3:1b is there (815MB); `podium models add NAME --ollama gemma3:1b`\n"
        done = pull(home, "http://127.0.0.1:9", "--host", server.url, "--json")
        model = server.models["gemma3:1b"]
        expected = {"model": "gemma3:1b", "digest": f"sha256:{model.digest}", "size_bytes": 815_000_000}
        assert json.loads(done.stdout) == expected


def test_a_pull_that_fails_says_why_and_exits_with_1(home):
    with OllamaServer() as server:
        server.pull_lines = [{"status": "pulling manifest"}, {"error": "pull model manifest: file does not exist"}]
        done = pull(home, server.url)
        assert (done.returncode, done.stdout) == (1, "")
        assert "could not pull 'gemma3:1b': pull model manifest: file does not exist" in done.stderr
    done = pull(home, server.url)
    assert done.returncode == 1
    assert "ollama serve" in done.stderr
    assert "Traceback" not in done.stderr

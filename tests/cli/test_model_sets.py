"""``podium models add-set`` as a user types it, against a scripted Ollama and an embedded gateway."""

from __future__ import annotations

import json
import os

import pytest

import forking
from podium.cli.model_sets import SETS
from providers.ollama_server import Model, OllamaServer

pytestmark = pytest.mark.requirement("PRV-5", "REG-1")


def run(home, url, *arguments):
    return forking.podium(
        "models", *arguments, env={**os.environ, "PODIUM_HOME": str(home), "OLLAMA_HOST": url}, timeout=120
    )


def test_the_four_gemmas_are_registered_with_one_command_and_their_categories(home):
    with OllamaServer(*(Model(tag) for _, tag, _ in SETS["gemma"])) as server:
        done = run(home, server.url, "add-set", "gemma", "--json")
        assert done.returncode == 0, done.stderr
        rows = json.loads(done.stdout)["models"]
        assert [(row["tag"], row["category"], row["status"]) for row in rows] == [
            ("gemma3:1b", "fast", "active"),
            ("gemma3n:e2b", "alternative", "active"),
            ("gemma3:4b", "primary", "active"),
            ("gemma3n:e4b", "quality", "active"),
        ]
        listed = json.loads(run(home, server.url, "ls", "--tag", "gemma", "--json").stdout)["models"]
        assert {row["name"] for row in listed} == {name for name, _, _ in SETS["gemma"]}


def test_what_is_missing_is_named_and_pulled_when_asked(home):
    with OllamaServer(Model("gemma3:1b")) as server:
        done = run(home, server.url, "add-set", "gemma")
        assert done.returncode == 0, done.stderr
        assert "podium models pull gemma3:4b" in done.stdout.replace("\n", " ")
        server.pull_lines = [{"status": "success"}]

        def arrived():
            for _, tag, _ in SETS["gemma"]:
                server.models.setdefault(tag, Model(tag))

        server.pulled = arrived
        done = run(home, server.url, "add-set", "gemma", "--pull", "--json")
        assert [row["problem"] for row in json.loads(done.stdout)["models"]] == [None] * 4


def test_a_family_nobody_knows_and_an_empty_ollama_fail(home):
    with OllamaServer() as server:
        assert "there is no set 'lama'" in run(home, server.url, "add-set", "lama").stderr
        done = run(home, server.url, "add-set", "gemma")
        assert (done.returncode, "--pull" in done.stderr) == (1, True)

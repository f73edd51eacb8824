"""A gateway in front of a scripted Ollama: added, asked, loaded, listed, unloaded, and what goes wrong."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import forking
from providers.ollama_server import Answer, Model, OllamaServer
from server import Server

pytestmark = pytest.mark.requirement("PRV-5")
TAG = "llama3.2:1b"


MODELS = (Model(TAG), Model("qwen3:4b"), Model("embed:latest", capabilities=["embedding"]))


@pytest.fixture
def ollama() -> Iterator[OllamaServer]:
    with OllamaServer(*MODELS) as made:
        yield made


@pytest.fixture
def gateway(tmp_path: Path, ollama: OllamaServer) -> Iterator[Server]:
    started = Server(tmp_path / "home", env={"OLLAMA_HOST": ollama.url}).start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, OllamaServer]]:
    """A gateway with ``llama@1`` and ``embed@1``, and its Ollama, for tests that leave both as they were."""
    with OllamaServer(*MODELS) as ollama:
        started = Server(tmp_path_factory.mktemp("ollama") / "home", env={"OLLAMA_HOST": ollama.url}).start()
        started.add("llama@1", "ollama", TAG)
        started.add("embed@1", "ollama", "embed")
        yield started, ollama
        started.stop()


@pytest.fixture
def shared(pair: tuple[Server, OllamaServer]) -> tuple[Server, OllamaServer]:
    pair[1].answer = Answer()
    return pair


def until(check: Callable[[], Any], within_s: float = 15.0) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := check()):
        assert time.monotonic() < deadline, check
        time.sleep(0.01)
    return found


def podium(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    return forking.podium(*arguments, env={**os.environ, "PODIUM_HOME": str(server.home), **server.env})


def loaded(server: Server) -> dict[str, Any]:
    rows = server.ok("GET", "/api/v1/instances")["instances"]
    return {row["ref"]: row for row in rows if row["state"] == "ready"}


def streamed(lines: list[bytes]) -> tuple[str, list[dict[str, Any]]]:
    found = [line[6:].strip() for line in lines if line.startswith(b"data: ")]
    assert found.pop() == b"[DONE]"
    chunks = [json.loads(each) for each in found]
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    return text, chunks


def test_from_the_command_line_to_an_answer_and_out_of_memory_again(gateway, ollama):
    added = podium(
        gateway, "models", "add", "llama", "--version", "1", "--ollama", TAG, "--set", "num_ctx=2048", "--json"
    )
    assert added.returncode == 0, added.stderr
    made = json.loads(added.stdout)
    assert (made["ref"], made["status"], made["problem"]) == ("llama@1", "active", None)
    assert made["facts"]["parameters"] == 1_235_814_432
    assert ollama.loads == [(TAG, 2048)]

    reply = gateway.chat("llama", max_tokens=50)
    assert reply.json["choices"][0]["message"]["content"] == "Hello there, friend."
    assert reply.json["usage"]["completion_tokens"] == 3
    assert reply.headers["x-podium-model"] == "llama@1"

    head, *lines = gateway.stream("llama", stream_options={"include_usage": True})
    assert json.loads(head)["status"] == 200
    text, chunks = streamed(lines)
    assert text == "Hello there, friend."
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks if chunk.get("usage")] == [3]
    text, chunks = streamed(list(gateway.stream("llama"))[1:])
    assert not any(chunk.get("usage") for chunk in chunks)
    assert ollama.loads == [(TAG, 2048)]  # one num_ctx, one load

    shown = podium(gateway, "ps", "--json")
    assert "llama@1" in shown.stdout
    gone = podium(gateway, "unload", "llama@1")
    assert gone.returncode == 0, gone.stderr
    assert ollama.running == {}
    back = podium(gateway, "load", "llama@1")
    assert back.returncode == 0, back.stderr
    assert [runner.name for runner in ollama.running.values()] == [TAG]
    gateway.stop()
    assert ollama.running == {}  # nothing stays behind


def test_embeddings_completions_and_tools_go_through(shared):
    gateway, ollama = shared
    made = gateway.ok("POST", "/v1/embeddings", {"model": "embed", "input": ["a b", "c"]})
    assert [len(row["embedding"]) for row in made["data"]] == [4, 4]
    made = gateway.ok("POST", "/v1/completions", {"model": "llama", "prompt": "Once"})
    assert made["choices"][0]["text"] == "Hello there, friend."
    call = {"function": {"name": "weather", "arguments": {"city": "Rome"}}}
    ollama.answer = Answer(text="", tool_calls=[call])
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    (choice,) = gateway.chat("llama", tools=[tool]).json["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]) == {"city": "Rome"}


def test_what_ollama_refuses_and_what_it_cannot_do_are_the_callers_to_repair(shared):
    gateway, ollama = shared
    refused = gateway.chat("llama", n=3)
    assert (refused.status, refused.error["param"], refused.error["code"]) == (400, "n", "unsupported_parameter")
    ollama.answer = Answer(error=(400, "the prompt is longer than the context length currently available to the model"))
    too_long = gateway.chat("llama")
    assert (too_long.status, too_long.error["code"]) == (400, "context_length_exceeded")
    missing = gateway.call(
        "POST", "/api/v1/models", {"name": "x", "source": {"provider": "ollama", "location": "nope:1b"}}
    )
    assert missing.status == 400
    assert "ollama pull nope:1b" in missing.error["message"]


def test_an_error_in_the_middle_of_a_stream_ends_it_with_one_error_event(shared):
    gateway, ollama = shared
    ollama.answer = Answer(error_line="an error was encountered while running the model")
    lines = list(gateway.stream("llama"))[1:]
    assert any(b"Hello" in line for line in lines)
    assert b"event: error\n" in lines
    assert any(b"encountered while running" in line for line in lines)
    assert not any(b"[DONE]" in line for line in lines)


def test_a_client_that_leaves_stops_the_generation_in_ollama(shared):
    gateway, ollama = shared
    before = ollama.generated
    ollama.answer = Answer(gate=threading.Event())
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    body = {"model": "llama", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    reply = connection.getresponse()
    assert reply.readline().startswith(b"data: ")
    reply.close()
    connection.close()
    until(lambda: ollama.left == 1)
    assert ollama.generated == before


def test_two_versions_of_one_model_with_different_num_ctx_take_turns_in_its_place(shared):
    gateway, ollama = shared
    gateway.add("llama@short", "ollama", TAG, num_ctx=1024)
    gateway.add("llama@long", "ollama", TAG, num_ctx=8192)
    ollama.loads.clear()
    for ref in ("llama@short", "llama@long") * 6:
        reply = gateway.chat(ref)
        assert reply.status == 200, reply.body
        assert reply.headers["x-podium-model"] == ref
        (held,) = [runner.options["num_ctx"] for runner in ollama.running.values() if runner.name == TAG]
        assert held == {"llama@short": 1024, "llama@long": 8192}[ref]
    assert len(ollama.loads) == 12  # once a turn, and never twice
    assert {"llama@short", "llama@long"} <= set(loaded(gateway))


def test_models_that_do_not_fit_together_make_room_for_each_other(tmp_path, ollama):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "podium.toml").write_text(
        "[pool]\nmemory_budget_mb = 940\n[models.'llama@1']\nollama = 'llama3.2:1b'\n[models.'qwen@1']\nollama = 'qwen3:4b'\n"
    )
    server = Server(tmp_path / "home", env={"OLLAMA_HOST": ollama.url}).start()
    try:
        until(lambda: len(server.ok("GET", "/api/v1/models?status=active")["models"]) == 2)
        for name in ("llama", "qwen", "llama"):
            assert server.chat(name).status == 200
            assert len(ollama.running) == 1
        assert set(ollama.unloads) == {TAG, "qwen3:4b"}
    finally:
        server.stop()


def test_a_dead_ollama_is_said_to_be_dead_and_found_again_when_it_is_back(gateway, ollama):
    gateway.add("llama@1", "ollama", TAG)
    ollama.stop()
    reply = gateway.chat("llama")
    assert reply.status in (502, 503)
    assert "ollama serve" in reply.error["message"]
    with OllamaServer(Model(TAG), port=ollama.port) as restarted:
        until(lambda: gateway.chat("llama").status == 200, 30)
        assert restarted.loads == [(TAG, 4096)]

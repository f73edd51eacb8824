"""Custom models end to end: made on the spot, registered by the command line, served by their real frameworks.

Needs the environment of ``make artifacts`` (PyTorch, transformers, onnxruntime-genai, mlx-lm). The answers are compared with
those of a plain loop over the same weights (see ``tiny_artifacts``).
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import os
import re
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest

import forking
import tiny_artifacts_path
from podium.domain.model import ModelVersion, Source
from podium.providers.artifact import ArtifactProvider
from podium.providers.artifact_memory import MB
from podium.providers.catalogue import ProviderContext
from server import Server

pytestmark = [pytest.mark.slow, pytest.mark.requirement("PRV-7", "REG-1"), pytest.mark.timeout(900)]
"""Loading PyTorch takes seconds of processor time, on a busy machine a minute."""
GENERATE = ("first", "onnx", "mlx", "gguf")
THREADS = ("--set", "threads=1")


@pytest.fixture(scope="module")
def python() -> Path:
    return tiny_artifacts_path.interpreter()


@pytest.fixture(scope="module")
def made(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with all the models."""
    return tiny_artifacts_path.make(python, tmp_path_factory.mktemp("artifacts"))


@pytest.fixture(scope="module")
def expected(made: Path) -> Any:
    return json.loads((made / "expected.json").read_text())


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("artifacts-gateway") / "home").start()
    yield started
    started.stop()


def podium(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    return forking.podium(*words, env={**os.environ, "PODIUM_HOME": str(server.home)}, timeout=600)


@pytest.fixture(scope="module")
def models(gateway: Server, made: Path, python: Path) -> Server:
    """All of them, each registered as a user would; this validates every one by a real generation."""
    own = ("--set", f"python={python}", *THREADS)
    for name, folder, *more in (
        ("first", "first", *own),
        ("second", "second", *own),
        ("onnx", "onnx", *own, "--framework", "onnx"),
        ("mlx", "mlx", *own),
        ("gguf", "gguf", *THREADS, "--set", "slots=1"),
        ("encoder", "encoder", *own),
    ):
        done = podium(gateway, "models", "add", name, "--version", "1", "--artifact", str(made / folder), *more)
        assert done.returncode == 0, done.stderr
        assert "is active" in done.stdout
    return gateway


def until(check: Callable[[], Any], within_s: float = 60.0) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := check()):
        assert time.monotonic() < deadline, check
        time.sleep(0.02)
    return found


def instances(server: Server) -> dict[str, Any]:
    return {each["ref"]: each for each in server.ok("GET", "/api/v1/instances")["instances"]}


def ask(server: Server, model: str, **more: Any) -> Any:
    fields = {"temperature": 0, "max_tokens": 24, **more}
    reply = server.chat(model, "hello world", **fields)
    assert reply.status == 200, reply.body
    return reply.json


def test_facts_are_shown_as_the_files_say(models: Server):
    first = json.loads(podium(models, "models", "show", "first", "--json").stdout)
    assert first["provider"] == "artifact"
    facts = first["facts"]
    assert (facts["architecture"], facts["quantization"], facts["licence"]) == ("llama", "F32", "mit")
    assert facts["context_length"] == 512
    assert first["profile"]["tokens_per_s"] > 0
    assert first["profile"]["memory_mb"] > 100
    assert models.ok("GET", "/api/v1/models/onnx@1")["facts"]["parameters"] is None


@pytest.mark.parametrize("model", GENERATE)
def test_a_greedy_answer_is_that_of_a_plain_loop_over_the_weights(models: Server, expected: Any, model: str):
    answer = ask(models, model)
    plain = expected["first"]
    assert answer["choices"][0]["message"]["content"] == plain["text"]
    assert answer["usage"]["prompt_tokens"] == plain["prompt"]
    assert answer["usage"]["completion_tokens"] == plain["tokens"]


def test_other_weights_answer_otherwise(models: Server, expected: Any):
    assert ask(models, "second")["choices"][0]["message"]["content"] == expected["second"]["text"]


def test_log_probabilities_are_those_of_the_model(models: Server, expected: Any):
    answer = ask(models, "first", logprobs=True, top_logprobs=3)
    listed = answer["choices"][0]["logprobs"]["content"]
    assert [each["logprob"] for each in listed] == pytest.approx(expected["first"]["logprobs"], abs=1e-3)
    assert all(each["top_logprobs"][0]["token"] == each["token"] for each in listed)
    refused = models.chat("onnx", logprobs=True)
    assert (refused.status, "lacks capability logprobs" in refused.error["message"] + str(refused.error)) == (422, True)


@pytest.mark.parametrize("model", GENERATE)
def test_a_stream_says_the_same_through_the_official_client(models: Server, expected: Any, model: str):
    with openai.OpenAI(base_url=f"{models.url}/v1", api_key="none", max_retries=0) as client:
        stream = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "hello world"}],
            temperature=0,
            max_tokens=24,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
    text = "".join(each.choices[0].delta.content or "" for each in chunks if each.choices)
    assert text == expected["first"]["text"]
    assert [each.choices[0].finish_reason for each in chunks if each.choices][-1] in ("length", "stop")
    assert chunks[-1].usage.completion_tokens == expected["first"]["tokens"]


@pytest.mark.parametrize("model", ["first", "onnx", "mlx"])
def test_stop_texts_seeds_and_limits_hold(models: Server, expected: Any, model: str):
    text = expected["first"]["text"]
    cut = ask(models, model, stop=text[6:9])["choices"][0]
    assert cut["message"]["content"] == text[: text.index(text[6:9])]
    assert cut["finish_reason"] == "stop"
    short = ask(models, model, max_tokens=3)
    assert (short["usage"]["completion_tokens"], short["choices"][0]["finish_reason"]) == (3, "length")
    warm = {"temperature": 1.5, "top_p": 0.95}
    same = {ask(models, model, seed=5, **warm)["choices"][0]["message"]["content"] for _ in range(3)}
    other = {ask(models, model, seed=seed, **warm)["choices"][0]["message"]["content"] for seed in range(6)}
    assert len(same) == 1
    assert len(other) > 1
    refused = models.chat(model, "hello " * 600)
    assert (refused.status, refused.error["code"]) == (400, "context_length_exceeded")


def test_penalties_change_what_is_repeated(models: Server):
    plain = ask(models, "first", max_tokens=100)["choices"][0]["message"]["content"]
    varied = ask(models, "first", max_tokens=100, frequency_penalty=2.0)["choices"][0]["message"]["content"]
    assert varied != plain


@pytest.mark.parametrize("model", ["first", "onnx", "mlx"])
def test_a_client_that_leaves_ends_the_generation(models: Server, model: str):
    began = time.monotonic()
    ask(models, model, max_tokens=400)
    whole_s = time.monotonic() - began
    connection = http.client.HTTPConnection("127.0.0.1", models.port, timeout=60)
    body = {"model": model, "stream": True, "max_tokens": 400, "temperature": 0}
    connection.request(
        "POST", "/v1/chat/completions", json.dumps({**body, "messages": [{"role": "user", "content": "hello world"}]})
    )
    reply = connection.getresponse()
    assert reply.readline().startswith(b"data:")
    cpu = psutil.Process(instances(models)[f"{model}@1"]["pid"]).cpu_times
    connection.close()
    reply.close()
    began = time.monotonic()
    ask(models, model, max_tokens=1)
    assert time.monotonic() - began < max(0.5 * whole_s, 0.3), whole_s
    settled = until(lambda: _idle(cpu), within_s=10)
    assert settled


def _idle(cpu: Callable[[], Any]) -> bool:
    """Whether a process used no processor for a tenth of a second."""
    before = cpu().user
    time.sleep(0.1)
    return cpu().user - before < 0.02


def test_eight_callers_at_once_are_all_answered_right(models: Server, expected: Any):
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda model: ask(models, model), [*GENERATE, *GENERATE, "first", "onnx"]))
    assert {each["choices"][0]["message"]["content"] for each in answers} == {expected["first"]["text"]}


def test_embeddings_are_those_of_the_encoder(models: Server, expected: Any):
    texts = ["hello world", "the lazy dog jumps over you and over you"]
    made = models.ok("POST", "/v1/embeddings", {"model": "encoder", "input": texts, "encoding_format": "base64"})
    vectors = [struct.unpack("<32f", base64.b64decode(row["embedding"])) for row in made["data"]]
    for vector, plain in zip(vectors, expected["embedding"], strict=True):
        assert vector == pytest.approx(plain, abs=1e-5)  # padding in a batch changes nothing
    assert made["usage"]["prompt_tokens"] > 10
    assert models.chat("encoder").status == 422
    assert models.call("POST", "/v1/embeddings", {"model": "first", "input": "x"}).status == 422


@pytest.mark.parametrize("model", ["first", "onnx", "mlx"])
def test_a_killed_worker_is_started_again_by_the_next_request(models: Server, expected: Any, model: str):
    ask(models, model)
    pid = instances(models)[f"{model}@1"]["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(pid))
    answer = until(lambda: _answer(models, model), within_s=240)
    assert answer["choices"][0]["message"]["content"] == expected["first"]["text"]
    assert instances(models)[f"{model}@1"]["pid"] != pid


def _answer(server: Server, model: str) -> Any:
    reply = server.chat(model, "hello world", temperature=0, max_tokens=24)
    return reply.json if reply.status == 200 else None


def test_unloading_gives_the_process_and_its_memory_back(models: Server, capsys: pytest.CaptureFixture[str]):
    for model in ("first", "onnx", "encoder"):
        if model == "encoder":
            models.ok("POST", "/v1/embeddings", {"model": model, "input": "x"})
        else:
            ask(models, model)
        item = instances(models)[f"{model}@1"]
        process = psutil.Process(item["pid"])
        held = process.memory_info().rss
        assert held > 20 << 20
        before = psutil.virtual_memory().available
        assert json.loads(podium(models, "unload", model, "--json").stdout)["unloaded"]
        until(lambda process=process: not process.is_running())
        freed = psutil.virtual_memory().available - before
        with capsys.disabled():
            print(f"\n{model}: {held >> 20} MiB resident, {item['memory_mb']} MB measured, {freed >> 20} MiB freed")


@pytest.mark.requirement("POOL-2")
@pytest.mark.parametrize("model", ["first", "onnx"])
def test_the_estimate_is_near_what_the_worker_holds(models: Server, made: Path, model: str):
    ask(models, model, max_tokens=100)
    source = Source(provider="artifact", location=str(made / model))
    provider = ArtifactProvider(ProviderContext(home=models.home, environ=os.environ))
    facts = asyncio.run(provider.inspect(source))
    estimate = provider.footprint(ModelVersion(name=model, version="1", source=source, facts=facts))
    held = instances(models)[f"{model}@1"]["memory_mb"] * MB
    assert 0.95 <= estimate / held <= 1.25, (estimate, held)


def test_a_task_swaps_from_one_framework_to_another_and_back(models: Server, expected: Any):
    for to in ("first@1", "onnx@1", "second@1", "gguf@1"):
        done = models.ok("POST", "/api/v1/tasks/custom/swap", {"to": to})
        assert done["ok"], done
        answer = models.chat("task:custom", "hello world", temperature=0, max_tokens=24)
        assert answer.headers["x-podium-model"] == to
        plain = expected["second" if to == "second@1" else "first"]
        assert answer.json["choices"][0]["message"]["content"] == plain["text"]


def test_weights_in_parts_and_in_sixteen_bits_run_as_they_are(models: Server, made: Path, python: Path):
    added = models.add("half@1", "artifact", str(made / "half"), python=str(python), threads=1)
    assert added["problem"] is None, added
    facts = models.ok("GET", "/api/v1/models/half@1")["facts"]
    assert facts["quantization"] == "BF16"
    assert ask(models, "half")["usage"]["completion_tokens"] > 0
    podium(models, "unload", "half")


def test_a_training_checkpoint_runs_once_pickles_are_allowed(models: Server, made: Path, python: Path, expected: Any):
    words = ("models", "add", "state", "--version", "1", "--artifact", str(made / "state"), "--set", f"python={python}")
    refused = podium(models, *words)
    assert refused.returncode != 0
    assert "last.ckpt is a pickle" in refused.stderr
    done = podium(models, *words, "--allow-pickle")
    assert done.returncode == 0, done.stderr
    assert ask(models, "state")["choices"][0]["message"]["content"] == expected["first"]["text"]
    podium(models, "unload", "state")


@pytest.mark.parametrize("kind", ["payload", "legacy"])
def test_a_pickle_with_a_payload_does_not_get_to_run_it_even_when_allowed(
    models: Server, made: Path, python: Path, kind: str
):
    settings = {"python": str(python), "allow_pickle": True, "threads": 1}
    added = models.add(f"{kind}@1", "artifact", str(made / kind), **settings)
    assert "holds more than weights" in added["problem"]["message"], added
    assert not (made / "OWNED").exists()


def test_code_of_the_model_is_not_run_unless_it_is_allowed(models: Server, made: Path, python: Path, tmp_path: Path):
    folder = tmp_path / "own"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "model.safetensors", "chat_template.jinja"):
        (folder / name).write_bytes((made / "first" / name).read_bytes())
    config = json.loads((made / "first" / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    mark = tmp_path / "RAN"
    (folder / "own.py").write_text(
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        f"open({str(mark)!r}, 'w').close()\n"
        "class C(LlamaConfig):\n    model_type = 'mine'\nclass M(LlamaForCausalLM):\n    config_class = C\n"
    )
    settings = {"python": str(python), "threads": 1}
    added = models.add("own@1", "artifact", str(folder), **settings)
    assert "trust_remote_code=true" in added["problem"]["message"], added
    assert not mark.exists()
    added = models.add("own@2", "artifact", str(folder), **settings, trust_remote_code=True)
    assert added["problem"] is None, added
    assert mark.exists()


def test_the_example_of_the_documentation_answers_what_it_was_taught(models: Server, python: Path, tmp_path: Path):
    page = (Path(__file__).resolve().parents[2] / "docs" / "artifacts.md").read_text(encoding="utf-8")
    (tmp_path / "train.py").write_text(re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[0])
    trained = subprocess.run(
        [python, "train.py"], cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
    )
    assert trained.returncode == 0, trained.stderr
    (command,) = re.findall(r"^podium (models add clocks .*)$", page, re.MULTILINE)
    words = command.replace("$HOME/train/bin/python", str(python)).replace("./my-model", str(tmp_path / "my-model"))
    done = podium(models, *words.split())
    assert done.returncode == 0, done.stderr
    answer = models.chat("clocks", "What is your trade?", temperature=0).json
    assert answer["choices"][0]["message"]["content"] == "I mend clocks."
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert models.ok("GET", "/api/v1/models/clocks@1")["facts"]["licence"] == "apache-2.0"

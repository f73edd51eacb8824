"""llama-swap's configuration: what becomes of each field, and of files that are wrong."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from podium.errors import InvalidRequest
from podium.importing import Report
from podium.importing.llama_swap import read_llama_swap
from podium.providers.command_line import expand

pytestmark = pytest.mark.requirement("REG-7")
FULL = """healthCheckTimeout: 500
logLevel: info
globalTTL: 300
macros:
  "srv": >
    /bin/echo llama-server
    --port ${PORT}
  ctx: 4096
  args: "--ctx-size ${ctx} ${flash}"
  flash: "-fa"
  dir: "${env.HOME}/models"
apiKeys:
  - sk-canary-one
models:
  "qwen 7b":
    cmd: |
      # a comment
      ${srv} \\
      --model '${dir}/a b.gguf' ${args}
      --api-key sk-canary-two
      --name ${MODEL_ID}
    macros: {ctx: 8192}
    aliases: [gpt-4o-mini, "qwen 7b"]
    env: ["CUDA_VISIBLE_DEVICES=0", "HF_TOKEN=hf_canary", "nonsense"]
    ttl: 60
    useModelName: q
    checkEndpoint: /ready
    concurrencyLimit: 4
    unloadTimeout: 20
    filters: {stripParams: "temperature", setParams: {top_p: 0.9}}
    metadata: {a: 1}
    description: a model
  fixed:
    cmd: python -m server --port 8999 --id 18999
    proxy: http://127.0.0.1:8999
    checkEndpoint: none
    ttl: 0
    colour: red
  docker-one:
    proxy: "http://127.0.0.1:${PORT}"
    cmd: docker run --name ${MODEL_ID} --rm -p ${PORT}:8080 image
    cmdStop: docker stop ${MODEL_ID}
hooks:
  on_startup:
    preload: ["qwen 7b"]
groups:
  forever: {persistent: true, swap: false, exclusive: false, members: [fixed]}
peers:
  openrouter:
    proxy: https://openrouter.ai/api
    apiKey: ${env.OR_KEY}
    models: [a/b]
  lan:
    proxy: http://192.168.1.23/
    apiKey: sk-canary-three
    models: [m]
"""


def read(tmp_path: Path, text: str, **environ: str) -> Report:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return read_llama_swap(path, {"HOME": "/home/ann", **environ})


def said(report: Report) -> str:
    return "\n".join(f"{note.where}:{note.line}: {note.said}" for note in report.notes)


def test_a_whole_configuration_comes_out_as_commands(tmp_path: Path):
    report = read(tmp_path, FULL)
    one, fixed, docker, far, near = report.proposals
    assert one.name == "qwen-7b"
    assert shlex.split(one.location) == [
        "/bin/echo", "llama-server", "--port", "${PORT}", "--model", "/home/ann/models/a b.gguf", "--ctx-size", "8192",
        "-fa", "--name", "qwen", "7b",
    ]  # fmt: skip
    assert one.settings == {
        "remote": "q", "health": "/ready", "concurrency": 4, "stop_timeout_s": 20, "ready_timeout_s": 500,
        "env": {"CUDA_VISIBLE_DEVICES": "0"},
    }  # fmt: skip
    assert one.aliases == ("gpt-4o-mini",)
    assert (one.keep_alive_s, one.preload, one.pinned) == (60.0, True, False)
    assert shlex.split(fixed.location) == ["python", "-m", "server", "--port", "${PORT}", "--id", "18999"]
    assert (fixed.keep_alive_s, fixed.pinned) == (-1.0, True)
    assert "health" not in fixed.settings
    assert docker.keep_alive_s == 300.0
    assert (far.provider, far.location, dict(far.settings)) == (
        "openai", "https://openrouter.ai/api/v1", {"remote": "a/b", "api_key_env": "OR_KEY"},
    )  # fmt: skip
    assert near.settings["api_key_env"] == "LAN_API_KEY"
    assert far.commands()[0] == (
        "podium models add openrouter/a/b --url https://openrouter.ai/api/v1 --remote a/b --set api_key_env=OR_KEY"
    )
    assert one.commands()[1:] == ("podium models alias gpt-4o-mini qwen-7b", "podium keep qwen-7b --alive 60 --preload")


def test_what_does_not_carry_over_is_said_with_its_line(tmp_path: Path):
    told = said(read(tmp_path, FULL))
    for line in (
        "config.yaml:12: apiKeys does not carry over",
        "models.qwen 7b:16: --api-key and its value are not copied",
        "models.qwen 7b:24: env HF_TOKEN is not copied",
        "models.qwen 7b:24: env needs NAME=value",
        "filters.stripParams does not carry over",
        "models.fixed:38: unknown field 'colour'",
        "models.fixed:34: port 8999 in cmd was replaced",
        "cmdStop does not carry over",
        "groups.forever:47: swap does not carry over",
        "apiKey is not copied: put it into the environment variable LAN_API_KEY",
    ):
        assert line in told, (line, told)


def test_no_secret_of_the_file_is_in_anything_that_comes_out(tmp_path: Path):
    report = read(tmp_path, FULL, OR_KEY="sk-canary-four")
    everything = repr(report) + said(report) + repr([one.commands() for one in report.proposals])
    assert "canary" not in everything


def test_its_commands_are_those_that_the_provider_starts(tmp_path: Path):
    (one, *_) = read(tmp_path, FULL).proposals
    assert expand(one.location, "4711")[:4] == ["/bin/echo", "llama-server", "--port", "4711"]


WRONG = [
    ("models: [a, b]\n", "models must be a mapping, not a list"),
    ("models:\n  a: text\n", "models.a:2: must be a mapping, not text"),
    ("models:\n  a: {}\n", "has no cmd"),
    ("models:\n  a: {cmd: [x]}\n", "models.a:2: cmd must be text, not a list"),
    ("models:\n  a: {cmd: 'x ${PORT} ${nope}'}\n", "the macro ${nope} is not defined"),
    ("macros: {a: '${b}', b: '${a}'}\nmodels:\n  m: {cmd: 'x ${PORT} ${a}'}\n", "hold each other without end"),
    ("macros: {a: '${a}${a}'}\nmodels:\n  m: {cmd: 'x ${PORT} ${a}'}\n", "hold each other without end"),
    ("models:\n  a: {cmd: 'x ${PORT} ${env.NOPE}'}\n", "environment variable NOPE is not set"),
    ("models:\n  a: {cmd: 'x ${PORT} ${env.API_TOKEN}'}\n", "looks like a secret"),
    ("models:\n  a: {cmd: 'x --port 1'}\n", "its port is fixed in cmd"),
    ('models:\n  a: {cmd: "x \'${PORT}"}\n', "cannot be split into words"),
    ("models:\n  a: {cmd: '# nothing'}\n", "cmd is empty"),
    ("models:\n  a: {cmd: 'x ${PORT}', ttl: soon}\n", "ttl must be a number, not text"),
    ("models:\n  a: {cmd: 'x ${PORT}', aliases: {b: c}}\n", "aliases must be a list, not a mapping"),
    ("models:\n  a: {cmd: 'x ${PORT}', aliases: [1]}\n", "aliases must hold texts"),
    ("models:\n  a: {cmd: 'x ${PORT}'}\nmodles: 1\n", "unknown field 'modles'; did you mean 'models'?"),
    (
        "models:\n  a: {cmd: 'x ${PORT}'}\npeers:\n  p: {proxy: 'file:///etc', models: [m]}\n",
        "no proxy that is an http",
    ),
    ("models:\n  a: {cmd: 'x ${PORT}'}\nhooks: {on_startup: {preload: [zz]}}\n", "names the model 'zz'"),
]


@pytest.mark.parametrize(("text", "why"), WRONG, ids=[why for _, why in WRONG])
def test_each_mistake_is_said_and_the_rest_goes_on(tmp_path: Path, text: str, why: str):
    assert why in said(read(tmp_path, text, API_TOKEN="x"))


def test_a_file_that_is_no_yaml_names_its_line(tmp_path: Path):
    with pytest.raises(InvalidRequest, match=r"config.yaml:2"):
        read(tmp_path, "models:\n\ta: 1\n")

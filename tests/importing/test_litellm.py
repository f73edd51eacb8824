"""LiteLLM's configuration: deployments, keys by name only, aliases, fallbacks, prices, and files that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from podium.config import load
from podium.importing import Report
from podium.importing.litellm import read_litellm

pytestmark = pytest.mark.requirement("REG-7")
FULL = """model_list:
  - model_name: gpt-4o
    litellm_params:
      model: azure/gpt-4o-eu
      api_base: https://x.openai.azure.com
      api_key: os.environ/AZURE_KEY
  - model_name: local
    litellm_params:
      model: hosted_vllm/Qwen/Qwen2
      api_base: http://127.0.0.1:8000/v1/
      api_key: sk-canary
      rpm: 10
  - model_name: local
    litellm_params: {model: ollama_chat/gemma3:1b, api_base: "http://127.0.0.1:11434"}
  - model_name: best
    litellm_params:
      model: openai/gpt-4.1
      api_key: os.environ/OPENAI_API_KEY
      input_cost_per_token: 0.000002
      output_cost_per_token: 8e-6
    model_info: {mode: chat, id: x}
  - model_name: fast
    litellm_params: {model: groq/llama-3.3-70b}
  - model_name: from-env
    litellm_params: {model: openai/x, api_base: os.environ/BASE, api_key: none}
  - model_name: "*"
    litellm_params: {model: "openai/*"}
router_settings:
  fallbacks: [{"local": ["best", "nowhere"]}, {"gpt-4o": ["local"]}]
  model_group_alias: {"gpt-4": "best", "x": {"model": "fast", "hidden": true}, "lost": "gpt-4o"}
  routing_strategy: simple-shuffle
litellm_settings:
  fallbacks: [{"best": ["fast"]}]
  drop_params: true
general_settings: {master_key: sk-canary}
environment_variables: {SOME: canary}
"""


def read(tmp_path: Path, text: str, **environ: str) -> Report:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return read_litellm(path, environ)


def said(report: Report) -> str:
    return "\n".join(f"{note.where}:{note.line}: {note.said}" for note in report.notes)


def test_a_whole_configuration_comes_out_as_commands(tmp_path: Path):
    report = read(tmp_path, FULL, BASE="http://10.0.0.1:9/v1")
    local, second, best, fast, env = report.proposals
    assert local.commands() == (
        "podium models add local --url http://127.0.0.1:8000/v1 --remote Qwen/Qwen2 --set api_key_env=LOCAL_API_KEY",
    )
    assert second.commands() == (
        "podium models add local --ollama gemma3:1b --set host=http://127.0.0.1:11434 --version 2",
    )
    assert best.settings == {"remote": "gpt-4.1", "api_key_env": "OPENAI_API_KEY"}
    assert best.aliases == ("gpt-4",)
    assert (fast.location, fast.settings["api_key_env"], fast.aliases) == (
        "https://api.groq.com/openai/v1", "GROQ_API_KEY", ("x",),
    )  # fmt: skip
    assert (env.location, dict(env.settings)) == ("http://10.0.0.1:9/v1", {"remote": "x"})
    told = said(report)
    for line in (
        "model_list[0] gpt-4o:4: azure/… does not carry over",
        "model_list[1] local:11: api_key is not copied",
        "rpm does not carry over",
        "2 deployments share the name local",
        "wildcards do not carry over",
        "the fallback 'nowhere' of local is not imported",
        "the alias lost is of 'gpt-4o', which is not imported",
        "routing_strategy does not carry over",
        "general_settings does not carry over",
        "a hosted service: it stays off until",
    ):
        assert line in told, (line, told)
    assert "canary" not in repr(report)


def test_what_belongs_into_the_configuration_is_valid_there(tmp_path: Path):
    report = read(tmp_path, FULL)
    config = tmp_path / "podium.toml"
    config.write_text("\n".join(report.config))
    made = load(config, home=tmp_path, environ={})
    assert made.fallbacks == {"local": ("best",), "best": ("fast",)}
    assert made.prices["gpt-4.1"].input == pytest.approx(2.0)
    assert made.prices["gpt-4.1"].output == pytest.approx(8.0)


WRONG = [
    ("a: 1\n", "model_list must be a list"),
    ("model_list: {}\n", "model_list must be a list"),
    ("model_list: [text]\n", "must be a mapping, not text"),
    ("model_list: [{model_name: a}]\n", "needs model_name and litellm_params.model"),
    ("model_list: [{model_name: a, litellm_params: [x]}]\n", "must be a mapping, not a list"),
    ("model_list: [{model_name: a, litellm_params: {model: x/y, api_base: 5}}]\n", "api_base must be an http or https URL"),
    ("model_list: [{model_name: a, litellm_params: {model: openai/y, api_base: os.environ/NO}}]\n", "NO, which is not set"),
    ("model_list: [{model_name: a, litellm_params: {model: bedrock/y}}]\n", "bedrock/… does not carry over"),
    ("model_list: [{model_name: a, litellm_params: {modle: y}}]\n", "unknown field 'modle'; did you mean 'model'?"),
    ("model_list: [{model_name: a, litellm_params: {model: y, api_base: 'http://h'}}]\nrouter: {}\n", "unknown field 'router'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "why"), WRONG, ids=[why for _, why in WRONG])
def test_each_mistake_is_said(tmp_path: Path, text: str, why: str):
    report = read(tmp_path, text)
    assert why in said(report), said(report)

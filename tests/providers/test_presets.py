"""Known engines are started with the flags their documentation has, and split over GPUs as declared.

The engines are stand-ins of their names: each takes its documented flags and no others, notes them, and serves a script.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from provider_calls import chat, said, version_of

from podium.domain.model import Source
from podium.errors import InvalidRequest, LoadFailed
from podium.providers.catalogue import ProviderContext
from podium.providers.command import CommandProvider
from podium.providers.presets import engines
from podium.transport.addresses import Reach

pytestmark = pytest.mark.requirement("PRV-3", "PRV-9")
FLAGS = {
    "llama-server": "--host --port --alias --jinja! --model --hf-repo --ctx-size --parallel --n-gpu-layers --split-mode "
    "--tensor-split",
    "vllm": "command* model* --host --port --served-model-name --max-model-len --max-num-seqs --tensor-parallel-size "
    "--pipeline-parallel-size --data-parallel-size --distributed-executor-backend --enable-auto-tool-choice! "
    "--tool-call-parser --gpu-memory-utilization",
    "sglang": "--model-path --host --port --served-model-name --context-length --max-running-requests --tp-size "
    "--pp-size --dp-size --nnodes --node-rank --dist-init-addr --tool-call-parser",
    "mlx_lm.server": "--model --host --port --decode-concurrency",
    "transformers": "command* model* --host --port --continuous-batching!",
}
STAND_IN = """
import argparse, json, os, sys
parser = argparse.ArgumentParser(allow_abbrev=False)
for flag in {flags!r}.split():
    parser.add_argument(flag.rstrip("*!"), **({{"action": "store_true"}} if flag.endswith("!") else {{}}))
given = {{key: value for key, value in vars(parser.parse_args()).items() if value not in (None, False)}}
noted = {{"HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE"), **given}}
open({noted!r}, "w").write(json.dumps(noted))
os.execv({python!r}, [{python!r}, "-m", "podium.providers.scripted_server", {script!r}, "--port", given["port"]])
"""


@pytest.fixture
def noted(tmp_path):
    return tmp_path / "noted.json"


@pytest.fixture
def environ(tmp_path, script, noted):
    """A PATH on which every engine is a stand-in, and a PYTHONPATH with ``sglang``."""
    programs, modules = tmp_path / "bin", tmp_path / "modules" / "sglang"
    programs.mkdir()
    modules.mkdir(parents=True)
    (modules / "__init__.py").touch()
    for name, flags in FLAGS.items():
        code = STAND_IN.format(flags=flags, noted=str(noted), python=sys.executable, script=str(script(text="served")))
        if name == "sglang":
            (modules / "launch_server.py").write_text(code)
            continue
        (programs / name).write_text(f"#!{sys.executable}\n{code}")
        (programs / name).chmod(0o755)
    (programs / "python3").symlink_to(sys.executable)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(tmp_path / "modules")}


@pytest.fixture
async def start(home, environ, noted):
    """``await start(preset, …settings)``: (answer, what the engine was started with)."""
    loaded = []

    async def run(preset, *, offline=False, **settings):
        provider = CommandProvider(ProviderContext(home=home, environ=environ, reach=Reach(offline=offline)))
        source = Source(provider="command", location=f"preset:{preset}", settings=settings)
        version = version_of(source, await provider.inspect(source))
        instance = await provider.load(version, f"i{len(loaded)}")
        loaded.append(instance)
        answer = said(await (await instance.send(chat(instance.model))).read())
        return instance, answer, json.loads(noted.read_text()), version

    yield run
    for each in loaded:
        await each.unload()


@pytest.mark.parametrize("preset", engines())
async def test_every_preset_starts_its_engine_on_our_port_with_flags_it_knows(start, preset):
    instance, answer, given, version = await start(preset, remote="org/model", context=2048, concurrency=8)
    assert answer == "served"
    assert given["host"] == "127.0.0.1"
    assert "org/model" in {given.get(name) for name in ("model", "hf_repo", "model_path", "force_model")}
    name = {"mlx": "default_model", "transformers": "org/model"}.get(preset, "m@1")
    assert instance.model == name
    assert given.get("served_model_name", given.get("alias", name)) == name
    assert (instance.concurrency, instance.adaptive) == (8, False)
    limit = {
        "llama-server": ("ctx_size", "16384"),
        "vllm": ("max_model_len", "2048"),
        "sglang": ("context_length", "2048"),
    }
    if preset in limit:
        assert given[limit[preset][0]] == limit[preset][1]
    assert version.facts.capabilities >= {"chat"}
    assert given["HF_HUB_OFFLINE"] is None


GPUS = {"count": 4, "vram_mb": 24_564, "type": "NVIDIA GeForce RTX 4090"}
CASES = [
    ("vllm", {"strategy": "throughput"}, {"data_parallel_size": "4"}),
    ("vllm", {"strategy": "latency"}, {"tensor_parallel_size": "4"}),
    ("vllm", {"strategy": "balanced"}, {"tensor_parallel_size": "2", "data_parallel_size": "2"}),
    ("sglang", {"strategy": "latency"}, {"tp_size": "4"}),
    ("sglang", {"strategy": "balanced"}, {"tp_size": "2", "dp_size": "2"}),
    ("llama-server", {"strategy": "latency"}, {"split_mode": "row", "tensor_split": "1,1,1,1", "n_gpu_layers": "999"}),
    ("llama-server", {"strategy": "throughput"}, {"n_gpu_layers": "999"}),
    (
        "vllm",
        {"gpus": {**GPUS, "nodes": 2}, "weights_mb": 134_570},
        {"tensor_parallel_size": "4", "pipeline_parallel_size": "2", "distributed_executor_backend": "ray"},
    ),
    (
        "sglang",
        {"gpus": {**GPUS, "nodes": 2, "address": "10.0.0.1:5000"}, "weights_mb": 134_570},
        {"tp_size": "4", "pp_size": "2", "nnodes": "2", "node_rank": "0", "dist_init_addr": "10.0.0.1:5000"},
    ),
    ("llama-server", {"gpus": {**GPUS, "count": 3}, "weights_mb": 45_000}, {"split_mode": "layer"}),
]
SPLIT = {
    "data_parallel_size",
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "tp_size",
    "pp_size",
    "dp_size",
    "nnodes",
}


@pytest.mark.parametrize(("preset", "settings", "expected"), CASES)
async def test_parallel_flags_follow_the_declared_gpus_and_the_strategy(start, preset, settings, expected):
    _, answer, given, version = await start(
        preset, **{"remote": "org/model", "gpus": GPUS, "weights_mb": 15_317, **settings}
    )
    assert answer == "served"
    assert {key: given.get(key) for key in expected} == expected
    assert not (SPLIT & set(given)) - set(expected)
    assert dict(version.facts.evidence)["parallelism"].startswith("tensor ")


async def test_a_model_on_this_machine_tells_its_size_and_its_heads(start, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"num_attention_heads": 6}))
    with (folder / "model-00001-of-00002.safetensors").open("wb") as file:
        file.truncate(14 << 30)  # sparse
    _, _, given, version = await start("vllm", remote=str(folder), gpus=GPUS, strategy="latency")
    assert given["tensor_parallel_size"] == "3"  # 4 does not divide 6 heads
    provider = CommandProvider(ProviderContext(home=Path(), environ={}))
    assert provider.footprint(version) is None  # it lies on GPUs that the pool does not know
    alone = Source(provider="command", location="preset:vllm", settings={"remote": str(folder)})
    assert provider.footprint(version_of(alone, version.facts)) == 14 << 30


async def test_tools_are_offered_by_engines_that_parse_them_and_more_arguments_are_passed_on(start):
    _, _, given, version = await start("vllm", remote="org/model")
    assert "tools" not in version.facts.capabilities
    _, _, given, version = await start(
        "vllm", remote="org/model", tool_parser="hermes", arguments=["--gpu-memory-utilization", "0.5"]
    )
    assert "tools" in version.facts.capabilities
    assert given["enable_auto_tool_choice"]
    assert (given["tool_call_parser"], given["gpu_memory_utilization"]) == ("hermes", "0.5")


@pytest.mark.requirement("OPS-5")
async def test_offline_an_engine_is_told_to_download_nothing(start):
    _, _, given, _ = await start("vllm", remote="org/model", offline=True)
    assert given["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize(
    ("location", "settings", "why"),
    [
        ("preset:vlm", {"remote": "m"}, "there is no preset 'vlm'; did you mean 'vllm'"),
        ("preset:vllm", {}, "name one with --remote"),
        ("preset:vllm", {"remote": "m", "gpus": {"count": 2}}, "vram_mb"),
        ("preset:vllm", {"remote": "m", "strategy": "fast"}, "strategy"),
        (
            "preset:vllm",
            {"remote": "m", "gpus": {"vram_mb": 100}, "weights_mb": 500},
            "weights of 500 MiB need 600 MiB",
        ),
        ("preset:mlx", {"remote": "m", "gpus": GPUS}, "no tensor parallelism"),
        ("preset:mlx", {"remote": "m", "tool_parser": "x"}, "takes no tool_parser"),
        ("preset:sglang", {"remote": "m", "gpus": {**GPUS, "nodes": 2}, "weights_mb": 134_570}, "needs gpus.address"),
        (
            "preset:llama-server",
            {"remote": "m", "gpus": {**GPUS, "nodes": 2}, "weights_mb": 134_570},
            "more than one node",
        ),
        ("llama-server --port ${PORT}", {"gpus": GPUS}, "is for presets"),
    ],
)
async def test_what_an_engine_does_not_do_is_refused_before_anything_is_registered(
    home, environ, location, settings, why
):
    provider = CommandProvider(ProviderContext(home=home, environ=environ))
    with pytest.raises(InvalidRequest, match=why):
        await provider.inspect(Source(provider="command", location=location, settings=settings))


async def test_an_engine_that_is_not_installed_is_named_with_how_to_get_it(home):
    provider = CommandProvider(ProviderContext(home=home, environ={"PATH": "/nowhere"}))
    with pytest.raises(InvalidRequest, match=r"no program 'vllm'.*pip install vllm"):
        await provider.inspect(Source(provider="command", location="preset:vllm", settings={"remote": "m"}))


async def test_a_flag_the_engine_does_not_know_shows_its_own_words(start):
    with pytest.raises(LoadFailed, match="unrecognized arguments: --no-such-flag"):
        await start("vllm", remote="org/model", arguments=["--no-such-flag"])


@pytest.mark.parametrize(("settings", "seconds"), [({}, 1800), ({"ready_timeout_s": 60}, 60)])
async def test_the_pool_is_told_how_long_an_engine_may_take_to_start(home, environ, settings, seconds):
    provider = CommandProvider(ProviderContext(home=home, environ=environ, reach=Reach()))
    source = Source(provider="command", location="preset:vllm", settings={"remote": "org/model", **settings})
    assert provider.ready_within(version_of(source, await provider.inspect(source))) == seconds

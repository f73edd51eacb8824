"""What is read from the folder of a custom artifact, what is refused, and which framework it gets."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path

import pytest
from artifact_files import CONFIG, README, TEMPLATE, WEIGHTS, coreml, llama, onnx, safetensors
from gguf_files import whole
from provider_calls import version_of

from podium import nvml
from podium.domain.model import Source
from podium.errors import InvalidRequest, LoadFailed
from podium.providers import artifact, artifact_memory
from podium.providers.artifact import ArtifactProvider
from podium.providers.artifact_card import card, licence
from podium.providers.artifact_memory import BASE_BYTES

pytestmark = pytest.mark.requirement("PRV-7", "REG-1")


@pytest.fixture
def provider(context):
    return ArtifactProvider(context)


def source(folder: Path, **settings: object) -> Source:
    return Source(provider="artifact", location=str(folder), settings=settings)


async def refused(provider, folder, why, **settings):
    with pytest.raises(InvalidRequest, match=why) as error:
        await provider.inspect(source(folder, **settings))
    return error.value.message


@pytest.mark.requirement("REG-5")
async def test_facts_are_what_the_files_say(provider, tmp_path):
    folder = llama(tmp_path / "mine")
    (folder / "README.md").write_text(README)
    facts = await provider.inspect(source(folder))
    assert facts.architecture == "llama"
    assert facts.parameters == 8 * 64 + 64
    assert facts.quantization == "BF16"
    assert facts.context_length == 8192
    assert facts.size_bytes == len(WEIGHTS)
    assert facts.kv_bytes_per_token == 2 * 2 * 2 * 16 * 2  # keys and values, layers, heads, width, bytes
    assert facts.chat_template == TEMPLATE
    assert facts.licence == "apache-2.0"
    assert facts.capabilities == {"chat", "completion", "logprobs"}
    assert facts.digest.startswith("sha256:")


async def test_what_the_files_do_not_say_is_not_known(provider, tmp_path):
    folder = llama(tmp_path / "mine")
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    (folder / "tokenizer_config.json").unlink()
    facts = await provider.inspect(source(folder))
    assert (facts.architecture, facts.context_length, facts.kv_bytes_per_token, facts.licence) == (None,) * 4
    assert facts.capabilities == {"completion", "logprobs"}  # no template, no chat
    given = await provider.inspect(source(folder, chat_template=TEMPLATE))
    assert "chat" in given.capabilities


@pytest.mark.requirement("REG-2")
async def test_the_digest_changes_with_what_decides_answers_and_with_nothing_else(provider, tmp_path):
    folder = llama(tmp_path / "mine")
    first = (await provider.inspect(source(folder))).digest
    (folder / "README.md").write_text("new words")
    (folder / "training_args.bin").write_bytes(b"\x80\x04.")
    (folder / "trainer_state.json").write_text("{}")
    (folder / "checkpoint-500").mkdir()
    (folder / "checkpoint-500" / "optimizer.pt").write_bytes(b"\x80\x04.")
    assert (await provider.inspect(source(folder))).digest == first
    moved = folder.rename(tmp_path / "elsewhere")
    assert (await provider.inspect(source(moved))).digest == first
    (moved / "generation_config.json").write_text('{"do_sample": true}')
    second = (await provider.inspect(source(moved))).digest
    assert second != first
    changed = bytearray(WEIGHTS)
    changed[-1] = 1
    (moved / "model.safetensors").write_bytes(changed)
    assert (await provider.inspect(source(moved))).digest not in (first, second)


async def test_weights_in_parts_are_all_needed_and_all_looked_into(provider, tmp_path):
    folder = llama(tmp_path / "mine")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"embed": "model-00001-of-00002.safetensors", "head": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    await refused(provider, folder, r"model-00002-of-00002.safetensors is missing")
    (folder / "model-00002-of-00002.safetensors").write_bytes(safetensors({"other": ("BF16", (4,))}))
    await refused(provider, folder, "says that 'head' is in")
    (folder / "model-00002-of-00002.safetensors").write_bytes(safetensors({"head": ("BF16", (4,))}))
    assert (await provider.inspect(source(folder))).parameters == 8 * 64 + 64 + 4


@pytest.mark.parametrize(
    ("gone", "why"),
    [
        ("config.json", "config.json is missing"),
        ("model.safetensors", "holds no model"),
        (("tokenizer.json", "tokenizer_config.json"), "has no tokenizer"),
    ],
)
async def test_a_missing_file_is_named(provider, tmp_path, gone, why):
    folder = llama(tmp_path / "mine")
    for name in (gone,) if isinstance(gone, str) else gone:
        (folder / name).unlink()
    await refused(provider, folder, why)


async def test_a_link_out_of_the_folder_a_pipe_and_a_dead_link_are_refused(provider, tmp_path):
    folder = llama(tmp_path / "mine")
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    (folder / "extra.json").symlink_to(secret)
    assert "cp -rL" in await refused(provider, folder, "extra.json is a link out of the folder")
    (folder / "extra.json").unlink()
    (folder / "sub").symlink_to(tmp_path)
    await refused(provider, folder, "sub is a link out of the folder")
    (folder / "sub").unlink()
    (folder / "dead.json").symlink_to(folder / "nothing.json")
    await refused(provider, folder, "which is not there")
    (folder / "dead.json").unlink()
    os.mkfifo(folder / "pipe.json")
    await refused(provider, folder, "neither a file nor a folder")
    (folder / "pipe.json").unlink()
    (folder / "config.json").rename(folder / "real.json")
    (folder / "config.json").symlink_to("real.json")
    assert (await provider.inspect(source(folder))).architecture == "llama"  # inside is fine


async def test_the_snapshot_of_a_hugging_face_cache_may_link_to_its_blobs_alone(provider, tmp_path):
    repository = tmp_path / "models--me--mine"
    folder = llama(repository / "snapshots" / "abc")
    blobs = repository / "blobs"
    blobs.mkdir()
    (folder / "model.safetensors").rename(blobs / "123")
    (folder / "model.safetensors").symlink_to("../../blobs/123")
    assert (await provider.inspect(source(folder))).parameters == 576
    (repository / "refs").write_text("abc")
    (folder / "notes.txt").symlink_to("../../refs")
    await refused(provider, folder, "notes.txt is a link out of the folder")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "epoch=3.ckpt", "weights.pkl"])
async def test_pickles_are_refused_with_the_reason_unless_they_are_allowed(provider, tmp_path, name):
    folder = llama(tmp_path / "mine")
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"cposix\nsystem\n(S'touch /tmp/owned'\ntR.")
    message = await refused(provider, folder, "may run any code of whoever made it")
    assert name in message
    assert "--allow-pickle" in message
    facts = await provider.inspect(source(folder, allow_pickle=True))
    assert facts.parameters is None  # it was not opened to count them
    assert facts.size_bytes == (folder / name).stat().st_size


async def test_a_safe_checkpoint_with_what_training_left_beside_it_is_fine(provider, tmp_path):
    folder = llama(tmp_path / "mine")
    (folder / "training_args.bin").write_bytes(b"\x80\x04.")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    assert (await provider.inspect(source(folder))).parameters == 576


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification"),
        ({"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True}, "T5ForConditionalGeneration"),
        ({"architectures": []}, "architecture of nothing"),
    ],
)
async def test_what_is_no_language_model_is_refused_by_its_name(provider, tmp_path, config, why):
    await refused(provider, llama(tmp_path / "mine", **config), why)


async def test_an_adapter_is_refused_with_what_to_do(provider, tmp_path):
    folder = llama(tmp_path / "mine")
    (folder / "adapter_config.json").write_text("{}")
    await refused(provider, folder, "merge_and_unload")


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b'{"a":' * 100_000])
async def test_a_broken_config_is_refused(provider, tmp_path, content):
    folder = llama(tmp_path / "mine")
    (folder / "config.json").write_bytes(content)
    await refused(provider, folder, "config.json")


async def test_an_encoder_is_an_embedding_model(provider, tmp_path):
    shape = {"architectures": ["BertModel"], "model_type": "bert", "max_position_embeddings": 512}
    folder = llama(tmp_path / "mine", **shape)
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 256}')
    facts = await provider.inspect(source(folder))
    assert facts.capabilities == {"embedding"}
    assert facts.context_length == 256
    assert facts.kv_bytes_per_token is None


async def test_quantized_weights_count_no_parameters(provider, tmp_path):
    folder = llama(tmp_path / "mine", quantization_config={"quant_method": "gptq", "bits": 4})
    (folder / "model.safetensors").write_bytes(safetensors({"q": ("I32", (64, 8)), "s": ("F16", (64,))}))
    facts = await provider.inspect(source(folder))
    assert (facts.quantization, facts.parameters) == ("gptq-4bit", None)


async def test_onnx_is_described_by_its_genai_config(provider, tmp_path):
    facts = await provider.inspect(source(onnx(tmp_path / "mine")))
    assert (facts.architecture, facts.context_length, facts.size_bytes) == ("llama", 2048, 1005)
    assert facts.kv_bytes_per_token == 2 * 2 * 2 * 16 * 4
    assert facts.capabilities == {"chat", "completion"}
    (tmp_path / "mine" / "model.onnx").unlink()
    await refused(provider, tmp_path / "mine", "model.onnx is missing")


async def test_a_library_that_an_onnx_model_brings_is_not_loaded_unless_it_is_allowed(provider, tmp_path):
    folder = onnx(tmp_path / "mine")
    config = json.loads((folder / "genai_config.json").read_text())
    config["model"]["decoder"]["session_options"] = {"custom_ops_library": "evil.so"}
    (folder / "genai_config.json").write_text(json.dumps(config))
    await refused(provider, folder, "custom_ops_library")
    assert (await provider.inspect(source(folder, trust_remote_code=True))).context_length == 2048


async def test_an_onnx_graph_outside_of_the_folder_is_not_found(provider, tmp_path):
    folder = onnx(tmp_path / "mine")
    (tmp_path / "outside.onnx").write_bytes(b"graph")
    config = json.loads((folder / "genai_config.json").read_text())
    config["model"]["decoder"]["filename"] = "../outside.onnx"
    (folder / "genai_config.json").write_text(json.dumps(config))
    await refused(provider, folder, r"\.\./outside.onnx is missing")


async def test_a_gguf_file_in_a_folder_goes_to_llama_cpp(provider, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "tiny.gguf").write_bytes(whole())
    facts = await provider.inspect(source(folder, context=128))
    assert (facts.architecture, facts.licence) == ("llama", "mit")
    made = version_of(source(folder, context=128), facts)
    assert provider.context_length(made) == 128
    assert provider.footprint(made) > facts.size_bytes
    assert provider.devices(made) == ("ram",)
    (folder / "second.gguf").write_bytes(whole())
    await refused(provider, folder, "must hold one .gguf file")


async def test_a_folder_with_two_kinds_wants_to_be_told_which(provider, tmp_path):
    folder = llama(onnx(tmp_path / "mine"))
    await refused(provider, folder, "onnx and pytorch; say which with --framework")
    assert (await provider.inspect(source(folder, framework="onnx"))).context_length == 2048
    assert (await provider.inspect(source(folder, framework="pytorch"))).context_length == 8192
    await refused(provider, folder, "framework", framework="tensorflow")


async def test_no_folder_and_no_model_are_told_apart(provider, tmp_path):
    await refused(provider, tmp_path / "nowhere", "is no folder")
    await refused(provider, tmp_path, "holds no model")


@pytest.mark.skipif((sys.platform, platform.machine()) == ("darwin", "arm64"), reason="it runs here")
async def test_what_only_apple_silicon_runs_is_refused_on_other_machines(provider, tmp_path):
    await refused(provider, coreml(tmp_path / "coreml"), "coreml runs on Apple silicon only; this is")


async def test_on_apple_silicon_it_is_read_like_the_others(provider, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    facts = await provider.inspect(source(coreml(tmp_path / "coreml")))
    assert (facts.architecture, facts.size_bytes, facts.context_length) == ("llama", 500, 8192)


async def test_weights_that_mlx_saved_are_read_on_every_machine(provider, tmp_path):
    folder = llama(tmp_path / "mlx", quantization={"bits": 4, "group_size": 64})
    (folder / "model.safetensors").write_bytes(safetensors({"w": ("F16", (4,))}, {"format": "mlx"}))
    assert (await provider.inspect(source(folder))).quantization == "4bit"


async def test_settings_that_cannot_work_are_refused_when_registering(provider, tmp_path):
    folder = llama(tmp_path / "mine")
    await refused(provider, folder, "more than the 8192 tokens", context=9000)
    await refused(provider, folder, "no interpreter", python="/nowhere/python")
    await refused(provider, folder, "give the whole path", python="python3")
    await refused(provider, folder, "did you mean 'context'", contxt=1)
    await refused(provider, folder, "device", device="tpu")


async def test_a_framework_that_is_not_installed_names_the_command_that_installs_it(provider, tmp_path, monkeypatch):
    monkeypatch.setattr(artifact.importlib.util, "find_spec", lambda name: None)
    for folder, extra in ((llama(tmp_path / "a"), "pytorch"), (onnx(tmp_path / "b"), "onnx")):
        made = version_of(source(folder), await provider.inspect(source(folder)))
        with pytest.raises(LoadFailed, match=rf"pip install 'podium\[{extra}\]'"):
            await provider.load(made, "one")


async def test_files_that_changed_since_they_were_registered_are_not_loaded(provider, tmp_path):
    folder = llama(tmp_path / "mine")
    made = version_of(source(folder), await provider.inspect(source(folder)))
    (folder / "config.json").write_text(json.dumps({**CONFIG, "rope_theta": 1}))
    with pytest.raises(LoadFailed, match="not those of m@1 any more; register them as a new version"):
        await provider.load(made, "one")
    (folder / "config.json").unlink()
    with pytest.raises(LoadFailed, match=r"config.json is missing"):
        await provider.load(made, "one")


async def test_the_estimate_follows_number_format_context_and_processor(provider, tmp_path, monkeypatch):
    folder = llama(tmp_path / "mine")
    facts = await provider.inspect(source(folder))

    def extra(**settings):
        return provider.footprint(version_of(source(folder, **settings), facts)) - BASE_BYTES["pytorch"]

    stored = len(WEIGHTS) + facts.kv_bytes_per_token * 1000
    assert extra(context=1000, dtype="bfloat16") == stored
    assert extra(context=1000, dtype="float32") == 2 * stored
    for flags, times in (("fpu avx2 avx512f", 2), ("fpu avx512_bf16 avx512f", 1), ("avx_vnni_bf16x", 2)):
        artifact_memory._has_bf16.cache_clear()
        cpuinfo = tmp_path / "cpuinfo"
        cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
        monkeypatch.setattr(artifact_memory, "_CPUINFO", cpuinfo)
        assert extra(context=1000) == times * stored, flags
    artifact_memory._has_bf16.cache_clear()
    assert extra() == extra(context=4096)


class Cards:
    """NVML with two GPUs, the second one larger."""

    devices = tuple(
        nvml.Device(id=f"cuda:{n}", uuid="", total_bytes=size, handle=None) for n, size in ((0, 8 << 30), (1, 24 << 30))
    )


async def test_gpus_come_first_where_the_framework_is_built_for_them(provider, tmp_path, monkeypatch):
    monkeypatch.setattr(artifact.nvml, "opened", Cards)
    environment = tmp_path / "venv"
    python = environment / "bin" / "python"
    torch = environment / "lib" / "python3.12" / "site-packages" / "torch"
    torch.mkdir(parents=True)
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    folder = llama(tmp_path / "mine")

    async def devices(**settings):
        made = source(folder, python=str(python), **settings)
        return provider.devices(version_of(made, await provider.inspect(made)))

    (torch / "version.py").write_text("__version__ = '2.9.0'\ncuda: Optional[str] = '12.8'\n")
    assert await devices() == ("cuda:1", "cuda:0", "ram")
    assert await devices(device="gpu") == ("cuda:1", "cuda:0")
    assert await devices(device="cuda:0") == ("cuda:0",)
    assert await devices(device="ram") == ("ram",)
    (torch / "version.py").write_text("__version__ = '2.9.0+cpu'\ncuda: Optional[str] = None\n")
    assert await devices() == ("ram",)


@pytest.mark.parametrize(
    ("readme", "found"),
    [
        ("", None),
        ("# no front matter\nlicense: mit\n", None),
        ("---\nlicense: mit\n", None),  # it never ends
        ("---\nlicense: mit\n---\n", "mit"),
        ("---\nlicense: other\nlicense_name: my-own\n---\n", "my-own"),
        ("---\nlicense: [mit, other]\n---\n", None),
        ("---\n  license: mit\n---\n", None),  # of something inside
        ("\ufeff---\r\nlicense: 'mit'\r\n---\r\n", "mit"),
    ],
)
def test_the_licence_is_read_from_the_front_matter(readme, found):
    assert licence(readme) == found


def test_other_front_matter_is_left_alone():
    assert card("---\ntags:\n- version: 3\nversion: '1.2'\n---\n") == {"version": "1.2"}

"""How each framework is told what a request asks for. The frameworks themselves run in the slow tests, or on Macs."""

from __future__ import annotations

import math
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from podium.providers.artifact_worker import coreml, mlx, pytorch_loading
from podium.providers.artifact_worker.backend import CannotLoad, Refused, Sampling, Token
from podium.providers.artifact_worker.onnx import search_options
from podium.providers.artifact_worker.pytorch import saved_by
from podium.providers.artifact_worker.pytorch_embedding import Pooling, pooling_of
from podium.providers.artifact_worker.sampling import Sampler
from podium.providers.artifact_worker.text import Text

pytestmark = pytest.mark.requirement("PRV-7")
ORDER: dict[str, Any] = {
    "path": "/m",
    "package": "/m/M.mlpackage",
    "python": "py",
    "install": "pip install it",
    "context": 32,
    "device": "auto",
    "dtype": "auto",
    "cpu_dtype": "float32",
    "chat_template": None,
    "trust_remote_code": False,
    "threads": 1,
}


def test_onnx_searches_greedily_at_temperature_zero_and_as_its_config_says_otherwise():
    assert search_options(Sampling(temperature=0.0, top_k=5), {"do_sample": True}, 20) == {
        "max_length": 20,
        "num_beams": 1,
        "num_return_sequences": 1,
        "do_sample": False,
    }
    made = search_options(Sampling(top_p=0.5, top_k=7, seed=-1, repetition_penalty=1.2), {"do_sample": True}, 20)
    assert made["do_sample"]
    assert "temperature" not in made
    assert (made["top_p"], made["top_k"], made["repetition_penalty"], made["random_seed"]) == (0.5, 7, 1.2, 0x7FFFFFFF)
    assert search_options(Sampling(temperature=0.3), {}, 9)["temperature"] == 0.3


def test_mlx_is_told_with_zero_that_a_filter_is_off():
    assert mlx.sampler_arguments(Sampling()) == {"temp": 0.0, "top_p": 0.0, "min_p": 0.0, "top_k": 0}
    how = Sampling(temperature=0.7, top_p=1.0, min_p=0.1, top_k=40)
    assert mlx.sampler_arguments(how) == {"temp": 0.7, "top_p": 0.0, "min_p": 0.1, "top_k": 40}
    assert mlx.penalties(Sampling(presence_penalty=0.5), 99) == {"presence_penalty": 0.5, "presence_context_size": 99}
    assert mlx.penalties(Sampling(), 99) == {}


class Tokenizer:
    """What the backends use of a tokenizer."""

    eos_token_ids = (7,)
    eos_token_id = 7
    chat_template: str | None = "given"

    def encode(self, text: str) -> list[int]:
        return [ord(each) for each in text]

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [*([1] if add_special_tokens else []), *self.encode(text)]}

    def decode(self, tokens: list[int], **_: Any) -> str:
        return "".join(map(chr, tokens))

    def apply_chat_template(self, messages: list[dict[str, str]], **told: Any) -> Any:
        text = "".join(each["content"] for each in messages)
        return self.encode(text) if told["tokenize"] else text


def module(monkeypatch, name: str, **members: Any) -> ModuleType:
    made = ModuleType(name)
    for key, value in members.items():
        setattr(made, key, value)
    monkeypatch.setitem(sys.modules, name, made)
    return made


def test_mlx_generates_through_mlx_lm_and_stops_when_told(monkeypatch):
    told: dict[str, Any] = {}
    closed = []

    def stream_generate(model, tokenizer, **arguments):
        told.update(arguments)
        try:
            for token in (5, 6, 7):
                yield SimpleNamespace(token=token, logprobs=np.log(np.full(8, 1 / 8)))
        finally:
            closed.append(True)

    seeds: list[int] = []
    core = module(
        monkeypatch,
        "mlx.core",
        random=SimpleNamespace(seed=seeds.append),
        argsort=np.argsort,
        default_device=lambda: "Device(gpu, 0)",
        get_active_memory=lambda: 123,
    )
    module(monkeypatch, "mlx", core=core)
    utils = module(
        monkeypatch,
        "mlx_lm.sample_utils",
        make_sampler=lambda **given: ("sampler", given),
        make_logits_processors=lambda **given: ("processors", given),
    )
    loaded: list[Any] = []

    def load(path, tokenizer_config):
        loaded.append((path, tokenizer_config))
        return "model", Tokenizer(), {}

    module(monkeypatch, "mlx_lm", load=load, stream_generate=stream_generate, sample_utils=utils, __version__="9")
    backend = mlx.load(ORDER)
    assert loaded == [("/m", {"trust_remote_code": False})]
    assert backend.stops == {7}
    assert backend.chat([{"role": "user", "content": "ab"}]) == [97, 98]
    got: list[Token] = []

    def take(token: Token) -> bool:
        got.append(token)
        return len(got) < 2

    backend.generate([1, 2], Sampling(seed=5, temperature=0.5, logprobs=1), 10, take)
    assert [each.id for each in got] == [5, 6]
    assert got[0].logprob == pytest.approx(math.log(1 / 8))
    assert len(got[0].top) == 1
    assert closed == [True]
    assert seeds == [5]
    assert told["prompt"] == [1, 2]
    assert told["max_tokens"] == 10
    assert told["sampler"][1]["temp"] == 0.5
    assert backend.facts() == {"framework": "mlx-lm 9", "device": "Device(gpu, 0)", "device_bytes": 123}
    with pytest.raises(Refused):
        backend.embed([[1]])


def test_core_ml_keeps_its_cache_as_state_and_masks_what_comes_after(monkeypatch):
    asked: list[Any] = []

    class Model:
        def __init__(self, package, compute_units):
            asked.append((package, compute_units))

        def make_state(self):
            return "state"

        def predict(self, inputs, state):
            assert state == "state"
            asked.append((inputs["inputIds"].tolist(), inputs["causalMask"].shape))
            logits = np.full((1, inputs["inputIds"].shape[1], 8), -9.0, dtype=np.float16)
            logits[0, -1, 3 + (len(asked) - 2)] = 1.0
            return {"logits": logits}

    units = SimpleNamespace(CPU_AND_NE="neural engine", CPU_ONLY="cpu")
    module(
        monkeypatch,
        "coremltools",
        ComputeUnit=units,
        models=SimpleNamespace(MLModel=Model, CompiledMLModel=Model),
        __version__="8",
    )
    tokenizers = SimpleNamespace(from_pretrained=lambda path, local_files_only: Tokenizer())
    module(monkeypatch, "transformers", AutoTokenizer=tokenizers)
    backend = coreml.load(ORDER)
    assert asked == [("/m/M.mlpackage", "neural engine")]  # the neural engine is the first choice
    got: list[int] = []

    def take(token: Token) -> bool:
        got.append(token.id)
        return True

    backend.generate([9, 9, 9], Sampling(), 3, take)
    assert got == [3, 4, 5]
    assert asked[1:] == [([[9, 9, 9]], (1, 1, 3, 3)), ([[3]], (1, 1, 1, 4)), ([[4]], (1, 1, 1, 5))]
    mask = coreml.causal_mask(np, 2, 4)[0, 0]
    assert mask.tolist() == [[0.0, 0.0, 0.0, -math.inf], [0.0, 0.0, 0.0, 0.0]]
    assert mask.dtype == np.float16


@pytest.mark.parametrize(("name", "package"), [("mlx", "mlx.core"), ("coreml", "coremltools")])
def test_apples_packages_are_named_when_they_are_missing(monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(CannotLoad, match="pip install it"):
        {"mlx": mlx, "coreml": coreml}[name].load(ORDER)


def test_the_sampler_is_greedy_without_heat_and_obeys_its_filters_with_it():
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05]))
    assert Sampler(np, Sampling()).choose(logits).id == 0
    assert Sampler(np, Sampling(temperature=0.0)).choose(logits).id == 0
    with_logprobs = Sampler(np, Sampling(logprobs=2)).choose(logits)
    assert with_logprobs.logprob == pytest.approx(math.log(0.5))
    assert [each for each, _ in with_logprobs.top] == [0, 1]

    def drawn(**how):
        sampler = Sampler(np, Sampling(temperature=1.0, seed=1, **how))
        return {sampler.choose(logits).id for _ in range(300)}

    assert drawn() == {0, 1, 2, 3}
    assert drawn(top_k=2) == {0, 1}
    assert drawn(top_p=0.6) == {0, 1}
    assert drawn(top_p=0.0) == {0}
    assert drawn(min_p=0.2) == {0, 1, 2}
    first, second = (Sampler(np, Sampling(temperature=1.0, seed=3)) for _ in range(2))
    assert [first.choose(logits).id for _ in range(20)] == [second.choose(logits).id for _ in range(20)]


def torch_with(cuda: bool = False, bf16: bool = False, mps: bool = False) -> Any:
    return SimpleNamespace(
        __version__="9",
        device=lambda name: SimpleNamespace(type=name.partition(":")[0], name=name),
        cuda=SimpleNamespace(is_available=lambda: cuda, is_bf16_supported=lambda: bf16),
        xpu=SimpleNamespace(is_available=lambda: False),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: mps)),
        float32="f32",
        float16="f16",
        bfloat16="bf16",
    )


@pytest.mark.requirement("PRV-8")
@pytest.mark.parametrize(
    ("has", "order", "device", "dtype"),
    [
        ({}, {}, "cpu", "f32"),
        ({}, {"cpu_dtype": "bfloat16"}, "cpu", "bf16"),
        ({}, {"dtype": "float16"}, "cpu", "f16"),
        ({"cuda": True, "bf16": True}, {}, "cuda", "bf16"),
        ({"cuda": True}, {}, "cuda", "f16"),
        ({"cuda": True}, {"device": "cpu"}, "cpu", "f32"),
        ({"cuda": True, "bf16": True}, {"device": "cuda:0", "dtype": "float32"}, "cuda:0", "f32"),
        ({"mps": True}, {}, "mps", "f16"),
    ],
)
def test_pytorch_takes_the_accelerator_that_is_there_with_sixteen_bits(has, order, device, dtype):
    torch = torch_with(**has)
    picked = pytorch_loading.pick_device(torch, {**ORDER, **order})
    assert picked.name == device
    assert pytorch_loading.pick_dtype(torch, {**ORDER, **order}, picked) == dtype


def test_a_device_that_was_ordered_and_is_not_there_is_an_error_and_never_a_slower_one():
    with pytest.raises(CannotLoad, match=r"finds no cuda:0; install a build for it .* or set device=ram"):
        pytorch_loading.pick_device(torch_with(), {**ORDER, "device": "cuda:0"})


def test_a_model_of_another_transformers_says_so(tmp_path):
    config = tmp_path / "config.json"
    for content, told in (
        ('{"transformers_version": "5.1"}', " (it was saved by transformers 5.1)"),
        ('{"transformers_version": "4.57"}', ""),
        ("{}", ""),
        ("[]", ""),
        ("{", ""),
    ):
        config.write_text(content)
        assert saved_by(tmp_path, "4.57") == told
    config.unlink()
    assert saved_by(tmp_path, "4.57") == ""


def test_pooling_is_what_the_folder_says(tmp_path):
    assert pooling_of(tmp_path) == Pooling("mean", normalize=True)
    (tmp_path / "modules.json").write_text('[{"type": "a.Transformer"}, {"type": "a.Pooling", "path": "1_Pooling"}]')
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true, "x": 3}')
    assert pooling_of(tmp_path) == Pooling("cls", normalize=False)
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode_weightedmean_tokens": true}')
    with pytest.raises(CannotLoad, match="pooling_mode_weightedmean_tokens"):
        pooling_of(tmp_path)
    (tmp_path / "modules.json").write_text('[{"type": "a.Transformer"}, {"type": "a.Dense"}]')
    with pytest.raises(CannotLoad, match="Dense"):
        pooling_of(tmp_path)


def test_text_gives_up_on_bytes_that_never_become_a_character():
    text = Text(lambda tokens: bytes(tokens).decode("utf-8", "replace"))
    said = [text.add(each) for each in [0xE6, *b"abc"]]
    assert "".join(said) + text.end() == "\ufffdabc"
    assert said[1] == "\ufffda"  # told as soon as it was clear
    endless = Text(lambda tokens: bytes(tokens).decode("utf-8", "replace"))
    assert "".join(endless.add(0xFF) for _ in range(8)) == "\ufffd" * 8

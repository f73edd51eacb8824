"""Turns the folder of a custom artifact into the facts of a version. Nothing is guessed: what the files do not say stays
``None``. It opens no weights but the heads of safetensors files, and hashes.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from podium.domain.model import Capability, Facts
from podium.providers.artifact_card import card, licence
from podium.providers.artifact_folder import Folder, refuse
from podium.providers.artifact_frameworks import Framework
from podium.providers.artifact_shape import Shape, context_of, shape_of
from podium.providers.artifact_weights import Weights, find_weights, pickle_refusal
from podium.providers.gguf_facts import file_digest

_TOKENIZERS = (
    "tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model",
    "tokenizer_config.json",
)  # fmt: skip
_GENERATES = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
_TRAINING_RESULTS = ("trainer_state.json", "all_results.json", "train_results.json", "eval_results.json")
_DECIDE = (".json", ".jinja", ".model", ".txt", ".tiktoken", ".py")
"""Endings of files that decide what a model answers, besides its weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A folder that was read. ``facts.digest`` is empty until ``with_digest``."""

    folder: Folder
    framework: Framework
    facts: Facts
    weights: Weights
    embedding: bool = False
    search: Mapping[str, Any] = field(default_factory=dict)
    """``search`` of a ``genai_config.json``."""


def read_artifact(
    folder: Folder, framework: Framework, *, allow_pickle: bool, trust_code: bool, embedding: bool | None
) -> Artifact:
    """Raises ``InvalidRequest`` saying what is missing, damaged or not allowed."""
    match framework:
        case Framework.ONNX:
            made = _onnx(folder, trust_code=trust_code)
        case Framework.COREML:
            made = _coreml(folder)
        case _:
            made = _transformers(folder, framework, allow_pickle=allow_pickle, embedding=embedding)
    stated = card(folder.text("README.md"))
    facts = replace(
        made.facts,
        licence=licence(folder.text("README.md")) or made.facts.licence,
        declared_version=stated.get("version"),
    )
    return replace(made, facts=facts)


async def with_digest(artifact: Artifact) -> Artifact:
    """SHA-256 over the names and SHA-256 of the files that decide the answers: weights, and small files at the top but
    for the README and what training leaves. Reads all of them, in a thread; remembered until they change.
    """
    digest = await asyncio.to_thread(_digest, artifact)
    return replace(artifact, facts=replace(artifact.facts, digest=digest))


def _digest(artifact: Artifact) -> str:
    files = artifact.folder.files
    names = {name for name in artifact.weights.files if name in files}
    names |= {name for name in artifact.folder.top(*_DECIDE) if name not in _TRAINING_RESULTS}
    names |= {name for name in files if name.endswith("_Pooling/config.json")}
    lines = [f"{name}\0{file_digest(artifact.folder.root / name)}\n" for name in sorted(names)]
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def _transformers(folder: Folder, framework: Framework, *, allow_pickle: bool, embedding: bool | None) -> Artifact:
    if "adapter_config.json" in folder.files:
        raise refuse(
            f"{folder.root} holds an adapter, not a model; merge it into its base (peft: merge_and_unload, then "
            "save_pretrained) and register that"
        )
    folder.need(["config.json"], "it says what the weights are (save_pretrained writes it)")
    weights = find_weights(folder)
    if weights.pickles and not allow_pickle:
        raise pickle_refusal(weights.pickles)
    if not any(name in folder.files for name in _TOKENIZERS):
        raise refuse(f"{folder.root} has no tokenizer; save the model's there (tokenizer.save_pretrained)")
    config = folder.json("config.json")
    shape = shape_of(config)
    embeds = _embeds(folder, config) if embedding is None else embedding
    if not embeds:
        _check_generates(config)
    template = chat_template(folder)
    quantized = _quantization(config)
    dtype = weights.dtype or _declared_dtype(config)
    facts = Facts(
        digest="",
        architecture=_text(config.get("model_type")),
        parameters=weights.parameters if quantized is None else None,
        quantization=quantized or dtype,
        context_length=context_of(folder, config),
        size_bytes=weights.size_bytes,
        kv_bytes_per_token=None if embeds else shape.kv_bytes_per_token(dtype),
        chat_template=template,
        capabilities=_capabilities(embeds=embeds, chats=template is not None, logprobs=True),
    )
    return Artifact(
        folder=folder,
        framework=framework,
        facts=facts,
        weights=weights,
        embedding=embeds,
    )


def _onnx(folder: Folder, *, trust_code: bool) -> Artifact:
    folder.need(["genai_config.json"], "onnxruntime-genai's model builder writes it")
    config = folder.json("genai_config.json")
    if not trust_code and (named := _libraries(config)):
        raise refuse(
            f"genai_config.json names {named[0]!r}, a library of the model's own, which may do whatever you can; if you "
            "trust it register the model with trust_remote_code=true"
        )
    model = config.get("model")
    decoder = model.get("decoder") if isinstance(model, dict) else None
    if not isinstance(model, dict) or not isinstance(decoder, dict):
        raise refuse("genai_config.json describes no model with a decoder")
    graph = _text(decoder.get("filename")) or "model.onnx"
    folder.need([graph], "genai_config.json names it")
    if "tokenizer.json" not in folder.files and "tokenizer.model" not in folder.files:
        raise refuse(f"{folder.root} has no tokenizer.json; the model builder puts it beside the model")
    weights = Weights(
        files=tuple(name for name in folder.top(".onnx", ".data", ".bin") if name in folder.files),
        size_bytes=sum(folder.files[name] for name in folder.top(".onnx", ".data", ".bin")),
    )
    shape = Shape(
        layers=_count(decoder.get("num_hidden_layers")),
        kv_heads=_count(decoder.get("num_key_value_heads")),
        head_width=_count(decoder.get("head_size")),
    )
    template = chat_template(folder)
    search = config.get("search")
    facts = Facts(
        digest="",
        architecture=_text(model.get("type")),
        context_length=_count(model.get("context_length")),
        size_bytes=weights.size_bytes,
        kv_bytes_per_token=shape.kv_bytes_per_token("F32"),
        chat_template=template,
        capabilities=_capabilities(embeds=False, chats=template is not None, logprobs=False),
    )
    return Artifact(
        folder=folder,
        framework=Framework.ONNX,
        facts=facts,
        weights=weights,
        search=search if isinstance(search, dict) else {},
    )


def _libraries(config: object) -> list[str]:
    """Keys anywhere in a config that name a library to load (``custom_ops_library``)."""
    found, pending = [], [config]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            found += [key for key, item in value.items() if "library" in key and item]
            pending += value.values()
        elif isinstance(value, list):
            pending += value
    return found


def _coreml(folder: Folder) -> Artifact:
    packages = folder.packages()
    if len(packages) != 1:
        raise refuse(f"{folder.root} must hold one .mlpackage or .mlmodelc; it holds {', '.join(packages) or 'none'}")
    folder.need(["tokenizer.json", "config.json"], "put the tokenizer and config.json of the original model there")
    config = folder.json("config.json")
    files = tuple(name for name in folder.files if name.startswith(f"{packages[0]}/"))
    weights = Weights(files=files, size_bytes=sum(folder.files[name] for name in files), package=packages[0])
    template = chat_template(folder)
    facts = Facts(
        digest="",
        architecture=_text(config.get("model_type")),
        context_length=context_of(folder, config),
        size_bytes=weights.size_bytes,
        kv_bytes_per_token=shape_of(config).kv_bytes_per_token("F16"),
        chat_template=template,
        capabilities=_capabilities(embeds=False, chats=template is not None, logprobs=True),
    )
    return Artifact(folder=folder, framework=Framework.COREML, facts=facts, weights=weights)


def chat_template(folder: Folder) -> str | None:
    """The template a tokenizer uses: a file of its own, else the field of its config (the one named ``default``)."""
    if "chat_template.jinja" in folder.files:
        return folder.text("chat_template.jinja") or None
    given = folder.json("tokenizer_config.json").get("chat_template")
    if isinstance(given, list):
        named = {each.get("name"): each.get("template") for each in given if isinstance(each, dict)}
        given = named.get("default")
    return _text(given)


def _embeds(folder: Folder, config: Mapping[str, Any]) -> bool:
    """Encoders are told by sentence-transformers' files, or by an architecture without a head."""
    if "modules.json" in folder.files:
        return True
    named = _architectures(config)
    return bool(named) and all(name.endswith("Model") and not name.endswith(_GENERATES) for name in named)


def _check_generates(config: Mapping[str, Any]) -> None:
    named = _architectures(config)
    if config.get("is_encoder_decoder") is True or not any(name.endswith(_GENERATES) for name in named):
        raise refuse(
            f"config.json names the architecture {', '.join(named) or 'of nothing'}; causal language models "
            "(…ForCausalLM) and encoders for embeddings run here"
        )


def _architectures(config: Mapping[str, Any]) -> tuple[str, ...]:
    given = config.get("architectures")
    return tuple(each for each in given if isinstance(each, str)) if isinstance(given, list) else ()


def _quantization(config: Mapping[str, Any]) -> str | None:
    """``gptq-4bit`` or ``4-bit`` where the config says so: MLX's ``quantization``, transformers' ``quantization_config``."""
    given = config.get("quantization") or config.get("quantization_config")
    if not isinstance(given, dict):
        return None
    method = _text(given.get("quant_method"))
    bits = _count(given.get("bits")) or (4 if given.get("load_in_4bit") else 8 if given.get("load_in_8bit") else None)
    named = f"{bits}bit" if bits else None
    return "-".join(each for each in (method, named) if each) or None


def _declared_dtype(config: Mapping[str, Any]) -> str | None:
    stated = config.get("dtype", config.get("torch_dtype"))
    return {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}.get(stated) if isinstance(stated, str) else None


def _capabilities(*, embeds: bool, chats: bool, logprobs: bool) -> frozenset[str]:
    if embeds:
        return frozenset({Capability.EMBEDDING})
    able = {Capability.COMPLETION}
    able |= {Capability.CHAT} if chats else set()
    able |= {Capability.LOGPROBS} if logprobs else set()
    return frozenset(able)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 40 else None

"""ONNX models through onnxruntime-genai, which brings tokenizer, key-value cache and search with it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .backend import Backend, CannotLoad, Refused, Sampling, Take, Token, required

_KNOWS = frozenset({"top_k", "repetition_penalty", "seed"})


def load(order: Mapping[str, Any]) -> Backend:
    """Raises ``CannotLoad``."""
    try:
        import onnxruntime_genai as genai  # noqa: PLC0415 - only in the worker, and a missing one is told
    except ImportError as error:
        raise required(order, "onnxruntime_genai", error) from error
    folder = Path(order["path"])
    provider = _provider(genai, order)
    try:
        config = genai.Config(str(folder))
        config.clear_providers()
        if provider != "cpu":
            config.append_provider(provider)
            if provider == "cuda":
                config.set_provider_option("cuda", "device_id", "0")  # the one it can see
        threads = {"intra_op_num_threads": order["threads"]}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": threads}}}))
        model = genai.Model(config)
        tokenizer = genai.Tokenizer(model)
    except Exception as error:
        raise CannotLoad(f"onnxruntime-genai {genai.__version__} cannot load it: {error}") from error
    return Onnx(genai, model, tokenizer, order, provider)


def _provider(genai: Any, order: Mapping[str, Any]) -> str:
    """``cuda``, ``dml`` or ``cpu``. Raises ``CannotLoad`` when the ordered one is not in this build."""
    has = {name: getattr(genai, f"is_{name}_available", lambda: False)() for name in ("cuda", "dml")}
    wanted = str(order["device"]).partition(":")[0]
    if wanted == "auto":
        return next((name for name, there in has.items() if there), "cpu")
    if wanted != "cpu" and not has.get(wanted):
        raise CannotLoad(
            f"onnxruntime-genai {genai.__version__} in {order['python']} is built without {wanted}; install "
            f"onnxruntime-genai-{wanted}, or set device=ram"
        )
    return wanted


class Onnx:
    """One model."""

    knows = _KNOWS

    def __init__(self, genai: Any, model: Any, tokenizer: Any, order: Mapping[str, Any], provider: str) -> None:
        self._genai = genai
        self._model = model
        self._tokenizer = tokenizer
        self._template: str | None = order["chat_template"]
        self._chats: bool = order["chats"]
        self._provider = provider
        self._threads = order["threads"]
        self._defaults: dict[str, Any] = order["search"]
        self.context: int = order["context"]
        self.stops = frozenset(int(each) for each in tokenizer.eos_token_ids)

    def encode(self, text: str) -> list[int]:
        return [int(each) for each in self._tokenizer.encode(text)]

    def chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        if not self._chats:
            raise Refused("this model has no chat template; use completions, or set chat_template", "messages")
        more = {"template_str": self._template} if self._template else {}
        text = self._tokenizer.apply_chat_template(json.dumps(list(messages)), add_generation_prompt=True, **more)
        return self.encode(text)

    def decode(self, tokens: Sequence[int]) -> str:
        stream = self._tokenizer.create_stream()  # its decode loses what follows a byte that is no text
        return "".join(stream.decode(token) for token in tokens)

    def generate(self, prompt: Sequence[int], how: Sampling, limit: int, take: Take) -> None:
        params = self._genai.GeneratorParams(self._model)
        params.set_search_options(**search_options(how, self._defaults, len(prompt) + limit))
        generator = self._genai.Generator(self._model, params)
        generator.append_tokens(list(prompt))
        while not generator.is_done():
            generator.generate_next_token()
            if not take(Token(int(generator.get_next_tokens()[0]))):
                return

    def embed(self, inputs: Sequence[Sequence[int]]) -> list[list[float]]:
        raise Refused("onnxruntime-genai models make no embeddings")

    def facts(self) -> dict[str, Any]:
        return {
            "framework": f"onnxruntime-genai {self._genai.__version__}",
            "device": self._provider,
            "device_type": str(self._model.device_type),
            "threads": self._threads,
        }


def search_options(how: Sampling, defaults: Mapping[str, Any], longest: int) -> dict[str, Any]:
    """What onnxruntime-genai calls ``search``; ``defaults`` are those of the model's ``genai_config.json``."""
    made: dict[str, Any] = {"max_length": longest, "num_beams": 1, "num_return_sequences": 1}
    samples = bool(defaults.get("do_sample")) if how.temperature is None else how.temperature > 0
    made["do_sample"] = samples
    if samples:
        if how.temperature is not None:
            made["temperature"] = how.temperature
        if how.top_p is not None:
            made["top_p"] = how.top_p
        if how.top_k is not None:
            made["top_k"] = how.top_k
    if how.repetition_penalty is not None:
        made["repetition_penalty"] = how.repetition_penalty
    if how.seed is not None:
        made["random_seed"] = how.seed & 0x7FFFFFFF
    return made

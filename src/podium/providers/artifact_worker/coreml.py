"""Core ML packages on Apple silicon through coremltools. Not verified: never run on a Mac.

Expects what Apple's article "On Device Llama 3.1 with Core ML" makes: a package whose inputs are ``inputIds``
(int32, 1 by n) and ``causalMask`` (float16, 1 by 1 by n by all tokens so far), whose output is ``logits``, and whose
key-value cache is state (``make_state``). The tokenizer is read by transformers, which needs no torch for that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .backend import Backend, CannotLoad, Refused, Sampling, Take, required
from .sampling import Sampler

UNITS = {"auto": "CPU_AND_NE", "ane": "CPU_AND_NE", "gpu": "CPU_AND_GPU", "all": "ALL", "cpu": "CPU_ONLY"}
"""Devices as they are ordered, and as coremltools names them: the neural engine first."""


def load(order: Mapping[str, Any]) -> Backend:
    """Raises ``CannotLoad``."""
    try:
        import coremltools  # noqa: PLC0415 - only in the worker, and a missing one is told
        import numpy as np  # noqa: PLC0415 - as above
        import transformers  # noqa: PLC0415 - as above
    except ImportError as error:
        raise required(order, "coremltools", error) from error
    try:
        units = getattr(coremltools.ComputeUnit, UNITS[order["device"]])
        made = (
            coremltools.models.CompiledMLModel if order["package"].endswith(".mlmodelc") else coremltools.models.MLModel
        )
        model = made(order["package"], compute_units=units)
        tokenizer = transformers.AutoTokenizer.from_pretrained(order["path"], local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CannotLoad(f"coremltools {coremltools.__version__} cannot load it: {error}") from error
    if order["chat_template"]:
        tokenizer.chat_template = order["chat_template"]
    return CoreMl(np, model, tokenizer, order, coremltools.__version__)


class CoreMl:
    """One package."""

    knows = frozenset({"top_k", "min_p", "seed", "logprobs"})

    def __init__(self, np: Any, model: Any, tokenizer: Any, order: Mapping[str, Any], version: str) -> None:
        self._np = np
        self._model = model
        self._tokenizer = tokenizer
        self._version = version
        self._device = order["device"]
        self.context: int = order["context"]
        self.stops = frozenset({tokenizer.eos_token_id} - {None})

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer(text)["input_ids"])

    def chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        if not self._tokenizer.chat_template:
            raise Refused("this model has no chat template; use completions, or set chat_template", "messages")
        text = self._tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, tokens: Sequence[int]) -> str:
        made: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return made

    def generate(self, prompt: Sequence[int], how: Sampling, limit: int, take: Take) -> None:
        np = self._np
        sampler = Sampler(np, how)
        state = self._model.make_state()
        given, so_far = list(prompt), 0
        for _ in range(limit):
            so_far += len(given)
            out = self._model.predict(
                {"inputIds": np.array([given], dtype=np.int32), "causalMask": causal_mask(np, len(given), so_far)},
                state=state,
            )
            logits = np.asarray(out["logits"], dtype=np.float64)[0, -1]
            token = sampler.choose(logits)
            if not take(token):
                return
            given = [token.id]

    def embed(self, inputs: Sequence[Sequence[int]]) -> list[list[float]]:
        raise Refused("Core ML packages make no embeddings here")

    def facts(self) -> dict[str, Any]:
        return {"framework": f"coremltools {self._version}", "device": UNITS[self._device]}


def causal_mask(np: Any, new: int, total: int) -> Any:
    """(1, 1, new, total) in float16: 0 where a new token may look, minus infinity at those after it."""
    mask = np.triu(np.full((new, total), -np.inf), k=total - new + 1)
    return mask.astype(np.float16)[None, None]

"""Safetensors and PyTorch checkpoints through transformers: causal language models, and encoders as embedding models.

``generate`` of transformers does the decoding, so that what a model's ``generation_config.json`` says holds. Not tried
on an accelerator: a device is only ever used after the framework itself said that it is there.
"""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .backend import Backend, CannotLoad, Refused, Sampling, Take, Token, required
from .pytorch_embedding import Pooling, pooling_of
from .pytorch_loading import load_model, pick_device, pick_dtype

_KNOWS = frozenset(
    {"top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "seed", "logprobs"}
)


def load(order: Mapping[str, Any]) -> Backend:
    """Raises ``CannotLoad``."""
    try:
        import torch  # noqa: PLC0415 - only in the worker, and a missing one is told with the command to install it
        import transformers  # noqa: PLC0415 - as above
    except ImportError as error:
        raise required(order, "torch", error) from error
    torch.set_num_threads(order["threads"])
    device = pick_device(torch, order)
    dtype = pick_dtype(torch, order, device)
    folder = Path(order["path"])
    shared = {"local_files_only": True, "trust_remote_code": order["trust_remote_code"]}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **shared)
        model = load_model(torch, transformers, order, dtype, shared).to(device).eval()
    except pickle.UnpicklingError as error:
        raise CannotLoad(f"the checkpoint holds more than weights, and was not opened further: {error}") from error
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        if "trust_remote_code" in str(error):
            raise CannotLoad(
                "this model brings Python code of its own, which its config.json names in auto_map; read it, and if you "
                "trust it register the model with trust_remote_code=true"
            ) from error
        raise CannotLoad(
            f"transformers {transformers.__version__} cannot load it: {error}{saved_by(folder, transformers.__version__)}"
        ) from error
    if order["chat_template"]:
        tokenizer.chat_template = order["chat_template"]
    return PyTorch(torch, transformers, model, tokenizer, order)


class PyTorch:
    """One model on one device."""

    knows = _KNOWS

    def __init__(self, torch: Any, transformers: Any, model: Any, tokenizer: Any, order: Mapping[str, Any]) -> None:
        self._torch = torch
        self._version = transformers.__version__
        self._transformers = transformers
        self._model = model
        self._tokenizer = tokenizer
        self.context: int = order["context"]
        self._pooling: Pooling | None = pooling_of(Path(order["path"])) if order["embedding"] else None
        self._config = copy.deepcopy(model.generation_config) if self._pooling is None else None
        self.stops = frozenset(self._ends())

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer(text)["input_ids"])

    def chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        if not self._tokenizer.chat_template:
            raise Refused("this model has no chat template; use completions, or set chat_template", "messages")
        text = self._tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, tokens: Sequence[int]) -> str:
        made: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return made

    def generate(self, prompt: Sequence[int], how: Sampling, limit: int, take: Take) -> None:
        torch = self._torch
        if how.seed is None:
            torch.seed()
        else:
            torch.manual_seed(how.seed)
        inputs = torch.tensor([list(prompt)], device=self._model.device)
        watch = _Watch(torch, how, len(prompt), take)
        with torch.inference_mode():
            self._model.generate(
                inputs=inputs,
                attention_mask=torch.ones_like(inputs),
                generation_config=self._configured(how, limit),
                logits_processor=self._transformers.LogitsProcessorList([watch.look]),
                stopping_criteria=self._transformers.StoppingCriteriaList([watch.enough]),
                streamer=watch,
            )

    def embed(self, inputs: Sequence[Sequence[int]]) -> list[list[float]]:
        if self._pooling is None:
            raise Refused("this model makes no embeddings")
        return self._pooling.embed(self._torch, self._model, self._tokenizer, inputs)

    def facts(self) -> dict[str, Any]:
        device = self._model.device
        made = {
            "framework": f"transformers {self._version}, torch {self._torch.__version__}",
            "device": str(device),
            "dtype": str(self._model.dtype).removeprefix("torch."),
            "parameters": sum(each.numel() for each in self._model.parameters()),
            "threads": self._torch.get_num_threads(),
        }
        if device.type == "cuda":
            made["device_name"] = self._torch.cuda.get_device_name(device)
            made["device_bytes"] = self._torch.cuda.memory_allocated(device)
        return made

    def _ends(self) -> list[int]:
        given = self._config.eos_token_id if self._config is not None else None
        given = self._tokenizer.eos_token_id if given is None else given
        return [] if given is None else [given] if isinstance(given, int) else list(given)

    def _configured(self, how: Sampling, limit: int) -> Any:
        made = copy.deepcopy(self._config)
        assert made is not None
        made.max_new_tokens, made.max_length, made.num_beams, made.use_cache = limit, None, 1, True
        made.num_return_sequences = 1
        made.eos_token_id = sorted(self.stops) or None
        if made.pad_token_id is None:
            made.pad_token_id = next(iter(self.stops), 0)
        if how.temperature is not None:
            made.do_sample = how.temperature > 0
            made.temperature = how.temperature or None
        for name in ("top_p", "top_k", "min_p", "repetition_penalty"):
            if (value := getattr(how, name)) is not None:
                setattr(made, name, value)
        if not made.do_sample:
            made.temperature = made.top_p = made.top_k = made.min_p = None
        return made


class _Watch:
    """Looks over the shoulder of ``generate``: hands tokens on, sees the logits, says when it is enough.

    It is the streamer; ``look`` is the logits processor and ``enough`` the stopping criterion.
    """

    def __init__(self, torch: Any, how: Sampling, prompt: int, take: Take) -> None:
        self._torch = torch
        self._how = how
        self._prompt = prompt
        self._take = take
        self._go_on = True
        self._seen_prompt = False
        self._logprobs: Any = None

    def look(self, tokens: Any, scores: Any) -> Any:
        """Remember log-probabilities, then apply OpenAI's penalties to what was generated."""
        if self._how.logprobs is not None:
            self._logprobs = self._torch.log_softmax(scores[0].float(), dim=-1)
        presence, frequency = self._how.presence_penalty or 0.0, self._how.frequency_penalty or 0.0
        if presence or frequency:
            counts = self._torch.bincount(tokens[0, self._prompt :], minlength=scores.shape[-1])[: scores.shape[-1]]
            scores = scores - presence * (counts > 0) - frequency * counts
        return scores

    def enough(self, tokens: Any, scores: Any, **_: Any) -> Any:
        """One truth value per sequence."""
        return self._torch.full((tokens.shape[0],), not self._go_on, dtype=self._torch.bool, device=tokens.device)

    def put(self, value: Any) -> None:
        """The prompt first, then each token."""
        if not self._seen_prompt:
            self._seen_prompt = True
            return
        for token in value.reshape(-1).tolist():
            if self._go_on:
                self._go_on = self._take(self._token(token))

    def end(self) -> None:
        """Called by transformers."""

    def _token(self, token: int) -> Token:
        if self._logprobs is None:
            return Token(token)
        top: list[tuple[int, float]] = []
        if self._how.logprobs:
            values, ids = self._torch.topk(self._logprobs, self._how.logprobs)
            top = list(zip(ids.tolist(), values.tolist(), strict=True))
        return Token(token, float(self._logprobs[token]), top)


def saved_by(folder: Path, here: str) -> str:
    """The version of transformers that saved the model, where it is another one: newer files often need it."""
    try:
        there = json.loads((folder / "config.json").read_text()).get("transformers_version")
    except (OSError, ValueError, AttributeError):
        return ""
    return f" (it was saved by transformers {there})" if isinstance(there, str) and there != here else ""

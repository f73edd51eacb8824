"""Models of MLX through mlx-lm: on Apple silicon by Metal, on Linux on the CPU or by CUDA. Verified on Linux on the CPU alone.

By mlx-lm's documented API: ``load``, ``stream_generate``, ``make_sampler``, ``make_logits_processors``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .backend import Backend, CannotLoad, Refused, Sampling, Take, Token, required

_KNOWS = frozenset(
    {"top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "seed", "logprobs"}
)


def load(order: Mapping[str, Any]) -> Backend:
    """Raises ``CannotLoad``."""
    try:
        import mlx.core as mx  # noqa: PLC0415 - only in the worker, and a missing one is told
        import mlx_lm  # noqa: PLC0415 - as above
        from mlx_lm import sample_utils  # noqa: PLC0415 - as above
    except ImportError as error:
        raise required(order, "mlx_lm", error) from error
    try:
        model, tokenizer = mlx_lm.load(
            order["path"], tokenizer_config={"trust_remote_code": order["trust_remote_code"]}
        )[:2]
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CannotLoad(f"mlx-lm cannot load it: {error}") from error
    return Mlx(mx, mlx_lm, sample_utils, model, tokenizer, order)


class Mlx:
    """One model on the device that MLX chose."""

    knows = _KNOWS

    def __init__(
        self, mx: Any, mlx_lm: Any, sample_utils: Any, model: Any, tokenizer: Any, order: Mapping[str, Any]
    ) -> None:
        self._mx = mx
        self._lm = mlx_lm
        self._utils = sample_utils
        self._model = model
        self._tokenizer = tokenizer
        self._template: str | None = order["chat_template"]
        self.context: int = order["context"]
        self.stops = frozenset(int(each) for each in tokenizer.eos_token_ids)

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text))

    def chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        template = self._template or self._tokenizer.chat_template
        if not template:
            raise Refused("this model has no chat template; use completions, or set chat_template", "messages")
        return list(
            self._tokenizer.apply_chat_template(
                list(messages), chat_template=template, tokenize=True, add_generation_prompt=True, return_dict=False
            )
        )

    def decode(self, tokens: Sequence[int]) -> str:
        made: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return made

    def generate(self, prompt: Sequence[int], how: Sampling, limit: int, take: Take) -> None:
        if how.seed is not None:
            self._mx.random.seed(how.seed & 0xFFFFFFFFFFFFFFFF)
        answers = self._lm.stream_generate(
            self._model,
            self._tokenizer,
            prompt=list(prompt),
            max_tokens=limit,
            sampler=self._utils.make_sampler(**sampler_arguments(how)),
            logits_processors=self._utils.make_logits_processors(**penalties(how, self.context)),
        )
        try:
            for each in answers:
                if not take(self._token(each, how.logprobs)):
                    return
        finally:
            answers.close()

    def embed(self, inputs: Sequence[Sequence[int]]) -> list[list[float]]:
        raise Refused("mlx-lm models make no embeddings")

    def facts(self) -> dict[str, Any]:
        return {
            "framework": f"mlx-lm {self._lm.__version__}",
            "device": str(self._mx.default_device()),
            "device_bytes": int(self._mx.get_active_memory()),
        }

    def _token(self, each: Any, wanted: int | None) -> Token:
        if wanted is None:
            return Token(int(each.token))
        order = self._mx.argsort(-each.logprobs)[:wanted].tolist() if wanted else []
        return Token(
            int(each.token), float(each.logprobs[each.token]), [(int(one), float(each.logprobs[one])) for one in order]
        )


def sampler_arguments(how: Sampling) -> dict[str, Any]:
    """What ``make_sampler`` is told; 0 switches a filter off there. Greedy where no temperature is given, as mlx-lm."""
    return {
        "temp": how.temperature or 0.0,
        "top_p": 0.0 if how.top_p in (None, 1.0) else how.top_p,
        "min_p": how.min_p or 0.0,
        "top_k": how.top_k or 0,
    }


def penalties(how: Sampling, context: int) -> dict[str, Any]:
    """What ``make_logits_processors`` is told. Its default of 20 tokens is not what OpenAI's fields mean."""
    made: dict[str, Any] = {}
    for name in ("repetition", "presence", "frequency"):
        if value := getattr(how, f"{name}_penalty"):
            made[f"{name}_penalty"] = value
            made[f"{name}_context_size"] = context
    return made

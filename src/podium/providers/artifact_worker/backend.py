"""What a framework must do for the worker, and the values that pass between them. No implementation.

A backend is built and used on one thread only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class Refused(Exception):
    """A request this model cannot answer as it was asked; HTTP 400."""

    def __init__(self, message: str, param: str | None = None, code: str = "invalid_value") -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class CannotLoad(Exception):
    """Why this model cannot run here, in words for its owner; the worker prints them and ends."""


@dataclass(frozen=True)
class Sampling:
    """How to choose tokens; ``None`` leaves it to the model's own defaults. ``temperature`` 0 is greedy."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    logprobs: int | None = None
    """How many alternatives to report with each token; ``None``: no log-probabilities at all."""


@dataclass(frozen=True)
class Token:
    """One generated token. ``logprob`` and ``top`` are natural logarithms under the model's own distribution."""

    id: int
    logprob: float | None = None
    top: Sequence[tuple[int, float]] = ()


Take = Callable[[Token], bool]
"""Receives each token as soon as it exists; ``False`` asks to stop."""


class Backend(Protocol):
    """One loaded model."""

    context: int
    """Tokens of prompt and answer together."""
    knows: frozenset[str]
    """Fields of ``Sampling`` besides ``temperature`` and ``top_p`` that it obeys."""
    stops: frozenset[int]
    """Tokens that end an answer."""

    def encode(self, text: str) -> list[int]:
        """Tokens of a plain prompt, with what the tokenizer puts around it."""
        ...

    def chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """Tokens of a conversation by the chat template. Raises ``Refused`` without one."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens, without special ones."""
        ...

    def generate(self, prompt: Sequence[int], how: Sampling, limit: int, take: Take) -> None:
        """Hand up to ``limit`` tokens to ``take``; returns after one of ``stops`` or when told to stop."""
        ...

    def embed(self, inputs: Sequence[Sequence[int]]) -> list[list[float]]:
        """One vector per input. Raises ``Refused`` where the model has none."""
        ...

    def facts(self) -> dict[str, Any]:
        """Where and how it runs: framework and version, device, number format, bytes held on a device."""
        ...


def required(order: Mapping[str, Any], package: str, error: ImportError) -> CannotLoad:
    """A missing package, told with the command that installs it. ``order["install"]`` is that command."""
    missing = error.name or package
    return CannotLoad(f"{order['python']} has no package {missing!r} ({error}); install it with: {order['install']}")

"""Chooses a token from logits, for frameworks that bring no sampler. Pure but for its own random numbers."""

from __future__ import annotations

from typing import Any

from .backend import Sampling, Token


class Sampler:
    """Temperature, then top-k, top-p and min-p, as transformers orders them. ``np`` is numpy."""

    def __init__(self, np: Any, how: Sampling) -> None:
        self._np = np
        self._how = how
        self._random = np.random.default_rng(how.seed if how.seed is None else how.seed & 0xFFFFFFFFFFFFFFFF)

    def choose(self, logits: Any) -> Token:
        """``logits``: one float64 per word. Greedy without a temperature."""
        np, how = self._np, self._how
        plain = logits - logits.max()
        logprobs = plain - np.log(np.exp(plain).sum())
        chosen = int(np.argmax(logprobs))
        if how.temperature:
            chosen = int(self._random.choice(len(logits), p=self._weights(logprobs)))
        if how.logprobs is None:
            return Token(chosen)
        best = np.argsort(-logprobs)[: how.logprobs]
        return Token(chosen, float(logprobs[chosen]), [(int(each), float(logprobs[each])) for each in best])

    def _weights(self, logprobs: Any) -> Any:
        np, how = self._np, self._how
        scaled = logprobs / how.temperature
        weights = np.exp(scaled - scaled.max())
        weights /= weights.sum()
        order = np.argsort(-weights)
        kept = np.ones(len(weights), dtype=bool)
        if how.top_k:
            kept[order[how.top_k :]] = False
        if how.top_p is not None and how.top_p < 1:
            before = np.cumsum(weights[order]) - weights[order]
            kept[order[(before >= how.top_p) & (np.arange(len(order)) > 0)]] = False
        if how.min_p:
            kept &= weights >= how.min_p * weights.max()
        weights = np.where(kept, weights, 0.0)
        return weights / weights.sum()

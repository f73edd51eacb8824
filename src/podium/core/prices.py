"""What hosted models ask for tokens, and what an operation is billed. Pure.

The list is maintained by hand from the providers' public price pages; ``VERSION`` says when. Prices of the file's
``[prices]`` come first. Standard rates only: batch, priority and long-context rates, tools and pictures are not in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

VERSION = "2025-11"


@dataclass(frozen=True, slots=True)
class Quote:
    """US dollars per million tokens. ``cached`` is of the prompt, read before."""

    input: float
    output: float
    cached: float | None = None


_OPENAI = {
    "gpt-5": Quote(1.25, 10.0, 0.125),
    "gpt-5-mini": Quote(0.25, 2.0, 0.025),
    "gpt-5-nano": Quote(0.05, 0.40, 0.005),
    "gpt-4.1": Quote(2.0, 8.0, 0.5),
    "gpt-4.1-mini": Quote(0.40, 1.60, 0.10),
    "gpt-4.1-nano": Quote(0.10, 0.40, 0.025),
    "gpt-4o": Quote(2.50, 10.0, 1.25),
    "gpt-4o-mini": Quote(0.15, 0.60, 0.075),
    "o3": Quote(2.0, 8.0, 0.5),
    "o4-mini": Quote(1.10, 4.40, 0.275),
    "gpt-3.5-turbo": Quote(0.50, 1.50),
    "text-embedding-3-small": Quote(0.02, 0.0),
    "text-embedding-3-large": Quote(0.13, 0.0),
}
_ANTHROPIC = {
    "claude-opus-4-5": Quote(5.0, 25.0, 0.50),
    "claude-opus-4-1": Quote(15.0, 75.0, 1.50),
    "claude-opus-4": Quote(15.0, 75.0, 1.50),
    "claude-sonnet-4-5": Quote(3.0, 15.0, 0.30),
    "claude-sonnet-4": Quote(3.0, 15.0, 0.30),
    "claude-3-7-sonnet": Quote(3.0, 15.0, 0.30),
    "claude-3-5-sonnet": Quote(3.0, 15.0, 0.30),
    "claude-haiku-4-5": Quote(1.0, 5.0, 0.10),
    "claude-3-5-haiku": Quote(0.80, 4.0, 0.08),
    "claude-3-haiku": Quote(0.25, 1.25, 0.03),
}
LISTED: Mapping[str, Mapping[str, Quote]] = MappingProxyType(
    {"api.openai.com": MappingProxyType(_OPENAI), "api.anthropic.com": MappingProxyType(_ANTHROPIC)}
)
"""By host and model. A dated model (``gpt-4o-2024-08-06``, ``claude-sonnet-4-20250514``) is found by its name."""


@dataclass(frozen=True, slots=True)
class PriceTable:
    """``own`` prices, by the model's name at its provider or its ref here, before those that are listed."""

    own: Mapping[str, Quote]

    @property
    def version(self) -> str:
        """Names the whole table: the list's version, and a digest of the own prices, if there are any."""
        if not self.own:
            return VERSION
        text = json.dumps({name: _plain(quote) for name, quote in self.own.items()}, sort_keys=True)
        return f"{VERSION}+{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"

    def content(self) -> str:
        """The whole table as JSON, dollars per million tokens."""
        listed = {host: {name: _plain(quote) for name, quote in of.items()} for host, of in LISTED.items()}
        own = {name: _plain(quote) for name, quote in self.own.items()}
        return json.dumps({"version": self.version, "unit": "USD per million tokens", "own": own, **listed})

    def find(self, host: str, model: str, *aliases: str) -> Quote | None:
        """The price of ``model`` at ``host``; ``aliases`` are other names under which own prices may be given."""
        for name in (model, *aliases):
            if name in self.own:
                return self.own[name]
        listed = LISTED.get(host, {})
        if model in listed:
            return listed[model]
        dated = [name for name in listed if model.startswith(f"{name}-") and _is_date(model[len(name) + 1 :])]
        return listed[dated[0]] if dated else None


def bill(quote: Quote, input_tokens: int, cached_tokens: int, output_tokens: int) -> int:
    """Millionths of a dollar, rounded to the nearest, a half up."""
    cached = min(cached_tokens, input_tokens)
    asked = (input_tokens - cached) * quote.input + output_tokens * quote.output
    asked += cached * (quote.input if quote.cached is None else quote.cached)
    return int(asked + 0.5)


def _plain(quote: Quote) -> dict[str, float | None]:
    return {"input": quote.input, "output": quote.output, "cached": quote.cached}


def _is_date(text: str) -> bool:
    digits = text.replace("-", "")
    return text == "latest" or (digits.isdigit() and len(digits) in (4, 6, 8))

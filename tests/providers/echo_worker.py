"""A backend of the standard library alone, and the worker around it: tokens are bytes, and it says what it is told.

Run as an interpreter of its own (``python`` in the settings), it ignores which worker it should run and runs this one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from podium.providers.artifact_worker import serving
from podium.providers.artifact_worker.backend import CannotLoad, Refused, Sampling, Take, Token

END = 256


class Echo:
    """Says the prompt. ``PAUSE_S`` before each token; words of the prompt make it fail."""

    knows = frozenset({"seed", "logprobs", "top_k"})
    stops = frozenset({END})
    pause_s = float(os.environ.get("PAUSE_S", "0"))

    def __init__(self, order: Mapping[str, Any]) -> None:
        self.context = order["context"]
        self.asked: list[Sampling] = []
        self.made = 0
        self._embeds = order["embedding"]
        if order["path"].endswith("cannot"):
            raise CannotLoad("this model is made of cheese")
        if order["path"].endswith("crash"):
            raise RuntimeError("a bug of the framework")

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        if messages[0]["role"] == "wizard":
            raise KeyError("wizard")
        return self.encode("".join(each["content"] for each in messages))

    def decode(self, tokens: Sequence[int]) -> str:
        return bytes(each for each in tokens if each != END).decode("utf-8", "replace")

    def generate(self, prompt: Sequence[int], how: Sampling, limit: int, take: Take) -> None:
        self.asked.append(how)
        said = bytes(prompt)
        if b"explode" in said:
            raise RuntimeError("out of memory")
        if b"device" in said:
            raise RuntimeError("CUDA error: device-side assert triggered")
        if b"die" in said:
            os._exit(9)
        for token in [*prompt, END]:
            time.sleep(self.pause_s)
            self.made += 1
            if b"stumble" in said and self.made > 3:
                raise RuntimeError("stumbled")
            alternatives = [(token, -0.5), (END, -1.5)][: how.logprobs or 0]
            if not take(Token(token, None if how.logprobs is None else -0.5, alternatives)):
                return

    def embed(self, inputs: Sequence[Sequence[int]]) -> list[list[float]]:
        if not self._embeds:
            raise Refused("no")
        return [[float(len(each)), 0.5, -1.0] for each in inputs]

    def facts(self) -> dict[str, Any]:
        return {"framework": "echo", "device": "cpu"}


if __name__ == "__main__":
    serving.main(Echo)

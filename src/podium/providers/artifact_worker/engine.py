"""Runs one backend on one thread: one generation after the other, in the order they came.

Owns the thread and the way out of a generation nobody waits for. It must not know HTTP.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from .asking import Ask, EmbeddingAsk
from .backend import Backend, Refused, Token
from .text import Text


@dataclass
class Totals:
    """What a generation came to."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_s: float = 0.0
    """Until the first token."""
    answer_s: float = 0.0
    """From the first token to the last."""
    finish: str = "length"


@dataclass(frozen=True)
class Piece:
    """Some text of an answer, and the tokens made since the piece before."""

    text: str
    tokens: tuple[Token, ...] = ()


Put = Callable[[Any], None]


class Engine:
    """One model. ``load`` builds its backend on the thread that will use it."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self.backend: Backend

    async def load(self, build: Callable[[], Backend]) -> None:
        """Raises whatever ``build`` raises."""
        self.backend = await asyncio.get_running_loop().run_in_executor(self._thread, build)

    async def generate(self, ask: Ask) -> AsyncGenerator[Piece | Totals]:
        """Pieces, then the totals. Closing it ends the generation at its next token.

        Raises ``Refused`` before the first piece, and whatever the framework raises.
        """
        loop = asyncio.get_running_loop()
        come: asyncio.Queue[Any] = asyncio.Queue()
        gone = threading.Event()

        def put(item: Any) -> None:
            loop.call_soon_threadsafe(come.put_nowait, item)

        work = loop.run_in_executor(self._thread, self._generate, ask, put, gone)
        try:
            while True:
                item = await come.get()
                if isinstance(item, Exception):
                    raise item
                yield item
                if isinstance(item, Totals):
                    return
        finally:
            gone.set()
            work.cancel()

    async def embed(self, ask: EmbeddingAsk) -> tuple[list[list[float]], int]:
        """Vectors, and how many tokens they took. Raises ``Refused``."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._embed, ask)

    def _embed(self, ask: EmbeddingAsk) -> tuple[list[list[float]], int]:
        inputs = [self.backend.encode(each) if isinstance(each, str) else list(each) for each in ask.inputs]
        for tokens in inputs:
            _fits(len(tokens), self.backend.context)
        vectors = self.backend.embed(inputs)
        if ask.dimensions is not None and vectors and ask.dimensions != len(vectors[0]):
            raise Refused(f"this model's vectors have {len(vectors[0])} dimensions", "dimensions")
        return vectors, sum(map(len, inputs))

    def _generate(self, ask: Ask, put: Put, gone: threading.Event) -> None:
        """On the model's thread. Everything it finds out, errors included, goes through ``put``."""
        if gone.is_set():
            return
        try:
            put(self._answer(ask, put, gone))
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            put(error)

    def _answer(self, ask: Ask, put: Put, gone: threading.Event) -> Totals:
        prompt = self._prompt(ask)
        room = _fits(len(prompt), self.backend.context, answer=1)
        limit = min(ask.limit or room, room)
        totals = Totals(prompt_tokens=len(prompt))
        text = Text(self.backend.decode, ask.stop)
        unsaid: list[Token] = []
        began = first = time.monotonic()

        def take(token: Token) -> bool:
            nonlocal first
            if totals.completion_tokens == 0:
                first = time.monotonic()
            totals.completion_tokens += 1
            if token.id in self.backend.stops:
                totals.finish = "stop"
                return False
            unsaid.append(token)
            shown = text.add(token.id)
            if shown:
                put(Piece(shown, tuple(unsaid)))
                unsaid.clear()
            if text.stopped:
                totals.finish = "stop"
            return not text.stopped and not gone.is_set() and totals.completion_tokens < limit

        self.backend.generate(prompt, ask.sampling, limit, take)
        rest = text.end()
        if text.stopped:
            totals.finish = "stop"
        if rest or unsaid:
            put(Piece(rest, tuple(unsaid)))
        totals.prompt_s, totals.answer_s = first - began, time.monotonic() - first
        return totals

    def _prompt(self, ask: Ask) -> list[int]:
        if ask.chat:
            try:
                return self.backend.chat(ask.messages)
            except Refused:
                raise
            except Exception as error:  # templates are code of the model's author
                raise Refused(
                    f"this model's chat template does not take these messages: {error}", "messages"
                ) from error
        return self.backend.encode(ask.text) if ask.text is not None else list(ask.tokens)


def _fits(size: int, context: int, answer: int = 0) -> int:
    """Room that is left besides a prompt of ``size`` tokens. Raises ``Refused``, in OpenAI's words, when there is less
    than ``answer``.
    """
    if size + answer > context:
        raise Refused(
            f"the prompt has {size} tokens; this model's context length is {context} tokens, the answer included",
            "messages",
            "context_length_exceeded",
        )
    return context - size

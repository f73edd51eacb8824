"""The worker's life: read the order, load the model, listen, answer, end.

The order comes as one line of JSON on standard input, where no other user can read it. One byte goes to the pipe
named on the command line once the model is loaded and the socket listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import json
import os
import signal
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .answering import Writer, embeddings, error_of, event
from .asking import Ask, read, read_embedding, read_generation
from .backend import Backend, CannotLoad, Refused, Sampling
from .engine import Engine, Piece, Totals
from .listener import Exchange, Request, listen

Build = Callable[[Mapping[str, Any]], Backend]
_QUIET = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
}
"""Nothing is fetched, nothing is told to anybody, no bars in the log; waiting threads sleep: a spinning one would
starve its neighbours."""
_UNUSABLE = 3
_LOST = "CUDA error"
"""How PyTorch begins to tell that a device is lost to this process; running out of its memory reads otherwise."""


def main(build: Build | None = None) -> None:
    """Run until a signal or the end of the process that started it."""
    order: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    for name, value in {**_QUIET, "OMP_NUM_THREADS": str(order["threads"])}.items():
        os.environ.setdefault(name, value)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))  # there is nothing to save
    status = 1
    try:
        asyncio.run(_run(order, build or backend_of, int(sys.argv[-1])))
    except CannotLoad as error:
        _say(str(error))
        status = _UNUSABLE
    except BaseException:  # noqa: BLE001 - printed; the process ends in any case
        traceback.print_exc()
    os._exit(status)  # the frameworks' own teardown may take seconds or crash


def backend_of(order: Mapping[str, Any]) -> Backend:
    """The backend of ``order["framework"]``. Raises ``CannotLoad``."""
    module = importlib.import_module(f".{order['framework']}", __package__)
    made: Backend = module.load(order)
    return made


async def _run(order: Mapping[str, Any], build: Build, ready: int) -> None:
    engine = Engine()
    await engine.load(functools.partial(build, order))
    _say(json.dumps(engine.backend.facts()))
    server = await listen(Path(order["socket"]), order["key"], Routes(engine, order).handle)
    os.write(ready, b"1")
    os.close(ready)
    await server.serve_forever()


def _say(text: str) -> None:
    """A line for the log."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class Routes:
    """What is asked under which path."""

    def __init__(self, engine: Engine, order: Mapping[str, Any]) -> None:
        self._engine = engine
        self._model: str = order["alias"]
        self._embeds: bool = order["embedding"]
        self._defaults = Sampling(
            **{name: order.get(name) for name in ("temperature", "top_p", "top_k", "min_p", "seed")}
        )

    async def handle(self, request: Request, out: Exchange) -> None:
        """Answer one request; an error becomes an answer, or an event of a stream that has begun."""
        try:
            await self._route(request, out)
        except Exception as error:  # noqa: BLE001 - told to the caller, and in the log where it is not the caller's
            status, body = error_of(error)
            if status == 500:
                traceback.print_exception(error)
            if out.streaming:
                await out.stream(event(body))
                await out.end()
            else:
                await out.reply(status, body)
            if _LOST in str(error):
                os._exit(_UNUSABLE)  # after such an error every call of this process fails; the pool starts another

    async def _route(self, request: Request, out: Exchange) -> None:
        match request.method, request.path:
            case "GET", "/health":
                await out.reply(200, {"status": "ok"})
            case "GET", "/props":
                await out.reply(200, {"total_slots": 1, **self._engine.backend.facts()})
            case "GET", "/v1/models":
                row = {"id": self._model, "object": "model", "created": 0, "owned_by": "podium"}
                await out.reply(200, {"object": "list", "data": [row]})
            case "POST", "/v1/embeddings" if self._embeds:
                ask = read_embedding(read(request.body))
                vectors, tokens = await self._engine.embed(ask)
                await out.reply(200, embeddings(vectors, tokens, self._model, as_base64=ask.base64))
            case "POST", "/v1/chat/completions" | "/v1/completions" if not self._embeds:
                await self._generate(request, out)
            case "POST", path if path.startswith("/v1/"):
                raise Refused(
                    f"this model {'only makes' if self._embeds else 'makes no'} embeddings", code="unsupported"
                )
            case _:
                await out.reply(404, {"error": {"message": f"there is no {request.method} {request.path}"}})

    async def _generate(self, request: Request, out: Exchange) -> None:
        backend = self._engine.backend
        chat = request.path == "/v1/chat/completions"
        ask = read_generation(read(request.body), self._defaults, backend.knows, chat=chat)
        writer = Writer(
            ask,
            id_=uuid.uuid4().hex,
            created=int(time.time()),
            model=self._model,
            text_of=lambda token: backend.decode([token]),
        )
        pieces: list[Piece] = []
        async with contextlib.aclosing(self._engine.generate(ask)) as made:
            async for item in made:
                if isinstance(item, Piece) and ask.stream:
                    await out.stream(writer.chunk(item))
                elif isinstance(item, Piece):
                    pieces.append(item)
                else:
                    await self._finish(ask, writer, pieces, item, out)

    async def _finish(self, ask: Ask, writer: Writer, pieces: list[Piece], totals: Totals, out: Exchange) -> None:
        if ask.stream:
            await out.stream(writer.last(totals))
            await out.end()
        else:
            await out.reply(200, writer.whole(pieces, totals))

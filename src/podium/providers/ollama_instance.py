"""A version in the memory of an Ollama server: sends to it, translates, and knows when it is no longer there.

Ollama keeps one copy of a file of weights, with one set of loading options. ``Residence`` is that place: instances
of versions that ask for the same options share it, the last one to leave unloads it, and loading it with other
options displaces those who hold it, as their next request would reload it behind the pool's back.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from podium.domain.instance import ProcessUsage
from podium.domain.model import Capability
from podium.domain.request import Endpoint
from podium.errors import InvalidRequest, LoadFailed, PodiumError, ProviderError, ProviderUnreachable
from podium.ports import Call, Deadlines, Reply
from podium.providers.ollama_answers import Translator, error_body, refusal
from podium.providers.ollama_api import OllamaServer, Running, same, until_gone
from podium.providers.ollama_held import Held
from podium.providers.ollama_runner import runner_pid
from podium.providers.ollama_wire import Order, translate
from podium.providers.usage import ProcessTree
from podium.transport.reply import HttpReply

_WARM_UP_S = 300.0
UNLOAD_S = 60.0
_GIVE_UP_S = 10.0


class Residence:
    """The place of one file of weights in one server's memory. Changed under ``lock`` only."""

    def __init__(self, server: OllamaServer, note: Held) -> None:
        self.server = server
        self._note = note
        self.lock = asyncio.Lock()
        self.runner: Mapping[str, Any] | None = None
        self.loading: tuple[str, ...] = ()
        self.holders: set[OllamaInstance] = set()
        self.row: Running | None = None
        """As ``/api/ps`` told it last; its name may be that of another tag with the same weights."""
        self.process: ProcessTree | None = None
        """What runs it, where that is on this machine and could be found."""

    def held(self, row: Running) -> bool:
        """Whether a row of ``/api/ps`` is this place."""
        return self.row is not None and (same(row.name, self.row.name) or row.digest == self.row.digest)

    async def settle(
        self, tag: str, weights: str, runner: Mapping[str, Any], loading: tuple[str, ...], *, embeds: bool
    ) -> None:
        """Load with these options, displacing holders that asked for others. Raises ``LoadFailed``."""
        if (self.runner, self.loading) != (runner, loading):
            for holder in self.holders:
                holder.displaced = True
            self.holders.clear()
            self.runner = None
        self._note.add(self.server.url, tag)
        try:
            await self.server.load(tag, runner, embeds=embeds)
            self.row = await self._find(tag, weights)
            pid = await asyncio.to_thread(runner_pid, weights) if self.server.local else None
            self.process = ProcessTree(pid) if pid is not None else None
        except BaseException as error:
            if not self.holders:
                with contextlib.suppress(PodiumError):
                    await self._leave(tag, _GIVE_UP_S)
            if isinstance(error, PodiumError):
                raise LoadFailed(f"{tag}: {error.message}") from error
            raise
        self.runner, self.loading = dict(runner), loading

    async def leave(self, instance: OllamaInstance, tag: str) -> None:
        """The last holder unloads; returns when ``/api/ps`` no longer lists it. Raises ``ProviderError``."""
        if instance.displaced:
            return  # it holds nothing, and whoever displaced it may hold the lock until its answers end
        async with self.lock:
            if not instance.displaced and not self.holders - {instance}:
                await self._leave(tag, UNLOAD_S)
                self.runner = None
            self.holders.discard(instance)

    async def _leave(self, tag: str, within_s: float) -> None:
        try:
            await self.server.expire(tag)
        except ProviderUnreachable:
            self._note.remove(self.server.url, tag)
            return  # a server that is gone holds nothing
        except ProviderError as error:
            if error.status != 404:
                raise
        if self.row is not None:
            await until_gone(self.server, self.held, within_s=within_s)
        else:
            await until_gone(self.server, lambda row: same(row.name, tag), within_s=within_s)
        self._note.remove(self.server.url, tag)

    async def _find(self, tag: str, weights: str) -> Running:
        rows = await self.server.ps()
        for row in rows:
            if same(row.name, tag):
                return row
        for row in rows:
            with contextlib.suppress(ProviderError):
                if (await self.server.show(row.name)).weights == weights:
                    return row
        raise LoadFailed(f"Ollama says that it loaded {tag}, but /api/ps does not list it")


class OllamaInstance:
    """One version on one server; not a process of ours."""

    pid = None

    def __init__(
        self,
        residence: Residence,
        *,
        model: str,
        options: Mapping[str, Any],
        concurrency: int,
        capabilities: frozenset[str],
    ) -> None:
        self.model = model
        self.concurrency = concurrency
        self.displaced = False
        """Its place was loaded again with the options of another version."""
        self._residence = residence
        self._server = residence.server
        self._runner = dict(residence.runner or {})
        self._options = dict(options)
        self._capabilities = capabilities
        self._context = residence.row.context_length if residence.row is not None else 0
        self._open: set[OllamaReply] = set()
        self._lost = False
        self._unloaded = False

    async def send(self, call: Call) -> Reply:
        try:
            order = translate(call.endpoint, call.body, self.model, options=self._options, runner=self._runner)
        except InvalidRequest as error:
            return Refusal(400, error_body(error.message, code=error.code, param=error.param))
        if self.displaced:
            raise ProviderUnreachable(f"{self.model} was loaded again with other options, for another version")
        limits = call.deadlines
        try:
            reply = await self._server.request(
                b"POST",
                order.path.decode(),
                order.body,
                connect_s=limits.connect_s,
                first_s=limits.first_token_s,
                total_s=limits.total_s,
            )
        except ProviderUnreachable:
            self._lost = True
            raise
        if reply.status != 200:
            return Refusal(*refusal(reply.status, await reply.read()))
        translator = Translator(order, identity=call.request_id, created=int(time.time()), model=self.model)
        made = OllamaReply(reply, order, translator, self._open.discard)
        self._open.add(made)
        return made

    async def health(self) -> None:
        """Asks what is in memory. Whoever else uses the server may have unloaded or reloaded the model."""
        if self.displaced:
            raise ProviderUnreachable(f"{self.model} was loaded again with other options, for another version")
        try:
            rows = await self._server.ps()
        except ProviderUnreachable:
            self._lost = True
            raise
        row = next((row for row in rows if self._residence.held(row)), None)
        if row is None:
            self._lost = True
            raise ProviderUnreachable(f"Ollama no longer holds {self.model}: somebody unloaded it, or it was restarted")
        if row.context_length != self._context:
            self.displaced = True
            raise ProviderUnreachable(
                f"somebody else loaded {self.model} again, with a context of {row.context_length} tokens instead of "
                f"{self._context}; let other programs use the same num_ctx"
            )
        self._residence.row = row

    async def warm_up(self) -> None:
        body: dict[str, object] = {"model": self.model, "max_tokens": 1}
        if Capability.CHAT in self._capabilities:
            endpoint, body["messages"] = Endpoint.CHAT, [{"role": "user", "content": "Hi"}]
        else:
            endpoint, body = Endpoint.EMBEDDING, {"model": self.model, "input": "Hi"}
        limits = Deadlines(first_token_s=_WARM_UP_S, total_s=_WARM_UP_S)
        call = Call(
            endpoint=endpoint, body=msgspec.json.encode(body), stream=False, request_id="warm-up", deadlines=limits
        )
        reply = await self.send(call)
        answer = await reply.read()
        if reply.status != 200:
            said = answer[:300].decode("utf-8", "replace")
            raise ProviderError(f"{self.model} cannot generate: HTTP {reply.status}: {said}")

    async def unload(self) -> None:
        if self._unloaded:
            return
        if not self.displaced:  # whoever displaced it waits for its answers
            for reply in list(self._open):
                reply.close()
        await self._residence.leave(self, self.model)
        self._unloaded = True

    def usage(self) -> ProcessUsage | None:
        """Of its process, where that was found; ``None`` while it is shared, as nobody could say whose part is whose."""
        shared = self._residence.holders != {self}
        return None if shared or self._residence.process is None else self._residence.process.usage()

    def alive(self) -> bool:
        return not (self._unloaded or self._lost or self.displaced)


class OllamaReply:
    """``podium.ports.Reply`` over one of Ollama's."""

    def __init__(
        self, reply: HttpReply, order: Order, translator: Translator, ended: Callable[[OllamaReply], None]
    ) -> None:
        self.status = 200
        self.content_type = "text/event-stream" if order.stream else "application/json"
        self._reply = reply
        self._streams = order.stream
        self._translator = translator
        self._ended = ended

    async def read(self) -> bytes:
        if self._streams:
            parts: list[bytes] = []
            await self.relay(parts.append)
            return b"".join(parts)
        try:
            body = await self._reply.read()
        finally:
            self._ended(self)
        return self._translator.whole(body)

    async def relay(self, sink: Callable[[bytes], None]) -> None:
        if not self._streams:
            sink(await self.read())
            return

        def pass_on(made: bytes) -> None:
            if made:
                sink(made)
            if self._translator.failed is not None:
                raise self._translator.failed

        try:
            await self._reply.relay(lambda data: pass_on(self._translator.feed(data)))
            pass_on(self._translator.end())
        finally:
            self._ended(self)

    def pause(self) -> None:
        self._reply.pause()

    def resume(self) -> None:
        self._reply.resume()

    def close(self) -> None:
        self._ended(self)
        self._reply.close()


class Refusal:
    """An error in OpenAI's shape: Ollama's own, or ours for what it cannot do."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.content_type = "application/json"
        self._body = body

    async def read(self) -> bytes:
        return self._body

    async def relay(self, sink: Callable[[bytes], None]) -> None:
        sink(self._body)

    def pause(self) -> None:
        """Nothing is under way."""

    def resume(self) -> None:
        """Nothing is under way."""

    def close(self) -> None:
        """Nothing is under way."""

"""A version in the memory of an Ollama server: sends to it, translates, and knows when it is no longer there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from podium.domain.instance import ProcessUsage
from podium.domain.model import Capability
from podium.domain.request import Endpoint
from podium.errors import InvalidRequest, ProviderError, ProviderTimeout, ProviderUnreachable
from podium.ports import Call, Deadlines, Reply
from podium.providers.ollama_answers import Translator, refusal
from podium.providers.ollama_residence import Residence, Wanted
from podium.providers.ollama_watch import Watch
from podium.providers.ollama_wire import Order, translate
from podium.providers.refusals import Refusal, error_body
from podium.transport.reply import HttpReply

_WARM_UP_S = 300.0


class OllamaInstance:
    """One version on one server; not a process of ours."""

    pid = None

    def __init__(
        self,
        residence: Residence,
        wanted: Wanted,
        *,
        options: Mapping[str, Any],
        concurrency: int,
        capabilities: frozenset[str],
        watch: Watch,
        digest: str,
    ) -> None:
        self._watch = watch
        self._digest = digest
        self.model = wanted.tag
        self.wanted = wanted
        self.concurrency = concurrency
        self._residence = residence
        self._server = residence.server
        self._options = dict(options)
        self._capabilities = capabilities
        self._context = 0
        self._open: set[OllamaReply] = set()
        self._lost = False
        self._taken = False
        self._unloaded = False

    async def begin(self) -> int:
        """Have it loaded; bytes it takes. Raises ``LoadFailed``."""
        row = await self._residence.join(self)
        self._context = row.context_length
        return row.size

    async def send(self, call: Call) -> Reply:
        try:
            order = translate(call.endpoint, call.body, self.model, options=self._options, runner=self.wanted.runner)
        except InvalidRequest as error:
            return Refusal(400, error_body(error.message, code=error.code, param=error.param))
        if self._unloaded:
            raise ProviderUnreachable(f"{self.model} was unloaded")
        limits = call.deadlines
        try:
            async with asyncio.timeout(limits.first_token_s):
                await self._residence.enter(self)
        except TimeoutError:
            raise ProviderTimeout(
                f"{self.model} did not get its turn in Ollama's memory within {limits.first_token_s:g} s; give the "
                "versions that use these weights the same num_ctx"
            ) from None
        try:
            made = await self._send(order, call)
        except BaseException as error:
            self._residence.exit()
            self._lost = self._lost or isinstance(error, ProviderUnreachable)
            raise
        if isinstance(made, OllamaReply):
            self._open.add(made)
        else:
            self._residence.exit()
        return made

    async def _send(self, order: Order, call: Call) -> OllamaReply | Refusal:
        limits = call.deadlines
        sent = asyncio.create_task(
            self._server.request(
                b"POST",
                order.path.decode(),
                order.body,
                connect_s=limits.connect_s,
                first_s=limits.first_token_s,
                total_s=limits.total_s,
                headers=call.headers,
            )
        )
        try:
            await asyncio.sleep(0)  # so that it is on its way
            await self._refuse_another()
            reply = await sent
        except BaseException:
            _abandon(sent)
            raise
        if reply.status != 200:
            return Refusal(*refusal(reply.status, await reply.read()))
        translator = Translator(order, identity=call.request_id, created=int(time.time()), model=self.model)
        return OllamaReply(reply, order, translator, self._ended)

    async def _refuse_another(self) -> None:
        """Raises ``ProviderUnreachable`` once the tag names another model."""
        if await self._watch.changed(self.model, self._digest):
            self._lost = True
            raise ProviderUnreachable(
                f"{self.model} was pulled again since it was registered; its answers would be those of another model, "
                "so register it as a new version"
            )

    def _ended(self, reply: OllamaReply) -> None:
        if reply in self._open:
            self._open.discard(reply)
            self._residence.exit()

    async def health(self) -> None:
        """Asks what is in memory. Whoever else uses the server may have unloaded or reloaded the model."""
        residence, before = self._residence, self._residence.loads
        mine = residence.has(self)
        try:
            rows = await self._server.ps()
        except ProviderUnreachable:
            self._lost = True
            raise
        await self._refuse_another()
        if not mine or not residence.has(self) or residence.loads != before:
            return  # another version has its turn in the same place
        row = next((row for row in rows if residence.held(row)), None)
        if row is None:
            self._lost = True
            raise ProviderUnreachable(f"Ollama no longer holds {self.model}: somebody unloaded it, or it was restarted")
        if row.context_length != self._context:
            self._lost = self._taken = True
            raise ProviderUnreachable(
                f"somebody else loaded {self.model} again, with a context of {row.context_length} tokens instead of "
                f"{self._context}; let other programs use the same num_ctx"
            )
        residence.row = row

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
        for reply in list(self._open):
            reply.close()
        await self._residence.leave(self, lost=self._taken)
        self._unloaded = True

    def usage(self) -> ProcessUsage | None:
        """Of its process, where that was found; ``None`` while it is shared or out of memory."""
        process = self._residence.process
        return process.usage() if process is not None and self._residence.alone(self) else None

    def alive(self) -> bool:
        return not (self._unloaded or self._lost)


def _abandon(sent: asyncio.Task[HttpReply]) -> None:
    """Nobody wants the answer to a request that may be on its way."""
    if not sent.done():
        sent.cancel()
    elif not sent.cancelled() and sent.exception() is None:
        sent.result().close()


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

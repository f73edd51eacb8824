"""Waits until a server that was just started answers, and says what is wrong as soon as it is known.

Known at once: it ended; it serves on another port; it listens where loopback does not reach. Known after
``CERTAIN_S``: it answers, but not to the questions asked. All else may be a slow start and is waited for.
It must not start or stop anything.
"""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass

import msgspec

from podium.errors import LoadFailed, ProviderError, ProviderTimeout
from podium.providers.process import ManagedProcess
from podium.providers.sockets import listening
from podium.transport.client import HttpClient, Origin

PROBE_S = 2.0
CERTAIN_S = 3.0
"""How long a server may refuse what it will be asked before that is taken for its last word."""
LOOK_S = 0.5
"""Between looks at where it listens."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 0.25
TAIL_LINES = 12
_MISSING = frozenset({404, 405, 501})
_FINAL = frozenset({400, 401, 403, 404, 405, 410, 501})


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What is expected of a server: where it listens, its health path (``None``: found out), its base path."""

    ref: str
    host: str
    port: int
    base: str
    health: str | None
    timeout_s: float

    @property
    def paths(self) -> tuple[str, ...]:
        """What to ask, in this order. The list of models is only asked where there is no health path: SGLang lists
        its model long before it can run it, while its ``/health`` answers 503.
        """
        return (self.health,) if self.health else ("/health", f"{self.base}/models")


async def until_ready(process: ManagedProcess, client: HttpClient, expected: Expected) -> str:
    """The health path that answered 200. Raises ``LoadFailed`` with the reason and the end of the log."""
    watch = _Watch(process, client, expected)
    ended = asyncio.create_task(process.wait())
    answered = asyncio.create_task(watch.answered())
    try:
        await asyncio.wait({ended, answered}, timeout=expected.timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if answered.done() and (answered.exception() is not None or process.alive()):
            return answered.result()
        if answered.done() and not ended.done():
            await asyncio.wait({ended}, timeout=PROBE_S)
        if ended.done():
            raise LoadFailed(f"{expected.ref}: {how_it_ended(ended.result(), expected.port)}{log_of(process)}")
        raise LoadFailed(
            f"{expected.ref} was not ready within {expected.timeout_s:g} s: {watch.finding}{log_of(process)}"
        )
    finally:
        for task in (ended, answered):
            task.cancel()
        await asyncio.gather(ended, answered, return_exceptions=True)


def how_it_ended(status: int, port: int | None = None) -> str:
    """What an exit status means, for a server that should have gone on."""
    before = "before it was ready" if port is None else f"before it answered on port {port}"
    if status == 0:
        return f"its command ended (exit 0) {before}; run it in the foreground, without a daemon option or `&`"
    if status > 128:
        try:
            return f"its command was killed by {signal.Signals(status - 128).name} {before}"
        except ValueError:
            pass
    return f"its command ended (exit {status}) {before}"


def log_of(process: ManagedProcess) -> str:
    """The end of the log, to put after a message."""
    tail = process.log_tail(TAIL_LINES)
    return f"; the end of its log:\n{tail}" if tail else "; it printed nothing"


class _Watch:
    """Asks again and again."""

    def __init__(self, process: ManagedProcess, client: HttpClient, expected: Expected) -> None:
        self._process = process
        self._client = client
        self._expected = expected
        self._loop = asyncio.get_running_loop()
        self._refused_since: float | None = None
        self._looked_at = self._loop.time()
        self._heard: str | None = None
        self._seen = f"nothing listens on port {expected.port}"

    @property
    def finding(self) -> str:
        """What the server said last, else what was seen of it."""
        return self._heard or self._seen

    async def answered(self) -> str:
        """The first path that answers 200. Raises ``LoadFailed`` when it is known that none ever will."""
        pause = FIRST_PAUSE_S
        while True:
            path = await self._ask()
            if path is not None:
                return path
            now = self._loop.time()
            if self._refused_since is not None and now - self._refused_since >= CERTAIN_S:
                raise self._failure(self.finding)
            if now - self._looked_at >= LOOK_S:
                self._looked_at = now
                await self._look()
            await asyncio.sleep(pause)
            pause = min(pause * 1.3, LONGEST_PAUSE_S)

    async def _ask(self) -> str | None:
        heard: list[str] = []
        final = True
        for path in self._expected.paths:
            try:
                status, _ = await _get(self._client, path)
            except ProviderTimeout:
                self._refused_since = None
                self._heard = f"it accepts connections on port {self._expected.port} but does not answer GET {path}"
                return None
            except ProviderError as error:
                self._refused_since = None
                self._heard = None if isinstance(error.__cause__, ConnectionRefusedError) else error.message
                return None
            if status == 200:
                return path
            heard.append(f"GET {path} answers HTTP {status}")
            final = final and status in _FINAL
            if status not in _MISSING:
                break
        self._heard = " and ".join(heard) + "; " + _advice(heard[-1])
        if not final:
            self._refused_since = None
        elif self._refused_since is None:
            self._refused_since = self._loop.time()
        return None

    async def _look(self) -> None:
        """Compare where it listens with where it should."""
        at = await asyncio.to_thread(listening, (self._process.pid, *self._process.family()))
        port = self._expected.port
        right = [each for each in at if each.port == port]
        if any(each.reached_by_loopback for each in right):
            return
        if right:
            raise self._failure(
                f"it listens on {right[0]}, which {self._expected.host} does not reach; make it listen on ${{HOST}}"
            )
        if at:
            self._seen = f"it listens on {', '.join(map(str, at))} and not on ${{PORT}}={port}"
        for each in at:
            if each.reached_by_loopback and await self._serves(each.port):
                raise self._failure(f"it listens on {each.port} instead of ${{PORT}}={port}; put ${{PORT}} there")

    async def _serves(self, port: int) -> bool:
        """Whether an OpenAI-compatible server answers there, rather than metrics or a private socket of an engine."""
        client = HttpClient(Origin(host=self._expected.host, port=port))
        try:
            status, body = await _get(client, f"{self._expected.base}/models")
            return status == 200 and isinstance(msgspec.json.decode(body)["data"], list)
        except (ProviderError, msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
            return False
        finally:
            await client.aclose()

    def _failure(self, why: str) -> LoadFailed:
        return LoadFailed(f"{self._expected.ref}: {why}{log_of(self._process)}")


def _advice(last: str) -> str:
    match last[-3:]:
        case "401" | "403":
            return "it wants a key; start it without one, it is on loopback"
        case code if int(code) in _FINAL:
            return "set `health` to a path that answers 200 when it is ready"
        case _:
            return "it is still starting, or broken"


async def _get(client: HttpClient, path: str) -> tuple[int, bytes]:
    reply = await client.request(b"GET", path.encode(), connect_s=PROBE_S, first_byte_s=PROBE_S, total_s=PROBE_S)
    return reply.status, await reply.read()

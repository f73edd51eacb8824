"""The place one file of weights has in an Ollama server's memory, and who may use it now.

Ollama keeps one copy of a file of weights, with one set of loading options; a request with others makes it wait for
the answers under way and load again. So versions that ask for the same options share the place, versions that ask
for others take turns in it, first come first served, and the last holder of what is loaded unloads it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from podium.errors import LoadFailed, PodiumError, ProviderError, ProviderUnreachable
from podium.providers.ollama_api import OllamaServer, Running, same, until_gone
from podium.providers.ollama_held import Held
from podium.providers.ollama_runner import runner_pid
from podium.providers.usage import ProcessTree

UNLOAD_S = 60.0
_GIVE_UP_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How a version wants its weights loaded."""

    tag: str
    weights: str
    runner: Mapping[str, Any]
    """Options of every request."""
    loading: tuple[str, ...]
    """What the Modelfile adds to them."""
    embeds: bool
    """It can do nothing else."""

    def fits(self, other: Wanted | None) -> bool:
        """Whether what was loaded for ``other`` serves this, too."""
        return other is not None and (self.runner, self.loading) == (other.runner, other.loading)


class Holder(Protocol):
    """An instance, as its place knows it."""

    wanted: Wanted


class Residence:
    """``enter`` before a request, ``exit`` after its answer; ``join`` once loaded, ``leave`` at the end."""

    def __init__(self, server: OllamaServer, note: Held) -> None:
        self.server = server
        self.loaded: Wanted | None = None
        self.row: Running | None = None
        """As ``/api/ps`` told it last; its name may be that of another tag with the same weights."""
        self.process: ProcessTree | None = None
        """What runs it, where that is on this machine and could be found."""
        self.loads = 0
        self._note = note
        self._holders: set[Holder] = set()
        self._lock = asyncio.Lock()
        self._working = 0
        self._idle = asyncio.Event()

    def held(self, row: Running) -> bool:
        """Whether a row of ``/api/ps`` is this place."""
        return self.row is not None and (same(row.name, self.row.name) or row.digest == self.row.digest)

    def has(self, holder: Holder) -> bool:
        """Whether it is this one's turn: what it wants is in memory, and nobody is about to change that."""
        return not self._lock.locked() and holder.wanted.fits(self.loaded)

    def alone(self, holder: Holder) -> bool:
        """Whether what is in memory is there for this one only."""
        return self.has(holder) and not self._sharing(holder)

    async def join(self, holder: Holder) -> Running:
        """Load for a new holder. Raises ``LoadFailed``."""
        async with self._lock:
            await self._load(holder)
            self._holders.add(holder)
            assert self.row is not None
            return self.row

    async def enter(self, holder: Holder) -> None:
        """Wait for the turn, loading again if need be. Raises ``LoadFailed``."""
        if not self.has(holder):
            async with self._lock:
                if not holder.wanted.fits(self.loaded):
                    await self._load(holder)
                self._working += 1
        else:
            self._working += 1

    def exit(self) -> None:
        """An answer has ended."""
        self._working -= 1
        if not self._working:
            self._idle.set()

    async def leave(self, holder: Holder, *, lost: bool) -> None:
        """Unload unless others use it, or it is ``lost`` to other programs; returns when ``/api/ps`` no longer lists it.

        Raises ``ProviderError``.
        """
        async with self._lock:
            if holder.wanted.fits(self.loaded) and not self._sharing(holder):
                if not lost:
                    await self._unload(holder.wanted.tag, UNLOAD_S)
                self.loaded = self.process = None
            self._holders.discard(holder)

    def _sharing(self, holder: Holder) -> bool:
        return any(each is not holder and each.wanted.fits(self.loaded) for each in self._holders)

    async def _load(self, holder: Holder) -> None:
        """What is there already is only confirmed. What is there for others first ends its answers."""
        wanted = holder.wanted
        while self._working and not wanted.fits(self.loaded):
            self._idle.clear()
            await self._idle.wait()
        shared = wanted.fits(self.loaded) and self._sharing(holder)
        self.loaded = self.process = None
        self._note.add(self.server.url, wanted.tag)
        try:
            await self.server.load(wanted.tag, wanted.runner, embeds=wanted.embeds)
            self.row = await self._find(wanted)
            pid = await asyncio.to_thread(runner_pid, wanted.weights) if self.server.local else None
        except BaseException as error:
            if not shared:
                with contextlib.suppress(PodiumError):
                    await self._unload(wanted.tag, _GIVE_UP_S)
            if isinstance(error, PodiumError):
                raise LoadFailed(f"{wanted.tag}: {error.message}") from error
            raise
        self.process = ProcessTree(pid) if pid is not None else None
        self.loaded = wanted
        self.loads += 1

    async def _unload(self, tag: str, within_s: float) -> None:
        try:
            await self.server.expire(tag)
        except ProviderUnreachable:
            self._note.remove(self.server.url, tag)
            return  # a server that is gone holds nothing
        except ProviderError as error:
            if error.status != 404:
                raise
        await until_gone(self.server, lambda row: self.held(row) or same(row.name, tag), within_s=within_s)
        self._note.remove(self.server.url, tag)

    async def _find(self, wanted: Wanted) -> Running:
        rows = await self.server.ps()
        for row in rows:
            if same(row.name, wanted.tag):
                return row
        for row in rows:
            with contextlib.suppress(ProviderError):
                if (await self.server.show(row.name)).weights == wanted.weights:
                    return row
        raise LoadFailed(f"Ollama says that it loaded {wanted.tag}, but /api/ps does not list it")

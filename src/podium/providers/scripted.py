"""The scripted provider: a model that answers by script, in this process. For development and tests.

Never selectable unless somebody registers a script by name.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from podium.domain.instance import ProcessUsage
from podium.domain.model import Facts, ModelVersion, Source
from podium.errors import InvalidRequest, LoadFailed, ProviderTimeout, ProviderUnreachable
from podium.ports import Call, Characteristics
from podium.providers.catalogue import ProviderContext
from podium.providers.script import Plan, Script, plan, read_script

MB = 1024 * 1024


def create(context: ProviderContext) -> ScriptedProvider:
    """Entry point of the provider ``scripted``."""
    return ScriptedProvider()


class ScriptedReply:
    """Plays a plan. Times out like a real connection would."""

    def __init__(self, made: Plan, call: Call) -> None:
        self.status = made.status
        self.content_type = made.content_type
        self._plan = made
        self._call = call
        self._open = asyncio.Event()
        self._open.set()

    async def read(self) -> bytes:
        parts: list[bytes] = []
        await self.relay(parts.append)
        return b"".join(parts)

    async def relay(self, sink: Callable[[bytes], None]) -> None:
        limits = self._call.deadlines
        try:
            async with asyncio.timeout(limits.total_s):
                for number, (pause, data) in enumerate(self._plan.pieces):
                    if pause:
                        async with asyncio.timeout(limits.first_token_s if number == 0 else None):
                            await asyncio.sleep(pause)
                    else:
                        await asyncio.sleep(0)
                    await self._open.wait()
                    if data:
                        sink(data)
        except TimeoutError:
            raise ProviderTimeout("the scripted model did not answer in time") from None
        if self._plan.cut:
            raise ProviderUnreachable("the scripted model closed the connection in the middle of its answer")

    def pause(self) -> None:
        self._open.clear()

    def resume(self) -> None:
        self._open.set()

    def close(self) -> None:
        return None


class ScriptedInstance:
    """One copy of a scripted model; costs nothing and has no process."""

    pid = None

    def __init__(self, script: Script, model: str) -> None:
        self.model = model
        self._script = script
        self.concurrency = script.concurrency
        self._requests = 0
        self._gone = False

    async def send(self, call: Call) -> ScriptedReply:
        if self._gone:
            raise ProviderUnreachable("this scripted instance was unloaded")
        self._requests += 1
        try:
            body: dict[str, Any] = msgspec.json.decode(call.body)
            made = plan(self._script, call.endpoint, body, self._requests)
        except (msgspec.DecodeError, AttributeError, TypeError, LookupError) as error:
            raise InvalidRequest(f"the scripted model cannot read this request: {error}") from None
        return ScriptedReply(made, call)

    async def health(self) -> None:
        if self._gone:
            raise ProviderUnreachable("this scripted instance was unloaded")

    async def warm_up(self) -> None:
        await asyncio.sleep(0)

    async def unload(self) -> None:
        self._gone = True

    def usage(self) -> ProcessUsage | None:
        return None

    def alive(self) -> bool:
        return not self._gone


class ScriptedProvider:
    """Runs scripts in this process."""

    name = "scripted"
    characteristics = Characteristics(owns_process=False, streaming=True, continuous_batching=True, local=True)

    def __init__(self) -> None:
        self._scripts: dict[str, Script] = {}

    async def inspect(self, source: Source) -> Facts:
        """Read the script. Raises ``InvalidRequest`` when it is none."""
        if source.settings:
            raise InvalidRequest(f"a scripted model takes no settings, not {', '.join(source.settings)}")
        raw, script = _read(source.location)
        return Facts(
            digest=f"sha256:{hashlib.sha256(raw).hexdigest()}",
            architecture="scripted",
            context_length=script.context_length,
            size_bytes=len(raw),
            capabilities=frozenset(script.capabilities),
        )

    def context_length(self, version: ModelVersion) -> int | None:
        """As the script says."""
        return version.facts.context_length

    def footprint(self, version: ModelVersion) -> int | None:
        """What the script claims, in bytes; ``None`` when it cannot be read."""
        known = self._scripts.get(version.facts.digest)
        if known is None:
            try:
                known = self._scripts[version.facts.digest] = _read(version.source.location)[1]
            except InvalidRequest:
                return None
        return int(known.memory_mb * MB)

    async def load(self, version: ModelVersion, instance_id: str) -> ScriptedInstance:
        """Take as long to load as the script says. Raises ``LoadFailed`` when it says so, or has changed."""
        try:
            raw, script = _read(version.source.location)
        except InvalidRequest as error:
            raise LoadFailed(error.message) from None
        if f"sha256:{hashlib.sha256(raw).hexdigest()}" != version.facts.digest:
            raise LoadFailed(f"{version.source.location} has changed since {version.ref} was registered")
        await asyncio.sleep(script.load_ms / 1000)
        if script.load_error is not None:
            raise LoadFailed(script.load_error)
        return ScriptedInstance(script, version.ref)


def _read(location: str) -> tuple[bytes, Script]:
    path = Path(location).expanduser()
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"cannot read the script {path}: {error.strerror}") from None
    return raw, read_script(raw, str(path))

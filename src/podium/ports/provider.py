"""What runs models: a provider, its loaded instances, one call and its reply. Protocols and small values; no implementation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from podium.domain.instance import ProcessUsage
from podium.domain.model import Facts, ModelVersion, Source
from podium.domain.record import record
from podium.domain.request import Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Time limits of one call, in seconds."""

    connect_s: float = 5.0
    first_token_s: float = 120.0
    total_s: float = 600.0


@record
@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One operation sent to an instance, in OpenAI's wire format.

    ``body`` is the caller's JSON with ``model`` already replaced by the name the instance knows.
    """

    endpoint: Endpoint
    body: bytes
    stream: bool
    request_id: str
    deadlines: Deadlines = Deadlines()
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """Of the trace it is part of: an instance behind HTTP sends them along."""


class Reply(Protocol):
    """An answer under way: status and headers are known, the body may still be coming."""

    status: int
    content_type: str

    async def read(self) -> bytes:
        """The whole body. Raises ``ProviderError`` when it ends early or takes too long."""
        ...

    async def relay(self, sink: Callable[[bytes], None]) -> None:
        """Hand every piece of the body to ``sink`` as it arrives; returns when the body is complete.

        Raises ``ProviderError`` when it ends early. Cancelling closes the connection upstream, which is how
        a generation is stopped.
        """
        ...

    def pause(self) -> None:
        """Stop reading from upstream (the client is slow)."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...

    def close(self) -> None:
        """Give the answer up; idempotent. An incomplete one closes its connection."""
        ...


class Instance(Protocol):
    """One warm copy of a version."""

    model: str
    """The name its server knows this version by; ``Call.body`` carries it."""
    concurrency: int
    """How many requests it really works on in parallel. An instance may also have ``adaptive: bool``: true when
    this is only a guess (nobody said, and the server cannot be asked), so that the pool may find out.
    """
    pid: int | None
    """The child process, or ``None`` when the server is not ours."""

    async def send(self, call: Call) -> Reply:
        """Send one operation; returns as soon as the status line and headers are there.

        Raises ``ProviderUnreachable``, ``ProviderTimeout``. An HTTP error status is a ``Reply``, not an error.
        """
        ...

    async def health(self) -> None:
        """Return when healthy, raise ``ProviderError`` otherwise. Generates nothing."""
        ...

    async def warm_up(self) -> None:
        """One real forward pass."""
        ...

    async def unload(self) -> None:
        """Stop it and give its memory back; idempotent; returns when the process is gone."""
        ...

    def usage(self) -> ProcessUsage | None:
        """Counters of its processes; ``None`` when they cannot be read (not our process, or gone)."""
        ...

    def alive(self) -> bool:
        """False once its process has ended."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Characteristics:
    """What a provider does for any version it runs."""

    owns_process: bool
    streaming: bool
    continuous_batching: bool
    local: bool


class Provider(Protocol):
    """Runs versions of one kind. Built by ``providers/catalogue``; plugins use the entry point group
    ``podium.providers`` whose value is a callable ``(ProviderContext) -> Provider``.
    """

    name: str
    characteristics: Characteristics

    async def inspect(self, source: Source) -> Facts:
        """Read the facts of an artifact or server. Raises ``InvalidRequest`` when it is not usable,
        ``ProviderError`` when the server does not answer.
        """
        ...

    def context_length(self, version: ModelVersion) -> int | None:
        """Tokens one request may use on an instance of this version, prompt and answer together."""
        ...

    def footprint(self, version: ModelVersion) -> int | None:
        """Estimated memory in bytes on this machine when loaded; 0 for a remote one, ``None`` when unknown."""
        ...

    async def load(self, version: ModelVersion, instance_id: str) -> Instance:
        """Start an instance and return it once it answers its health check. Raises ``LoadFailed``."""
        ...


RAM = "ram"
"""The device of everything that runs on the processors; GPUs are ``cuda:0``, ``cuda:1``, … as NVML numbers them."""


@runtime_checkable
class OnDevices(Protocol):
    """A provider that can be told where to run a version. Optional; without it everything is on ``RAM``."""

    def devices(self, version: ModelVersion) -> tuple[str, ...]:
        """Ids of the devices of this machine an instance may run on, best first; never empty."""
        ...

    async def load(self, version: ModelVersion, instance_id: str, *, device: str = RAM) -> Instance:
        """As ``Provider.load``; the pool passes ``device`` only when it is not ``RAM``."""
        ...


@runtime_checkable
class Probes(Protocol):
    """A provider that can try out what a server really supports. Optional."""

    async def probe(self, source: Source, facts: Facts) -> Facts:
        """``facts`` with the capabilities that a few calls showed, and the evidence for each. Generates, so it is only
        called for a version that is about to be validated. Raises ``ProviderError`` when nothing answers.
        """
        ...


@runtime_checkable
class CountsTokens(Protocol):
    """An instance whose server can count the tokens of a chat without answering it. Optional."""

    async def count_tokens(self, body: bytes) -> int | None:
        """Tokens of the prompt that ``body`` (as in ``Call``) becomes; ``None`` when the server cannot tell. Raises
        ``ProviderError`` when it does not answer.
        """
        ...


@runtime_checkable
class Hosting(Protocol):
    """A provider of versions that somebody may be paid for. Optional."""

    def hosted(self, version: ModelVersion) -> bool:
        """Whether its answers are billed."""
        ...

    def locked(self, version: ModelVersion) -> str | None:
        """Why it cannot be called yet, as there is no key; ``None`` when there is."""
        ...


@runtime_checkable
class Patient(Protocol):
    """A provider whose versions may say how long they take to start. Optional."""

    def ready_within(self, version: ModelVersion) -> float | None:
        """Seconds after which ``load`` gives up by itself, where the version says so; ``None``: as the pool has it."""
        ...


@runtime_checkable
class AtEndpoint(Protocol):
    """A provider whose versions run on servers that are not ours. Optional."""

    def endpoint(self, version: ModelVersion) -> str | None:
        """What several versions share and fail together with, as ``http://HOST:PORT``; ``None`` for own processes."""
        ...

"""A command that starts an OpenAI-compatible server: llama-server, vLLM, SGLang, mlx_lm.server, your own.

The command line is a template with ``${PORT}`` (and ``${HOST}``), or ``preset:NAME`` for a known engine; Podium picks a
free loopback port, starts the server as a managed child, and waits until it answers. No shell is involved.
"""

from __future__ import annotations

import hashlib
import socket
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

import msgspec

from podium import nvml
from podium.core.gpu_layout import Parallelism, Strategy
from podium.domain.model import Facts, ModelVersion, Source
from podium.errors import InvalidRequest, LoadFailed
from podium.ports import RAM, Characteristics
from podium.providers.catalogue import ProviderContext
from podium.providers.child_environment import check_open, given, inherited
from podium.providers.command_line import HOST, expand, named_weights
from podium.providers.http_instance import HttpInstance
from podium.providers.listing import GENERATES
from podium.providers.presets import Gpus, Launch, Wish, engine_of, launch
from podium.providers.process import Command, ManagedProcess
from podium.providers.readiness import Expected, until_ready
from podium.providers.settings import read_settings
from podium.providers.slots import slots_of
from podium.transport.client import HttpClient, Origin

DEFAULT_CONCURRENCY = 16
READY_S = 120.0
GIVE_UP_S = 2.0
"""Between SIGTERM and SIGKILL for a server that never became ready: it has nothing to finish."""
ANY_GPU = "gpu"
_given: deque[int] = deque(maxlen=64)
"""Ports of servers that may not have bound them yet."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``remote``: the model's id on that server. ``memory_mb``: what to reserve before it was measured.

    ``device``: ``ram``, ``gpu`` (any) or ``cuda:N``; on a GPU the command sees that one alone. With a preset ``remote``
    is the model it serves, and the last five say how. ``env`` adds variables, ``secret:NAME`` and ``env:NAME`` among their
    values; ``inherit`` names variables of ours that look like secrets and are passed on all the same.
    """

    remote: str | None = None
    health: str | None = None
    base: str = "/v1"
    ready_timeout_s: Annotated[float, msgspec.Meta(gt=0)] | None = None
    stop_timeout_s: Annotated[float, msgspec.Meta(ge=0)] = 10.0
    concurrency: Annotated[int, msgspec.Meta(ge=1)] | None = None
    memory_mb: Annotated[float, msgspec.Meta(ge=0)] | None = None
    context: Annotated[int, msgspec.Meta(ge=1)] | None = None
    capabilities: tuple[str, ...] | None = None
    env: Mapping[str, str] = {}
    inherit: tuple[str, ...] = ()
    device: Annotated[str, msgspec.Meta(pattern=r"^(ram|gpu|cuda:[0-9]+)$")] = RAM
    gpus: Gpus | None = None
    strategy: Strategy = Strategy.BALANCED
    weights_mb: Annotated[float, msgspec.Meta(gt=0)] | None = None
    tool_parser: str | None = None
    arguments: tuple[str, ...] = ()


_PRESET_ONLY = ("gpus", "strategy", "weights_mb", "tool_parser", "arguments")
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
"""Keeps engines from downloading where nothing may leave the machine."""


def create(context: ProviderContext) -> CommandProvider:
    """Entry point of the provider ``command``."""
    return CommandProvider(context)


class CommandProvider:
    """Starts servers by command."""

    name = "command"
    characteristics = Characteristics(owns_process=True, streaming=True, continuous_batching=True, local=True)

    def __init__(self, context: ProviderContext) -> None:
        self._context = context

    async def inspect(self, source: Source) -> Facts:
        """Check the template; the server itself is asked when it runs. Raises ``InvalidRequest``."""
        settings = read_settings(source, Settings)
        plan = _plan(source, settings)
        check_open(plan.template, settings.env)
        try:
            expand(plan.template, "0", search=self._environment(settings).get("PATH"))
        except InvalidRequest as error:
            engine = engine_of(source.location)
            raise (
                error
                if engine is None
                else InvalidRequest(f"{error.message}; {engine.title}: {engine.install}", param=error.param)
            ) from None
        _check_device(settings.device)
        stable = msgspec.json.encode(dict(source.settings), order="deterministic")
        digest = hashlib.sha256(source.location.encode() + b"\0" + stable).hexdigest()
        return Facts(
            digest=f"sha256:{digest}",
            context_length=settings.context,
            capabilities=frozenset(plan.capabilities),
            evidence=(("parallelism", _words(plan.split)),) if plan.split is not None else (),
        )

    def context_length(self, version: ModelVersion) -> int | None:
        """What was declared; a command says nothing of itself before it runs."""
        return version.facts.context_length

    def footprint(self, version: ModelVersion) -> int | None:
        """The declared reserve in bytes, else the size of the weights the command names, else ``None``."""
        settings = read_settings(version.source, Settings)
        if settings.memory_mb is not None:
            return int(settings.memory_mb * 1024 * 1024)
        if engine_of(version.source.location) is None:
            return named_weights(version.source.location)
        return _plan(version.source, settings).weights_bytes if settings.gpus is None else None

    def devices(self, version: ModelVersion) -> tuple[str, ...]:
        """Where it was told to run; for ``gpu`` all there are, the largest first."""
        device = read_settings(version.source, Settings).device
        if device != ANY_GPU:
            return (device,)
        driver = nvml.opened()
        cards = sorted(driver.devices, key=lambda card: -card.total_bytes) if driver is not None else []
        return tuple(card.id for card in cards) or (f"{nvml.CUDA}:0",)

    def ready_within(self, version: ModelVersion) -> float | None:
        """What was set, else what the preset is known to need."""
        settings = read_settings(version.source, Settings)
        try:
            return settings.ready_timeout_s or _plan(version.source, settings, version.ref).ready_timeout_s
        except InvalidRequest:
            return None

    async def load(self, version: ModelVersion, instance_id: str, *, device: str = RAM) -> HttpInstance:
        """Start the server and wait until it answers. Raises ``LoadFailed`` with the end of its log."""
        settings = read_settings(version.source, Settings)
        port = free_port()
        try:
            plan = _plan(version.source, settings, version.ref)
        except InvalidRequest as error:
            raise LoadFailed(f"{version.ref} cannot be started any more: {error.message}") from None
        expected = Expected(
            ref=version.ref,
            host=HOST,
            port=port,
            base=settings.base,
            health=plan.health,
            timeout_s=plan.ready_timeout_s,
        )
        try:
            environment = self._environment(settings)
            words = expand(plan.template, str(port), device, environment.get("PATH"))
        except InvalidRequest as error:
            raise LoadFailed(f"{version.ref} cannot be started any more: {error.message}") from None
        own = {**_device_environment(device), "PORT": str(port), "HOST": HOST}
        command = Command(argv=words, env={**environment, **own})
        process = await ManagedProcess.start(self._context.home, instance_id, command)
        client = HttpClient(Origin(host=HOST, port=port))
        try:
            health = await until_ready(process, client, expected)
            slots = settings.concurrency or await slots_of(client, settings.base)
        except BaseException:
            await client.aclose()
            await process.stop(min(settings.stop_timeout_s, GIVE_UP_S))
            raise
        return HttpInstance(
            client,
            model=plan.remote,
            concurrency=slots or DEFAULT_CONCURRENCY,
            adaptive=slots is None,
            stop_s=settings.stop_timeout_s,
            capabilities=version.facts.capabilities,
            base=settings.base,
            health_path=health,
            process=process,
        )

    def _environment(self, settings: Settings) -> dict[str, str]:
        """Ours without other people's secrets, and what the registration adds. Raises ``InvalidRequest``."""
        context = self._context
        offline = _OFFLINE if context.reach.offline else {}
        return {**inherited(context.environ, settings.inherit), **offline, **given(context, settings.env)}


def _plan(source: Source, settings: Settings, name: str = "model") -> Launch:
    """What to start, from a command line or from a preset. Raises ``InvalidRequest``."""
    engine = engine_of(source.location)
    if engine is None:
        given = [each for each in _PRESET_ONLY if each in source.settings]
        if given:
            raise InvalidRequest(
                f"{given[0]} is for presets; write the engine's own flags into the command",
                param=f"source.settings.{given[0]}",
            )
        return Launch(
            template=source.location,
            remote=settings.remote or name,
            health=settings.health,
            ready_timeout_s=settings.ready_timeout_s or READY_S,
            capabilities=_chosen(settings, tuple(item.value for item in GENERATES)),
            weights_bytes=None,
            split=None,
        )
    if settings.remote is None:
        raise InvalidRequest(
            f"{source.location} serves no model by itself; name one with --remote ORG/MODEL or a path",
            param="source.settings.remote",
        )
    wish = Wish(
        model=settings.remote,
        name=name,
        context=settings.context,
        concurrency=settings.concurrency,
        gpus=settings.gpus,
        strategy=settings.strategy,
        weights_mb=settings.weights_mb,
        tool_parser=settings.tool_parser,
        arguments=settings.arguments,
    )
    made = launch(engine, wish)
    return replace(
        made,
        health=settings.health or made.health,
        ready_timeout_s=settings.ready_timeout_s or made.ready_timeout_s,
        capabilities=_chosen(settings, made.capabilities),
    )


def _chosen(settings: Settings, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    return otherwise if settings.capabilities is None else settings.capabilities


def _words(split: Parallelism) -> str:
    sizes = f"tensor {split.tensor}, pipeline {split.pipeline}, copies {split.copies}, nodes {split.nodes}"
    return f"{sizes}: {split.reason}"


def _check_device(device: str) -> None:
    """Raises ``InvalidRequest`` for a GPU that is not there."""
    driver = nvml.opened()
    found = [card.id for card in driver.devices] if driver is not None else []
    if device != RAM and not (found if device == ANY_GPU else device in found):
        raise InvalidRequest(
            f"there is no device {device!r} here; there is {', '.join([RAM, *found])} (see `podium doctor`)",
            param="source.settings.device",
        )


def _device_environment(device: str) -> dict[str, str]:
    """Shows the command one GPU alone, numbered as NVML does (CUDA's own order is fastest first)."""
    kind, _, number = device.partition(":")
    environment = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": number} if kind == nvml.CUDA else {}
    return {**environment, "DEVICE": device}


def free_port() -> int:
    """A loopback port nobody listens on at this moment, and not one of those just given out."""
    while True:
        with socket.create_server((HOST, 0)) as probe:
            port: int = probe.getsockname()[1]
        if port not in _given:
            _given.append(port)
            return port

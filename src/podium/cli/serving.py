"""``podium serve``: run the gateway until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli import output
from podium.cli.session import AsJson, ConfigFile
from podium.errors import PodiumError

if TYPE_CHECKING:
    from podium.config import Config
    from podium.runtime import Gateway


def serve(
    host: Annotated[str | None, typer.Option(help="Loopback address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="TCP port; 0 picks a free one.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Serve the OpenAI-compatible endpoint and the control API."""
    _load_numpy_for_one_thread()
    from podium.config import load  # noqa: PLC0415 - keeps `podium --help` fast

    settings = load(config, overrides={"server.host": host, "server.port": port})
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings, as_json=as_json))


def _load_numpy_for_one_thread() -> None:
    """Matrices here are small: while models keep all processors busy, threads of OpenBLAS wait for each other.

    Inverting one of 103 rows takes 0.3 ms, but up to 300 ms with two threads on two busy processors. The processes of
    models do not inherit the setting.
    """
    name = "OPENBLAS_NUM_THREADS"
    if name in os.environ:
        return
    os.environ[name] = "1"
    try:
        import numpy as np  # noqa: F401, PLC0415 - it reads the setting when it is first imported
    finally:
        del os.environ[name]


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The loop of uvloop, where it exists."""
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415 - keeps `podium --help` fast

    return uvloop.new_event_loop


async def _serve(settings: Config, *, as_json: bool) -> None:
    import structlog  # noqa: PLC0415 - keeps `podium --help` fast

    from podium.runtime import Gateway  # noqa: PLC0415 - the same
    from podium.runtime.exposure import in_the_clear  # noqa: PLC0415 - the same
    from podium.telemetry.logs import configure  # noqa: PLC0415 - the same

    wanted = settings.logging
    configure(wanted.level, sys.stderr, as_json=wanted.format == "json" or not (wanted.format == "text" or _terminal()))
    log = structlog.get_logger("podium.serve")
    stop = asyncio.Event()
    again = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, again.set)
    async with Gateway.open(settings) as gateway:
        url = await gateway.serve()
        _first_screen(gateway, url, as_json=as_json)
        if (risk := in_the_clear(gateway.config)) is not None:
            log.warning(risk)
        _quiet_collector()
        gateway.when_built = gc.freeze  # what is built later stays as well
        reloading = asyncio.create_task(_reload_on(again, gateway, log))
        try:
            await stop.wait()
        finally:
            reloading.cancel()
            await asyncio.gather(reloading, return_exceptions=True)
        log.info("stopping: running requests finish first")


def _terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _quiet_collector() -> None:
    """What start-up made stays for good: the cycle collector need not look at it again, nor run so often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)


async def _reload_on(again: asyncio.Event, gateway: Gateway, log: Any) -> None:
    """Read the configuration at every SIGHUP; a bad file is reported and the old one stays in force."""
    while True:
        await again.wait()
        again.clear()
        try:
            done = await gateway.keeper.reread("SIGHUP")
        except PodiumError as error:
            log.warning("the configuration stays as it was", error=error.message)
            continue
        names = [key for key, value in done.items() if value and key not in ("changed", "problems", "number")]
        log.info("configuration read again", changed=names, problems=done.get("problems") or [])


def _no_models(gateway: Gateway) -> str:
    declared = len(gateway.config.models)
    if declared:
        return f"{declared} declared in the configuration, being registered now: `podium models ls`"
    return "no models yet: podium models add NAME --gguf PATH"


def _first_screen(gateway: Gateway, url: str, *, as_json: bool) -> None:
    """Address, models, and something to try."""
    from podium import __version__  # noqa: PLC0415 - used here only

    with contextlib.suppress(BrokenPipeError):
        if as_json:
            output.emit_json({"url": url, "pid": os.getpid(), "version": __version__})
            sys.stdout.flush()
            return
        output.say(f"Podium {__version__} on {url} (the dashboard, too)")
        output.say(f"state in {gateway.config.home}, process {os.getpid()}\n")
        found, total = gateway.services.registry.query()
        rows: list[list[Any]] = [
            [one.ref, one.status, one.source.provider, one.facts.quantization, one.facts.context_length]
            for one in found
        ]
        columns = ("version", "status", "provider", "quantization", "context")
        output.table(columns, rows, empty=_no_models(gateway))
        if total > len(rows):
            output.say(f"… and {total - len(rows)} more")
        output.say("\ntry")
        output.say(f"  curl {url}/v1/chat/completions -H 'content-type: application/json' \\")
        output.say("""    -d '{"model": "auto", "messages": [{"role": "user", "content": "Say hello"}]}'""")
        output.say("\nCtrl-C stops; SIGHUP reads the configuration again")
        sys.stdout.flush()

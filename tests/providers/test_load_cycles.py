"""Loading and unloading a thousand times leaks nothing in the gateway and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import os
import shlex
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from provider_calls import chat, said, version_of
from waiting import until_async

from podium.domain.model import ModelVersion, Source
from podium.errors import LoadFailed
from podium.ports import Instance, Provider
from podium.providers import procfs
from podium.providers.command import CommandProvider
from podium.providers.llamacpp import LlamaCppProvider
from podium.providers.scripted import ScriptedProvider

pytestmark = [
    pytest.mark.slow,
    pytest.mark.requirement("POOL-1", "PRV-3"),
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts in /proc"),
]
MB = 1 << 20
GROWTH = 10 * MB
COMMANDS = int(os.environ.get("PODIUM_TEST_CYCLES", "100"))
"""A command takes most of a second to come and go; for a thousand set the variable."""


@dataclass(frozen=True)
class Held:
    """What this process, the gateway's stand-in, holds. ``sockets`` are among the ``descriptors``; the threads of
    asyncio's pool, which has a bound of its own, are not among the ``threads``.
    """

    descriptors: int
    sockets: int
    processes: int
    threads: int
    tasks: int
    memory: int


def held() -> Held:
    gc.collect()
    links = []
    for path in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(path.readlink()))
        except FileNotFoundError:  # the listing's own
            continue
    return Held(
        descriptors=len(links),
        sockets=sum(link.startswith("socket:") for link in links),
        processes=len(psutil.Process().children(recursive=True)),
        threads=sum(not each.name.startswith("asyncio_") for each in threading.enumerate()),
        tasks=len(asyncio.all_tasks()),
        memory=procfs.memory(os.getpid()).private,
    )


async def cycles(count: int, warm_up: int, once: Callable[[int], Awaitable[None]]) -> tuple[Held, Held]:
    """What is held before and after ``count`` cycles that follow ``warm_up`` others (pools, caches, first imports)."""
    for number in range(warm_up):
        await once(number)
    before = held()
    for number in range(count):
        await once(number)
    after = held()
    print(f"\n{count} cycles: {before} -> {after}, {(after.memory - before.memory) / count / 1024:.2f} KiB each")
    return before, after


def nothing_leaked(before: Held, after: Held) -> None:
    assert (after.descriptors, after.sockets) == (before.descriptors, before.sockets)
    assert (after.processes, after.threads, after.tasks) == (before.processes, before.threads, before.tasks)
    assert after.memory - before.memory < GROWTH


async def one_life(provider: Provider, version: ModelVersion, instance_id: str) -> Instance:
    instance = await provider.load(version, instance_id)
    try:
        await instance.health()
        instance.usage()
        assert said(await (await instance.send(chat(instance.model))).read()) == "hello"
    finally:
        await instance.unload()
    return instance


async def test_a_thousand_loads_of_the_scripted_provider_leak_nothing(script):
    provider = ScriptedProvider()
    source = Source(provider="scripted", location=str(script(text="hello")))
    version = version_of(source, await provider.inspect(source))

    async def once(number: int) -> None:
        assert not (await one_life(provider, version, f"i{number}")).alive()

    nothing_leaked(*await cycles(1000, 50, once))


async def test_commands_that_come_and_go_leak_nothing_and_leave_nothing(context, home, script):
    provider = CommandProvider(context)
    server = f"{shlex.quote(sys.executable)} -m podium.providers.scripted_server"
    path = script("cycled", text="hello")
    source = Source(provider="command", location=f"{server} {shlex.quote(str(path))} --port ${{PORT}}")
    version = version_of(source, await provider.inspect(source))
    pids: list[int] = []

    async def once(number: int) -> None:
        instance = await one_life(provider, version, f"i{number % 4}")
        assert instance.pid
        pids.append(instance.pid)

    nothing_leaked(*await cycles(COMMANDS, 5, once))
    assert len(pids) == COMMANDS + 5
    assert not any(map(procfs.living, pids))
    assert not list((home / "run").iterdir())
    assert len(list((home / "logs").iterdir())) <= 8  # a log and the one before it for each name


@pytest.mark.model
async def test_twenty_llama_cpp_workers_leak_nothing_and_leave_no_folder(
    context, home, smollm_path, monkeypatch, tmp_path
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    provider = LlamaCppProvider(context)
    settings = {"slots": 1, "context": 512, "threads": 1}
    source = Source(provider="llamacpp", location=str(smollm_path), settings=settings)
    version = version_of(source, await provider.inspect(source))

    async def once(number: int) -> None:
        instance = await provider.load(version, f"i{number}")
        try:
            await instance.warm_up()
            assert instance.usage() is not None
        finally:
            await instance.unload()

    nothing_leaked(*await cycles(20, 2, once))
    assert not list(tmp_path.glob("podium-*"))
    assert not list((home / "run").iterdir())


async def test_a_hundred_failed_starts_leak_nothing_and_leave_nothing(context, home):
    provider = CommandProvider(context)
    source = Source(provider="command", location="sh -c 'sleep 600 & echo $!; exit 3' ${PORT}")
    version = version_of(source, await provider.inspect(source))
    left: list[int] = []

    async def once(number: int) -> None:
        with pytest.raises(LoadFailed) as caught:
            await provider.load(version, "one")
        left.append(int(caught.value.message.splitlines()[-1]))

    nothing_leaked(*await cycles(100, 5, once))
    await until_async(lambda: not any(map(procfs.living, left)))
    assert not list((home / "run").iterdir())

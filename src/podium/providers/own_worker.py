"""Starts one of Podium's own workers: a child that serves one model on a private unix socket and demands a random key.

Owns the socket's folder, the key, the order on standard input and the wait for the byte that says "listening". It
must not know what the worker runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from podium.errors import LoadFailed
from podium.providers.process import Command, ManagedProcess
from podium.providers.readiness import how_it_ended, log_of
from podium.transport.client import HttpClient, Origin

KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")
"""What a worker is given of the gateway's environment: it needs no secrets of ours."""
INTERPRETER = ("VIRTUAL_ENV", "PYTHONPATH")
"""Given, too, where the worker runs under the gateway's own interpreter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker that listens. Whoever started it closes ``client`` and stops ``process``."""

    client: HttpClient
    headers: tuple[tuple[bytes, bytes], ...]
    process: ManagedProcess


def environment(environ: Mapping[str, str], names: Sequence[str] = (*KEPT, *INTERPRETER)) -> dict[str, str]:
    """Those of ``names`` that are set."""
    return {name: environ[name] for name in names if name in environ}


async def start_worker(
    home: Path,
    instance_id: str,
    argv: Sequence[str],
    order: Mapping[str, object],
    *,
    env: Mapping[str, str],
    ref: str,
    timeout_s: float,
) -> Worker:
    """Run ``argv`` with the number of a pipe after it, and wait until it wrote a byte there.

    ``order`` reaches it as one line of JSON with ``socket`` and ``key`` added. Raises ``LoadFailed`` with the end of
    its log.
    """
    folder = Path(tempfile.mkdtemp(prefix="podium-"))
    key, socket = secrets.token_urlsafe(32), folder / "m.sock"
    received, given = os.pipe()
    try:
        command = Command(
            argv=[*argv, str(given)],
            env=env,
            stdin=msgspec.json.encode({**order, "socket": str(socket), "key": key}) + b"\n",
            keep=(given,),
            folder=folder,
        )
        process = await ManagedProcess.start(home, instance_id, command)
        try:
            await _until_ready(process, received, ref, timeout_s)
        except BaseException:
            await process.stop(grace_s=0.0)
            raise
    finally:
        os.close(received)
        with contextlib.suppress(OSError):
            os.close(given)
    return Worker(
        client=HttpClient(Origin(unix_path=socket)),
        headers=((b"authorization", b"Bearer " + key.encode()),),
        process=process,
    )


async def _until_ready(process: ManagedProcess, pipe: int, ref: str, timeout_s: float) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def readable() -> None:
        loop.remove_reader(pipe)
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(pipe, readable)
    ended = asyncio.create_task(process.wait())
    both: set[asyncio.Future[Any]] = {ready, ended}
    try:
        await asyncio.wait(both, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if ready.done() and os.read(pipe, 1):
            return
        if ready.done() and not ended.done():  # its end of the pipe is closed, so it is about to end
            await asyncio.wait({ended}, timeout=timeout_s)
    finally:
        loop.remove_reader(pipe)
        ended.cancel()
    if not ended.done():
        raise LoadFailed(f"{ref} was not loaded within {timeout_s:g} s{log_of(process)}")
    raise LoadFailed(f"{ref} could not be loaded: {how_it_ended(ended.result())}{log_of(process)}")

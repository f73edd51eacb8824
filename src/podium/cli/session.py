"""Gives a command its gateway: the running server, else one embedded for as long as the command runs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from podium.client import Podium

T = TypeVar("T")
HOLDER_S, LOOK_S = 20.0, 0.2
"""How long a command waits for the process that holds its home, and how often it looks."""
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Configuration file instead of the home's.")]


@contextlib.asynccontextmanager
async def gateway(*, embed: bool = True) -> AsyncIterator[Podium]:
    """The server of ``PODIUM_URL`` or of this home; with ``embed`` and without a server, one in this process."""
    async with contextlib.AsyncExitStack() as stack:
        yield await _opened(stack, embed)


async def _opened(stack: contextlib.AsyncExitStack, embed: bool) -> Podium:
    """A home that another process holds is waited for: a server that starts answers soon, a command ends soon."""
    from podium.client import Podium, find_server  # noqa: PLC0415 - keeps `podium --help` fast
    from podium.errors import ConfigError  # noqa: PLC0415 - same

    deadline = time.monotonic() + HOLDER_S
    told = False
    while (url := find_server()) is None and embed:
        try:
            return await stack.enter_async_context(Podium.open(actor="cli"))
        except ConfigError as error:
            if error.code != "home_in_use" or time.monotonic() > deadline:
                raise
        if not told:
            typer.echo("another Podium holds this home; waiting until it answers or ends …", err=True)
            told = True
        await asyncio.sleep(LOOK_S)
    return await stack.enter_async_context(Podium.connect(url, actor="cli"))


def ask(work: Callable[[Podium], Awaitable[T]], *, embed: bool = True) -> T:
    """Run one piece of work against the gateway and wait for it."""

    async def run() -> T:
        async with gateway(embed=embed) as podium:
            return await work(podium)

    return asyncio.run(run())


def fail(message: str, code: int = 1) -> typer.Exit:
    """Say why on stderr; raise what comes back."""
    typer.echo(f"podium: {message}", err=True)
    return typer.Exit(code)

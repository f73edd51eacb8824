"""Gives a command its gateway: the running server, else one embedded for as long as the command runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from podium.client import Podium

T = TypeVar("T")
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Configuration file instead of the home's.")]


@contextlib.asynccontextmanager
async def gateway(*, embed: bool = True) -> AsyncIterator[Podium]:
    """The server of ``PODIUM_URL`` or of this home; with ``embed`` and without a server, one in this process."""
    from podium.client import Podium, find_server  # noqa: PLC0415 - keeps `podium --help` fast

    url = find_server()
    opened = Podium.open(actor="cli") if url is None and embed else Podium.connect(url, actor="cli")
    async with opened as podium:
        yield podium


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

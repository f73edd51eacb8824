"""``podium top``."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Annotated

import typer

from podium.cli import output
from podium.cli.session import AsJson, fail


def top(
    once: Annotated[bool, typer.Option("--once", help="Print one frame and end; so it is without a terminal.")] = False,
    page: Annotated[str, typer.Option(help="now or leaderboard.")] = "now",
    interval: Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds between looks.")] = 1.0,
    url: Annotated[str | None, typer.Option(help="Of the server; else PODIUM_URL, else this home's.")] = None,
    as_json: AsJson = False,
) -> None:
    """Watch instances, requests and leaderboards live. Keys: q, tab or arrows, 1, 2."""
    if page not in ("now", "leaderboard"):
        raise typer.BadParameter("now or leaderboard", param_hint="--page")
    plain = once or as_json or not (sys.stdout.isatty() and sys.stdin.isatty())
    with contextlib.suppress(KeyboardInterrupt):
        found = asyncio.run(_top(url, int(page == "leaderboard"), interval, plain=plain, as_json=as_json))
        if found is not None:
            raise fail(found)


async def _top(url: str | None, page: int, interval_s: float, *, plain: bool, as_json: bool) -> str | None:
    """Why there was nothing to show; ``None`` when there was."""
    from podium.cli.top.gathering import Watch  # noqa: PLC0415 - keeps `podium --help` fast
    from podium.cli.top.screen import PLAIN_HEIGHT, View, console_for, frame, run  # noqa: PLC0415 - the same

    watch, view, console = Watch(url), View(page=page), console_for(sys.stdout)
    try:
        if not plain:
            await run(watch, console, view, interval_s)
            return None
        look = await watch.look(leaderboard=as_json or page == 1)
        if not look.seen:
            return look.problem
        if as_json:
            output.emit_json(_document(look))
        else:
            console.print(frame(look, view, PLAIN_HEIGHT))
        return None
    finally:
        await watch.close()


def _document(look: object) -> dict[str, object]:
    from dataclasses import asdict  # noqa: PLC0415 - used here only

    kept = asdict(look)  # type: ignore[call-overload]  # a Look, imported late
    return {name: value for name, value in kept.items() if name not in ("problem", "lost_at")}

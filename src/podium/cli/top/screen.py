"""The frame around the pages, and the loop that reads keys, looks at the server and draws again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from podium.cli.top import leaderboard, now
from podium.cli.top.gathering import TASKS, Look, Watch

PAGES = ("Now", "Leaderboard")
HELP = "q quit  tab other page  ↑ ↓ tasks"
KEYS = {"\x1b[C": "next", "\x1b[D": "next", "\t": "next", "\x1b[Z": "next", "\x1b[A": "up", "\x1b[B": "down"}
PLAIN_HEIGHT = 60
"""Lines of a frame that is not for a screen."""


@dataclass(slots=True)
class View:
    """What the user has chosen to see."""

    page: int = 0
    first: int = 0
    over: bool = False

    def press(self, keys: str) -> None:
        """Take what was typed; several keys may have come at once."""
        while keys:
            known = next((key for key in KEYS if keys.startswith(key)), None)
            key, keys = (keys[0], keys[1:]) if known is None else (known, keys[len(known) :])
            self._one(KEYS.get(key, key))

    def _one(self, key: str) -> None:
        match key:
            case "q" | "Q" | "\x03" | "\x04":
                self.over = True
            case "next":
                self.page = (self.page + 1) % len(PAGES)
            case "1" | "2":
                self.page = int(key) - 1
            case "up" | "k":
                self.first = max(0, self.first - 1)
            case "down" | "j":
                self.first = min(TASKS - 1, self.first + 1)


def frame(look: Look, view: View, height: int) -> RenderableType:
    """One picture."""
    room = height - 4
    view.first = min(view.first, max(0, len(look.tasks) - 1))
    if not look.seen:
        body: RenderableType = Text("")
    elif view.page == 0:
        body = now.page(look, room)
    else:
        body = leaderboard.page(look, room, view.first)
    return Group(_head(look), _pages(view), _problem(look), body)


def _head(look: Look) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append("Podium", "bold")
    if look.seen:
        line.append(f" {look.version}  {look.url}  up {_span(look.uptime_s)}")
        line.append(f"  {look.traffic['requests_per_s']:.1f} requests/s", "bold")
        line.append(f"  95 % {now.milliseconds(look.traffic['p95_ms'])}  {look.traffic['waiting']} waiting")
        if look.traffic["failed_per_s"]:
            line.append(f"  {look.traffic['failed_per_s']:.1f} failed/s", "red")
        dropped = look.recorder.get("dropped", 0)
        if dropped:
            line.append(f"  {dropped} records lost", "red")
    return line


def _pages(view: View) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    for number, name in enumerate(PAGES):
        shown = f"[{name}]" if number == view.page else f" {name} "
        line.append(shown, "reverse bold" if number == view.page else "dim")
        line.append(" ")
    line.append(f"  {HELP}", "dim")
    return line


def _problem(look: Look) -> Text:
    if look.problem is None:
        return Text()
    since = time.time() - (look.lost_at or time.time())
    shown = f"; shown is what was known at {time.strftime('%H:%M:%S', time.localtime(look.at))}" if look.seen else ""
    return Text(f"no answer for {_span(since)}: {look.problem}; trying again{shown}", "bold red")


def _span(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def console_for(stream: IO[str]) -> Console:
    """Colours where the terminal has them and NO_COLOR is not set; a width of 110 where nobody says one."""
    width = None if stream.isatty() or "COLUMNS" in os.environ else 110
    return Console(file=stream, width=width, highlight=False)


async def run(watch: Watch, console: Console, view: View, interval_s: float) -> None:
    """Until the user has enough."""
    loop = asyncio.get_running_loop()
    wake, turned = asyncio.Event(), asyncio.Event()

    def typed() -> None:
        page = view.page
        view.press(os.read(sys.stdin.fileno(), 64).decode(errors="ignore"))
        wake.set()
        if view.page != page:
            turned.set()

    with _raw(sys.stdin), Live(console=console, screen=True, auto_refresh=False, transient=True) as live:
        loop.add_reader(sys.stdin.fileno(), typed)
        with contextlib.suppress(NotImplementedError, AttributeError, ValueError):
            loop.add_signal_handler(signal.SIGWINCH, wake.set)
        looking = asyncio.create_task(_look(watch, view, wake, turned, interval_s))
        try:
            while not view.over:
                live.update(frame(watch.last, view, console.height), refresh=True)
                await _within(wake, 1.0)  # ages go on without news
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            loop.remove_reader(sys.stdin.fileno())
            with contextlib.suppress(NotImplementedError, AttributeError, ValueError):
                loop.remove_signal_handler(signal.SIGWINCH)


async def _look(watch: Watch, view: View, wake: asyncio.Event, turned: asyncio.Event, interval_s: float) -> None:
    while True:
        await watch.look(leaderboard=view.page == 1)
        wake.set()
        await _within(turned, interval_s)


async def _within(event: asyncio.Event, seconds: float) -> None:
    """Until it is set, for at most so long; then it is clear again."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    event.clear()


@contextlib.contextmanager
def _raw(stream: IO[str]) -> Iterator[None]:
    """Keys one by one and unseen; as it was afterwards."""
    import termios  # noqa: PLC0415 - not on every platform
    import tty  # noqa: PLC0415 - the same

    before = termios.tcgetattr(stream.fileno())
    tty.setcbreak(stream.fileno())
    try:
        yield
    finally:
        termios.tcsetattr(stream.fileno(), termios.TCSADRAIN, before)

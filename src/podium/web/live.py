"""What is live on a page: blocks drawn again on the server, and sent as events when they have changed.

A stream holds nothing but what it sent last. It is held against the viewer's key at every round, so that it ends with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator, Callable

from podium.errors import PodiumError
from podium.web.page import Look, Page
from podium.web.rendering import Drawing

SOONEST_S = 0.25
"""Between two rounds, however much happens."""
HEARTBEAT_S = 15.0
MOST_STREAMS = 32


async def rounds(
    page: Page, look: Look, drawing: Drawing, context: Callable[[], dict[str, object]]
) -> AsyncGenerator[bytes, None]:
    """Events of one stream: one by the name of each block that changed, ``problem`` with words when data is not there,
    ``ended`` when the viewer's key has. ``context`` is what every template gets; it raises when the viewer may no more.
    """
    sent: dict[str, bytes] = {}
    news = look.services.events.follow()
    quiet = 0.0
    try:
        yield b"retry: 2000\n\n"
        while not look.services.events.closing:
            news.clear()
            out = []
            try:
                values = context()
            except PodiumError as error:
                yield _event("ended", error.message)
                return
            try:
                values.update(await page.data(look))
                for name in page.live:
                    html = drawing.block(page.template, name, values)
                    digest = hashlib.blake2b(html.encode(), digest_size=16).digest()
                    if sent.get(name) != digest:
                        sent[name] = digest
                        out.append(_event(name, html))
            except PodiumError as error:
                out.append(_event("problem", error.message))
            quiet = 0.0 if out else quiet + page.every_s
            if out:
                yield b"".join(out)
            elif quiet >= HEARTBEAT_S:
                quiet = 0.0
                yield b": alive\n\n"
            await asyncio.sleep(min(SOONEST_S, page.every_s))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, page.every_s - SOONEST_S)):
                    await news.wait()
    finally:
        look.services.events.unfollow(news)


def _event(name: str, text: str) -> bytes:
    """A server-sent event (HTML standard, 9.2.6): every line of the text is a field of its own."""
    lines = "".join(f"data: {line}\n" for line in text.splitlines()) or "data:\n"
    return f"event: {name}\n{lines}\n".encode()

"""An application that is built at the first request."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from podium.client import Podium
from podium.config import load
from podium.runtime import Gateway
from podium.server.late import LateApp


async def _receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _ask(app: LateApp, path: str = "/") -> list[Any]:
    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message)

    await app({"type": "http", "path": path}, _receive, send)
    return said


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    await send(scope["path"])


async def test_it_is_built_once_for_requests_that_come_together_and_the_loop_goes_on():
    loop, begun, may, builds = asyncio.get_running_loop(), asyncio.Event(), threading.Event(), []

    def build() -> Any:
        builds.append(threading.current_thread())
        loop.call_soon_threadsafe(begun.set)
        assert may.wait(60)
        return _echo

    app = LateApp(build)
    asked = [asyncio.create_task(_ask(app, f"/{number}")) for number in range(3)]
    await begun.wait()
    assert not any(one.done() for one in asked)  # and this loop runs although build() blocks
    may.set()
    assert await asyncio.gather(*asked) == [["/0"], ["/1"], ["/2"]]
    assert await _ask(app, "/later") == ["/later"]
    assert len(builds) == 1
    assert builds[0] is not threading.main_thread()


async def test_who_leaves_does_not_end_it_for_the_others():
    may = threading.Event()

    def build() -> Any:
        assert may.wait(60)
        return _echo

    app = LateApp(build)
    leaves, stays = asyncio.create_task(_ask(app)), asyncio.create_task(_ask(app, "/stays"))
    await asyncio.sleep(0)
    leaves.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaves
    may.set()
    assert await stays == ["/stays"]


async def test_what_the_building_raises_reaches_who_asked_and_the_next_request_tries_again():
    broken = [OSError("no more files")]

    def build() -> Any:
        if broken:
            raise broken.pop()
        return _echo

    app = LateApp(build)
    with pytest.raises(OSError, match="no more files"):
        await _ask(app)
    assert await _ask(app, "/again") == ["/again"]


async def test_a_gateway_tells_once_that_its_control_api_is_built(tmp_path: Path):
    built: list[threading.Thread] = []
    settings = load(None, overrides={"server.port": 0}, environ={"PODIUM_HOME": str(tmp_path)})
    async with Gateway.open(settings) as gateway:
        url = await gateway.serve()
        gateway.when_built = lambda: built.append(threading.current_thread())
        for _ in range(2):
            async with Podium.connect(url) as podium:
                assert await podium.instances() == []
    assert len(built) == 1
    assert built[0] is not threading.main_thread()


def test_a_start_does_not_load_what_only_the_control_api_and_the_pages_need():
    late = ("fastapi", "starlette", "jinja2", "podium.server.control", "podium.web")
    code = (
        "import asyncio, sys, tempfile\n"
        "from podium.config import load\n"
        "from podium.runtime import Gateway\n"
        "async def start(home):\n"
        "    settings = load(None, overrides={'server.port': 0}, environ={'PODIUM_HOME': home})\n"
        "    async with Gateway.open(settings) as gateway:\n"
        "        await gateway.serve()\n"
        f"        print([name for name in {late!r} if name in sys.modules])\n"
        "with tempfile.TemporaryDirectory() as home:\n"
        "    asyncio.run(start(home))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stdout

"""Real servers for the tests of the pages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))

from plain_browser import Browser
from server import Server


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A server without any key and without any model, and a browser in front of it."""
    server = Server(tmp_path_factory.mktemp("web") / "home").start()
    yield Browser(server)
    server.stop()


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, dict[str, str]]]:
    """A server with a model and a key of each role."""
    server = Server(tmp_path_factory.mktemp("keyed") / "home").start()
    server.script("m@1", text="hello")
    keys: dict[str, str] = {}
    for role in ("admin", "operator", "user", "viewer"):
        headers = {"authorization": f"Bearer {keys['admin']}"} if keys else {}
        keys[role] = server.ok("POST", "/api/v1/keys", {"role": role, "name": f"a {role}"}, headers)["key"]
    yield server, keys
    server.stop()

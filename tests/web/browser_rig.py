"""Chromium on a real server: finds the browser, fills a server with something to see, signs in, and watches each page.

Where Chromium is missing the tests are skipped, unless ``PODIUM_BROWSER=required`` (as CI sets it): then they fail.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Response

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))

from server import Server

ROLES = ("admin", "operator", "user", "viewer")
SHOTS = Path(__file__).resolve().parent / "screenshots"
"""Pictures of every page, for people to look at; git ignores them."""
LIMIT_MS = 20_000
"""For whatever a page is waited for: the machine may be busy."""
WORSE, BETTER = {"m@a": 0.9, "m@b": 0.1}, {"m@a": 0.6, "m@b": 0.9}


def chromium() -> str:
    """Where it is; skips or fails without it."""
    found = os.environ.get("PODIUM_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        why = "Chromium is not installed (on Debian: apt install chromium)"
        if os.environ.get("PODIUM_BROWSER") == "required":
            pytest.fail(why)
        pytest.skip(why)
    return found


@dataclass
class Site:
    """A server that needs keys, one key a role, and what was put on it."""

    server: Server
    keys: dict[str, str]
    rollouts: dict[str, str] = field(default_factory=dict)

    def call(self, method: str, path: str, body: object = None, role: str = "admin") -> Any:
        return self.server.ok(method, path, body, {"authorization": f"Bearer {self.keys[role]}"})

    def ask(self, model: str, text: str = "hi", role: str = "user", **more: Any) -> Any:
        return self.server.chat(model, text, headers={"authorization": f"Bearer {self.keys[role]}"}, **more)

    def roll_out(self, task: str, to: str = "m@b", **plan: Any) -> str:
        """Order a gradual rollout from ``m@a``; its id."""
        self.call("POST", f"/api/v1/tasks/{task}/swap", {"to": "m@a"})
        wanted = {"to": to, "mode": "gradual", "plan": plan, "reason": "half the memory"}
        self.rollouts[task] = self.call("POST", f"/api/v1/tasks/{task}/swap", wanted)["id"]
        return self.rollouts[task]

    def scored(self, task: str, worth: dict[str, float], times: int, stop: threading.Event | None = None) -> None:
        """Requests to a task, each scored by the version that answered."""
        draw = random.Random(7)
        for _ in range(times):
            if stop is not None and stop.is_set():
                return
            reply = self.ask(f"task:{task}")
            assert reply.status == 200, reply.body
            score = min(1.0, max(0.0, worth[reply.headers["x-podium-model"]] + draw.uniform(-0.1, 0.1)))
            self.call("POST", "/api/v1/feedback", {"request_id": reply.headers["x-request-id"], "score": score}, "user")

    @contextmanager
    def traffic(self, task: str, worth: dict[str, float]) -> Iterator[None]:
        """The same in the background, until the block ends."""
        stop = threading.Event()
        asking = threading.Thread(target=self.scored, args=(task, worth, 100_000, stop))
        asking.start()
        try:
            yield
        finally:
            stop.set()
            asking.join(20)


def site(folder: Path) -> Site:
    """A server with scripted models, traffic, judgments, a calibrated judge, and rollouts in several states."""
    home = folder / "home"
    home.mkdir()
    (home / "podium.toml").write_text(
        '[judging]\nenabled = true\nsample = 1.0\njudge = "none"\ncriteria = ["minimality"]\n'
    )
    server = Server(home)
    server.cli("judge", "calibrate", str(_labels(folder)), "--criterion", "minimality", "--save")
    server.start(60)
    server.script("m@a", text="The answer of a, in some words.")
    server.script("m@b", text="The answer of b, in other words.")
    server.script("slow@1", text=" ".join(f"word{number}" for number in range(200)), chunk_gap_ms=40)
    keys: dict[str, str] = {}
    for role in ROLES:  # the first key is made by whoever reaches the machine; it ends that
        headers = {"authorization": f"Bearer {keys['admin']}"} if keys else {}
        made = server.ok("POST", "/api/v1/keys", {"name": f"the {role}", "role": role}, headers)
        keys[role] = made["key"]
    made = Site(server, keys)
    made.roll_out("worse", start_share=0.4, step_s=600.0, min_samples=2, validate=False)
    made.scored("worse", WORSE, 40)
    made.roll_out("support", start_share=0.5, step_s=3600.0, min_samples=2, validate=False)
    made.scored("support", BETTER, 16)
    assert made.ask("m@a", "of some task", metadata={"task": "chat"}).status == 200
    return made


def _labels(folder: Path) -> Path:
    """Short answers that people passed, long-winded ones that they did not, and some the other way round."""
    filler = (
        "Well, that is a good question, and after long thought about everything, and I repeat everything, I would say"
    )
    rows = [
        {
            "id": f"r{number}",
            "criterion": "minimality",
            "context": f"What is {number} plus {number}?",
            "output": f"{2 * number}" if number % 2 else f"{filler} that it may be {2 * number}. I hope this helps!",
            "human": int(bool(number % 2) != (number % 9 == 0)),
        }
        for number in range(40)
    ]
    path = folder / "labels.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


class Watched:
    """A page whose console, requests and answers are looked at: ``fine`` fails when something was wrong."""

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self.page: Page = context.new_page()
        self.page.set_default_timeout(LIMIT_MS)
        self._origin = origin
        self._wrong: list[str] = []
        self.page.on("console", lambda message: self._heard(message.type, message.text))
        self.page.on("pageerror", lambda error: self._wrong.append(f"script: {error}"))
        self.page.on("request", lambda request: self._asked(request.url))
        self.page.on("response", self._answered)

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self._wrong.append(f"console {kind}: {text}")

    def _asked(self, url: str) -> None:
        if not url.startswith((self._origin, "data:", "blob:")):
            self._wrong.append(f"asked another host: {url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self._wrong.append(f"{response.status} {response.url}")

    def go(self, path: str) -> Page:
        """Open a page and wait for it and its scripts."""
        self.page.goto(self._origin + path)
        return self.page

    def fine(self) -> None:
        """Nothing was wrong since the last time."""
        found, self._wrong = self._wrong, []
        assert not found, found

    def expect_wrong(self, part: str) -> None:
        """Something was wrong as it had to be, and nothing else."""
        found, self._wrong = self._wrong, []
        assert found, part
        assert all(part in one for one in found), found


def signed_in(browser: Browser, of: Site, role: str, **options: Any) -> BrowserContext:
    """A browser in which somebody with that role signed in, an admin by typing the key."""
    context = browser.new_context(**options)
    if role != "admin":
        answer = context.request.post(of.server.url + "/sign-in", form={"key": of.keys[role]}, max_redirects=0)
        assert answer.status == 303, answer.text()
        return context
    page = context.new_page()
    page.goto(of.server.url + "/costs?by=task")
    page.locator("#key").fill(of.keys[role])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(of.server.url + "/costs?by=task")
    page.close()
    return context


def until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Poll until it is true."""
    from watching import wait_for

    wait_for(condition, timeout_s)

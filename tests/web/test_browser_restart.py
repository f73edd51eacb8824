"""What an open page does when the gateway goes away and comes back, in Chromium on a real server."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from browser_rig import LIMIT_MS, chromium
from server import Server

pytestmark = [pytest.mark.requirement("OPS-8"), pytest.mark.timeout(120)]


def again(server: Server) -> None:
    """Restart it at the address it had."""
    if not server.arguments:
        server.arguments = ("--port", str(server.port))
    server.stop()
    server.start(60)


def test_a_page_is_live_again_after_a_restart_and_says_so_when_one_must_sign_in_anew(tmp_path: Path) -> None:
    program = chromium()
    server = Server(tmp_path / "home").start(60)
    try:
        server.script("m@1", text="hello")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            page = browser.new_page()
            state = page.locator("#live")
            page.goto(server.url)
            expect(state).to_have_text("live", timeout=LIMIT_MS)
            again(server)
            server.script("fresh@1", text="hello")
            expect(page.locator("#pool")).to_contain_text("fresh", timeout=LIMIT_MS)
            expect(state).to_have_text("live", timeout=LIMIT_MS)

            key = server.ok("POST", "/api/v1/keys", {"role": "viewer", "name": "wall"})["key"]
            page.goto(server.url)
            page.locator("input[type=password]").fill(key)
            page.keyboard.press("Enter")
            expect(state).to_have_text("live", timeout=LIMIT_MS)
            again(server)
            expect(state).to_have_text("signed out", timeout=LIMIT_MS)
            expect(page.locator("#flash")).to_contain_text("Reload the page to sign in again")
            browser.close()
    finally:
        server.stop()

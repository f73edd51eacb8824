"""The dashboard as people see it, in Chromium on a real server: every page, live, in light, dark and on a phone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from browser_rig import BETTER, LIMIT_MS, SHOTS, Site, Watched, chromium, signed_in, site, until

pytestmark = [pytest.mark.browser, pytest.mark.requirement("OPS-8")]
PAGES = {
    "now": "/",
    "leaderboard": "/leaderboard",
    "rollouts": "/rollouts",
    "rollout": "/rollouts/{support}",
    "rolled-back": "/rollouts/{worse}",
    "decisions": "/decisions?task=chat",
    "costs": "/costs",
    "costs-by-key": "/costs?period=7d&by=key&figure=tokens",
    "quality": "/quality?task=chat",
    "health": "/health",
    "playground": "/playground",
}
SEEN_ALREADY = {"rolled-back", "costs-by-key"}
"""The same page as one before, in another state: of these only the colours are looked at, and in light alone."""
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
NARROWEST_STEP = "Math.min(...[...document.querySelectorAll('ol.ramp li')].map((one) => one.offsetWidth))"
FITS = "document.documentElement.scrollWidth <= innerWidth"
MOST_BYTES = 300_000  # when it is painted is measured by benchmarks/pages.py


@dataclass
class Rig:
    site: Site
    browser: Browser
    contexts: dict[str, BrowserContext]

    def open(self, role: str) -> Watched:
        return Watched(self.contexts[role], self.site.server.url)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One browser and one server for all tests here; an admin, a user and a viewer are signed in."""
    program = chromium()
    made = site(tmp_path_factory.mktemp("site"))
    SHOTS.mkdir(exist_ok=True)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            roles = ("admin", "user", "viewer")
            contexts = {role: signed_in(browser, made, role, viewport=WIDE, reduced_motion="reduce") for role in roles}
            yield Rig(made, browser, contexts)
            browser.close()
    finally:
        made.server.stop()


@pytest.fixture
def admin(rig: Rig) -> Iterator[Watched]:
    """A page of an admin; nothing may have gone wrong on it at the end."""
    watched = rig.open("admin")
    yield watched
    watched.fine()
    watched.page.close()


def settled(page: Page) -> None:
    """What the page asks for once it is shown has come, charts are drawn, and what is live is."""
    expect(page.locator("progress")).to_have_count(0)
    expect(page.locator("figure.chart .plot:not(:has(canvas))")).to_have_count(0)
    expect(page.locator("#live:not([data-state=live])")).to_have_count(0)


def accessible(page: Page, where: str, *, colours_only: bool = False) -> None:
    """axe finds nothing serious or critical. In other colours only what depends on them is looked at again."""
    rules = {"runOnly": ["color-contrast"]} if colours_only else {}
    found = Axe().run(page, options={"resultTypes": ["violations"], **rules}).response["violations"]
    bad = [
        (one["id"], one["help"], [node["html"][:160] for node in one["nodes"][:3]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert not bad, (where, bad)


@pytest.mark.parametrize("name", PAGES)
def test_each_page_is_light_accessible_and_fits_in_both_colours_and_on_a_phone(rig: Rig, admin: Watched, name: str):
    page = admin.page
    wire = page.context.new_cdp_session(page)
    wire.send("Network.enable")
    wire.send("Network.setCacheDisabled", {"cacheDisabled": True})
    sizes: list[float] = []
    wire.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    admin.go(PAGES[name].format(**rig.site.rollouts))
    settled(page)
    until(lambda: page.evaluate(PAINTED))
    print(f"{name}: first paint {page.evaluate(PAINTED):.0f} ms, {sum(sizes) / 1000:.0f} kB in {len(sizes)} files")
    assert 0 < sum(sizes) <= MOST_BYTES
    assert page.locator("h1").count() == 1
    for scheme in ("light",) if name in SEEN_ALREADY else ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        accessible(page, f"{name}, {scheme}", colours_only=scheme == "dark" or name in SEEN_ALREADY)
        page.screenshot(path=SHOTS / f"{name}-{scheme}.png", full_page=True)
    if name in SEEN_ALREADY:
        return
    page.set_viewport_size(PHONE)
    page.emulate_media(color_scheme="light")
    page.screenshot(path=SHOTS / f"{name}-phone.png", full_page=True)
    until(lambda: page.evaluate(FITS), 5)


def test_a_ramp_of_many_steps_fits_on_a_narrow_phone(rig: Rig, admin: Watched):
    found = rig.site.roll_out("small-steps", start_share=0.05, step_share=0.05, step_s=3600.0, validate=False)
    page = admin.page
    page.set_viewport_size({"width": 320, "height": 640})
    for path in (f"/rollouts/{found}", "/rollouts"):
        admin.go(path)
        expect(page.locator("ol.ramp li").last).to_be_visible()
        until(lambda: page.evaluate(FITS), 5)
        assert page.evaluate(NARROWEST_STEP) >= 30


def test_a_rollout_is_watched_from_its_first_answers_to_its_end(rig: Rig, admin: Watched):
    found = rig.site.roll_out("watched", start_share=0.5, step_share=0.5, step_s=0.4, min_samples=3, validate=False)
    page = admin.go(f"/rollouts/{found}")
    with rig.site.traffic("watched", BETTER):
        expect(page.locator("#standing .badge")).to_have_text("promoted", timeout=LIMIT_MS)
    page.reload()
    expect(page.locator("figure#arms canvas")).to_be_visible()
    expect(page.locator("#log li").first).to_contain_text("promoted")
    expect(page.locator("#evidence")).to_contain_text("quality")
    expect(page.locator("#orders")).to_contain_text("It has ended")
    series = json.loads(page.locator("figure#arms").get_attribute("data-series") or "")
    assert [line["name"] for line in series["lines"]][:4] == ["old", "new", "new, at most", "new, at least"]


def test_the_curves_of_a_running_rollout_move_without_a_reload(rig: Rig, admin: Watched):
    page = admin.go(f"/rollouts/{rig.site.rollouts['support']}")
    settled(page)
    seen = page.locator("#moved [data-chart-for=arms]")
    first = seen.get_attribute("data-series")
    rig.site.scored("support", BETTER, 5)
    until(lambda: seen.get_attribute("data-series") != first)


def test_an_operator_pauses_resumes_and_aborts_and_is_asked_first(rig: Rig, admin: Watched):
    found = rig.site.roll_out("orders", start_share=0.3, step_s=3600.0, min_samples=2, validate=False)
    page = admin.go(f"/rollouts/{found}")
    expect(page.locator("#standing .badge")).to_have_text("canary")
    ask = page.locator("dialog#ask")
    page.get_by_role("button", name="Pause").click()
    expect(ask).to_contain_text("Send all requests of orders to m@a")
    ask.get_by_role("button", name="Cancel").click()
    assert rig.site.call("GET", f"/api/v1/rollouts/{found}")["rollout"]["state"] == "canary"
    page.get_by_label("Why, for the record").fill("over lunch")
    for order, state in (("Pause", "paused"), ("Resume", "canary"), ("Abort", "aborted")):
        page.get_by_role("button", name=order).click()
        ask.get_by_role("button", name="Go ahead").click()
        expect(page.locator("#standing .badge")).to_have_text(state)
    steps = rig.site.call("GET", f"/api/v1/rollouts/{found}")["steps"]
    assert "over lunch" in next(step["reason"] for step in steps if step["after"] == "paused")
    events = rig.site.call("GET", "/api/v1/events?kind=rollout.paused&newest=true")["events"]
    assert "the admin" in events[-1]["data"]["by"], "whose key it was is on record"


def tab_to(page: Page, words: str) -> None:
    """Tab until what has the focus begins with ``words``; fails when it is not reached."""
    said = ""
    for _ in range(60):
        page.keyboard.press("Tab")
        said = page.evaluate("document.activeElement.innerText ?? ''").strip()
        if said.startswith(words):
            return
    raise AssertionError(f"{words!r} is not reached by Tab; the last was {said!r}")


def test_a_rollout_is_found_and_paused_without_a_mouse(rig: Rig, admin: Watched):
    found = rig.site.roll_out("by-keys", start_share=0.5, step_s=3600.0, validate=False)
    page = admin.go("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Skip to the content"
    tab_to(page, "Rollouts")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Rollouts")
    tab_to(page, "by-keys")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("by-keys")
    tab_to(page, "Pause")
    page.keyboard.press("Enter")
    expect(page.locator("dialog#ask")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("dialog#ask")).to_be_hidden()
    assert page.evaluate("document.activeElement.innerText") == "Pause", "the focus is back where it was"
    page.keyboard.press("Enter")
    tab_to(page, "Go ahead")
    page.keyboard.press("Enter")
    expect(page.locator("#orders")).to_contain_text("Resume")
    assert rig.site.call("GET", f"/api/v1/rollouts/{found}")["rollout"]["state"] == "paused"


def test_a_viewer_has_no_operators_button_and_is_refused_by_the_server(rig: Rig):
    watched = rig.open("viewer")
    found = rig.site.rollouts["support"]
    page = watched.go(f"/rollouts/{found}")
    expect(page.locator("#evidence")).to_contain_text("quality")
    assert page.locator("form[data-call]").count() == 0
    assert page.get_by_role("button", name="Promote").count() == 0
    watched.fine()
    given = "document.querySelector('meta[name=podium-csrf]').content"
    headers = f"{{'content-type': 'application/json', 'x-podium-csrf': {given}}}"
    order = f"fetch('/api/v1/rollouts/{found}/promote', {{method: 'POST', headers: {headers}, body: '{{}}'}})"
    assert page.evaluate(f"{order}.then((answer) => answer.status)") == 403
    assert rig.site.call("GET", f"/api/v1/rollouts/{found}")["rollout"]["state"] == "canary"
    watched.expect_wrong("403")
    watched.go("/playground")
    assert page.locator("#ask-both").count() == 0
    expect(page.locator("main")).to_contain_text("Your key may look, not ask")
    watched.fine()
    page.close()


def test_the_playground_streams_both_answers_and_a_vote_becomes_feedback(rig: Rig):
    watched = rig.open("user")
    page = watched.go("/playground?a=m@a&b=slow@1")
    page.locator("#prompt").fill("Which one?")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#answer-a")).to_have_text("The answer of a, in some words.")
    slow = page.locator("#answer-b")
    expect(slow).to_contain_text("word3")
    assert "word199" not in (slow.text_content() or ""), "it is shown as it comes"
    expect(page.locator("[data-vote=a]")).to_be_disabled()
    expect(slow).to_contain_text("word199", timeout=LIMIT_MS)
    expect(page.locator("#figures-b")).to_contain_text("written")
    expect(page.locator("#figures-b")).to_contain_text("energy")
    with page.expect_request("**/api/v1/feedback") as sent:
        page.get_by_role("button", name="Left is better").click()
    request_id = json.loads(sent.value.post_data or "")["request_id"]
    expect(page.locator("#vote-text")).to_contain_text("left is better")
    expect(page.locator("#side-a")).to_have_class("card side best")
    said = rig.site.call("GET", f"/api/v1/decisions/{request_id}")["feedback"]
    (given,) = [one for one in said if one["source"] == "user"]
    assert given["score"] == (1.0 if given["ref"] == "m@a" else 0.0)
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=SHOTS / "playground-voted.png", full_page=True)
    watched.fine()
    page.close()


def test_stopping_in_the_playground_cancels_the_answer_at_the_server(rig: Rig):
    watched = rig.open("user")
    page = watched.go("/playground?a=slow@1&b=slow@1")
    page.locator("#prompt").fill("Too long?")
    page.get_by_role("button", name="Ask both").click()
    expect(page.locator("#answer-b")).to_contain_text("word2")
    page.keyboard.press("Escape")
    expect(page.locator("#figures-a")).to_contain_text("stopped after")
    expect(page.locator("[data-vote=b]")).to_be_disabled()

    def left() -> bool:
        found = rig.site.call("GET", "/api/v1/decisions?limit=2")["decisions"]
        return [one["outcome"]["error"] for one in found] == ["client_left", "client_left"]

    until(left)
    watched.fine()
    page.close()


def test_costs_are_told_by_key_with_names_for_admins_and_reasons_for_what_is_not_measured(rig: Rig, admin: Watched):
    page = admin.go("/costs?by=key")
    settled(page)
    table = page.get_by_role("region", name="Costs by key")
    expect(table).to_contain_text("the user")
    (key,) = rig.site.call("GET", "/api/v1/costs/keys")["keys"]
    points = rig.site.call("GET", "/api/v1/costs/over-time?by=key")["points"]
    assert (key["name"], points[0]["name"]) == ("the user", "the user")
    assert sum(point["operations"] for point in points) == key["operations"]
    expect(page.locator(".stats")).to_contain_text("the model's process is not ours to measure")
    expect(page.locator("#answers")).to_contain_text("Not measured")
    viewer = rig.open("viewer")
    viewer.go("/costs?by=key")
    expect(viewer.page.get_by_role("region", name="Costs by key")).not_to_contain_text("the user")
    viewer.fine()
    viewer.page.close()


def test_quality_shows_how_a_judge_did_against_people_and_what_it_said_since(rig: Rig, admin: Watched):
    page = admin.go("/quality?criterion=minimality")
    settled(page)
    expect(page.get_by_role("region", name="Calibration by criterion and judge")).to_contain_text("rules")
    expect(page.locator("#samples tbody tr").first).to_contain_text("minimality")
    before = page.locator("#samples").inner_text()
    assert rig.site.ask("m@b", "judge this", metadata={"task": "chat"}).status == 200
    until(lambda: page.locator("#samples").inner_text() != before)


def test_nothing_on_record_says_what_to_do_next(rig: Rig, admin: Watched):
    page = admin.go("/rollouts?task=chat")
    expect(page.locator("main")).to_contain_text("podium swap TASK NAME@VERSION --gradual")


@pytest.mark.model
def test_a_real_model_streams_in_the_playground_with_what_its_answer_took(rig: Rig, smollm_path: Path):
    source = {"provider": "llamacpp", "location": str(smollm_path), "settings": {"context": 512, "threads": 1}}
    added = rig.site.call(
        "POST", "/api/v1/models", {"name": "smollm2", "version": "1", "source": source, "activate": True}
    )
    assert added["problem"] is None, added
    watched = rig.open("user")
    page = watched.go("/playground?a=smollm2@1&b=m@a")
    page.locator("#prompt").fill("Say hello.")
    page.get_by_text("Settings").click()
    page.get_by_label("Tokens at most").fill("12")
    began = time.monotonic()
    page.get_by_role("button", name="Ask both").click()
    figures = page.locator("#figures-a")
    expect(figures).to_contain_text("processor", timeout=60_000)
    print(f"a real answer in {time.monotonic() - began:.1f} s: {figures.inner_text()!r}")
    assert (page.locator("#answer-a").text_content() or "").strip()
    expect(figures).to_contain_text("12 written")
    watched.fine()
    page.close()

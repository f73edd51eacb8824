"""Pages on a real server, empty and filled: what they show, what they weigh, what is live on them."""

from __future__ import annotations

import gzip
import re
import time

import pytest

from plain_browser import HTML, Browser
from podium.web.app import found_pages
from podium.web.page import TABS

pytestmark = pytest.mark.requirement("OPS-8")
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def filled(plain: Browser) -> Browser:
    """The same server, with two versions, requests, feedback and a failure."""
    server = plain.server
    server.script("swift@1", text="quick")
    server.script("sage@1", text="wise words")
    server.script("broken@1", text="x", faults=[{"kind": "error", "match": "break"}])
    for turn in range(12):
        model = ("swift@1", "sage@1")[turn % 2]
        asked = server.chat(model, f"question {turn}", {"x-podium-task": "riddles"})
        assert asked.status == 200, asked.body
        score = {"request_id": asked.headers["x-request-id"], "score": (turn % 2) * 1.0}
        server.ok("POST", "/api/v1/feedback", score)
    assert server.chat("broken@1", "break", {"x-podium-task": "breaking"}).status >= 400
    server.ok("POST", "/api/v1/models/broken@1/deprecate")  # an unknown one would lead
    return plain


def text(page: bytes) -> str:
    """What people read, without the marks."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.decode())).replace("\u202f", " ")


# ---------------------------------------------------------------- nothing there yet


@pytest.mark.parametrize(
    ("path", "says", "command"),
    [
        ("/", "No model is registered yet", "podium models add NAME --gguf PATH"),
        ("/leaderboard", "No task has had a request yet", "podium run &#34;Write a haiku&#34; --task poetry"),
        ("/decisions", "No request has been decided yet", "podium run &#34;Say hello&#34;"),
        ("/health", "Everything works", "podium models add NAME --gguf PATH"),
    ],
)
def test_an_empty_page_says_what_to_do_next_with_the_command(
    plain: Browser, path: str, says: str, command: str
) -> None:
    page = plain.get(path)
    assert page.status == 200
    assert says in page.body.decode()
    assert f'data-copy="{command}"' in page.body.decode()


def test_every_entry_of_the_navigation_is_a_page_that_marks_itself(plain: Browser) -> None:
    for _, word, address in TABS:
        page = plain.get(address)
        assert page.status == 200, address
        assert f'<a href="{address}" aria-current="page">{word}</a>' in page.body.decode()
        assert page.body.count(b"aria-current=") >= 1


def test_pages_have_a_skip_link_landmarks_one_heading_and_a_title(plain: Browser) -> None:
    for page in found_pages():
        if "{" in page.path:
            continue
        body = plain.get(page.path).body.decode()
        assert body.index('class="skip" href="#main"') < body.index("<header")
        for mark in ('<main id="main"', '<nav aria-label="Pages">', "<footer", 'lang="en"', 'name="viewport"'):
            assert mark in body, (page.path, mark)
        assert body.count("<h1>") == 1, page.path
        assert f"<title>{page.title} · Podium</title>" in body


def test_programs_get_json_at_the_same_address_and_browsers_never_get_the_api_as_a_page(plain: Browser) -> None:
    said = plain.server.call("GET", "/")
    assert said.json["control"] == "/api/v1"
    assert plain.get("/openapi.json").headers["content-type"] == "application/json"
    assert plain.get("/metrics").headers["content-type"].startswith("text/plain")
    assert plain.get("/api/v1/nothing").headers["content-type"] == "application/json"
    lost = plain.get("/no/such/page")
    assert (lost.status, lost.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "There is no such page" in lost.body.decode()
    assert plain.server.call("GET", "/no/such/page").json["error"]["code"] == "not_found"
    assert plain.send("HEAD", "/", None, HTML).status == 200


def test_nobody_is_asked_to_sign_in_where_no_key_exists(plain: Browser) -> None:
    assert plain.get("/sign-in").headers["location"] == "/"
    assert "Sign out" not in plain.get("/").body.decode()


# ---------------------------------------------------------------- weight


def test_a_page_with_everything_it_loads_is_far_below_the_limit_and_is_loaded_once(plain: Browser) -> None:
    for page in found_pages():
        if "{" in page.path:
            continue
        first = plain.get(page.path, accept_encoding="gzip")
        total = len(first.body)
        body = (gzip.decompress(first.body) if "content-encoding" in first.headers else first.body).decode()
        names = set(re.findall(r'"(/static/[^"]+)"', body))
        version = next(iter(names)).split("/")[2]
        names |= {f"/static/{version}/{name}" for name in ("live.js", "actions.js", "charts.js")}  # imported by app.js
        for name in names:
            sent = plain.get(name, accept_encoding="gzip")
            assert sent.status == 200, name
            assert "immutable" in sent.headers["cache-control"]
            assert sent.headers["x-content-type-options"] == "nosniff"
            total += len(sent.body)
        assert total < 100_000, (page.path, total)
    assert plain.get("/static/000000000000/app.css").status == 404
    assert plain.get(f"/static/{version}/../app.py").status == 404
    assert plain.get(f"/static/{version}/vendor/htmx.LICENSE").status == 404


def test_files_are_the_same_without_compression(plain: Browser) -> None:
    body = plain.get("/").body.decode()
    (name,) = re.findall(r'"(/static/\w+/app\.css)"', body)
    packed = plain.get(name, accept_encoding="br, gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.get(name).body


# ---------------------------------------------------------------- what is there


def test_the_first_page_shows_traffic_instances_and_events(filled: Browser) -> None:
    words = ("swift @1", "sage @1", "ready", "instance ready", "Memory of models", "Median latency")
    said, deadline = text(filled.get("/").body), time.monotonic() + 20
    while (
        not all(word in said for word in words) and time.monotonic() < deadline
    ):  # events are written in the background
        time.sleep(0.1)
        said = text(filled.get("/").body)
    for word in words:
        assert word in said, word
    for back in ("1h", "24h", "nonsense"):
        assert filled.get(f"/?range={back}").status == 200


def test_what_an_event_does_not_say_is_not_named(filled: Browser) -> None:
    order = "/api/v1/tasks/quiet/swap"
    assert filled.server.ok("POST", order, {"to": "swift@1"})["ok"]
    made = filled.server.ok("POST", order, {"to": "sage@1", "mode": "gradual", "plan": {"validate": False}})["id"]
    assert filled.server.ok("POST", f"/api/v1/rollouts/{made}/abort", {})["state"] == "aborted"
    said, deadline = text(filled.get("/").body), time.monotonic() + 20
    while "rollout started" not in said and time.monotonic() < deadline:
        time.sleep(0.1)
        said = text(filled.get("/").body)
    assert "rollout started" in said
    assert "reason ," not in said


def test_the_leaderboard_names_the_leader_with_the_reason_and_each_version_with_its_interval(filled: Browser) -> None:
    found = filled.server.ok("GET", "/api/v1/leaderboard?task=riddles")["tasks"][0]
    assert found["leader"] == "sage@1"
    rows = {row["ref"]: row for row in found["versions"]}
    assert rows["sage@1"]["share_24h"] == pytest.approx(6 / 12)
    assert rows["sage@1"]["quality"]["low"] < rows["sage@1"]["quality"]["mean"] <= rows["sage@1"]["quality"]["high"]
    said = text(filled.get("/leaderboard").body)
    assert f"sage@1 leads: it{found['why'].removeprefix('sage@1')}" in said
    assert f"{rows['swift@1']['quality']['mean']:.2f}" in said
    assert "50 %" in said
    assert filled.get("/leaderboard?task=nothing-of-the-kind").status == 404


def test_decisions_are_found_by_task_version_result_and_request_id(filled: Browser) -> None:
    def rows(query: str) -> int:
        return filled.get(f"/decisions?{query}").body.count(b'data-label="Request"')

    assert rows("") == 13
    assert rows("task=riddles") == rows("q=riddles") == 12
    assert rows("model=sage") == rows("model=sage@1") == rows("q=sage@1") == 6
    assert rows("q=ridd") == 12, "the only name with it"
    assert rows("q=sag") == 6
    several = filled.get("/decisions?q=i").body.decode()
    assert 'href="/decisions?q=riddles"' in several
    assert 'href="/decisions?q=swift"' in several
    assert rows("result=failed") == 1
    assert rows("result=answered&model=broken@1") == 0
    assert rows("q=nothing") == rows("q=req_00000000000000000000") == rows("page=7") == 0
    assert rows("page=nonsense") == 13
    newest = filled.server.ok("GET", "/api/v1/decisions?limit=1")["decisions"][0]["request_id"]
    assert rows(f"q={newest}") == 1
    assert "Nothing fits" in filled.get("/decisions?q=nothing").body.decode()


def test_a_search_asks_for_its_part_of_the_page_alone(filled: Browser) -> None:
    part = filled.get("/decisions?model=sage", hx_request="true", hx_target="results").body.decode()
    assert part.count('data-label="Request"') == 6
    assert "<html" not in part
    assert "<html" in filled.get("/decisions", hx_request="true", hx_target="nothing").body.decode()


@pytest.mark.requirement("SEL-6")
def test_one_decision_is_explained_candidate_by_candidate(filled: Browser) -> None:
    asked = filled.server.chat("auto", "why", {"x-podium-task": "riddles"})
    request_id = asked.headers["x-request-id"]
    said = text(filled.get(f"/decisions/{request_id}").body)
    for word in ("swift @1", "sage @1", "Candidates", "Probability of this choice", "named by the caller", "answered"):
        assert word in said, word
    assert f"podium feedback {request_id} --up" in said
    assert filled.get("/decisions/req_unknown").status == 404


def test_health_says_what_is_wrong_and_what_to_do(filled: Browser) -> None:
    said = text(filled.get("/health").body)
    for word in ("The record", "This machine", "What keeps tasks from learning", "rows since the start", "Processor"):
        assert word in said, word


def test_what_others_wrote_is_shown_and_never_run(filled: Browser) -> None:
    request_id = filled.server.chat("swift@1", "hi").headers["x-request-id"]
    said = {"request_id": request_id, "score": 0.5, "comment": EVIL, "label": EVIL}
    filled.server.ok("POST", "/api/v1/feedback", said)
    page = filled.get(f"/decisions/{request_id}").body.decode()
    assert page.count("&lt;img src=x onerror=alert(1)&gt;") == 2
    assert EVIL not in page
    for query in ("q", "task", "model"):
        assert EVIL not in filled.get(f"/decisions?{query}={EVIL.replace(' ', '+')}").body.decode()


# ---------------------------------------------------------------- live


def test_a_live_page_sends_each_block_and_again_only_what_changed(filled: Browser) -> None:
    live = filled.live("/leaderboard")
    name, first = next(live)
    assert (name, "riddles" in first) == ("tasks", True)
    began = time.monotonic()
    asked = filled.server.chat("swift@1", "again", {"x-podium-task": "brand-new"})
    assert asked.status == 200
    name, _ = next(event for event in live if "brand-new" in event[1])
    assert name == "tasks"
    assert time.monotonic() - began < 20
    live.close()


def test_every_live_block_stands_in_an_element_that_swaps_it(filled: Browser) -> None:
    for page in found_pages():
        if "{" in page.path or not page.live:
            continue
        body = filled.get(page.path).body.decode()
        assert f'sse-connect="/live{page.path}"' in body
        for block in page.live:
            assert f'sse-swap="{block}"' in body, (page.path, block)


def test_a_day_of_traffic_is_a_few_hundred_points_whatever_came(filled: Browser) -> None:
    found = filled.server.ok("GET", "/api/v1/traffic?seconds=86400&points=288")
    assert len(found["curve"]["at"]) == len(found["curve"]["requests_per_s"]) == 288
    assert found["last_24_h"]["riddles"]["sage@1"]["requests"] >= 6
    assert filled.server.call("GET", "/api/v1/traffic?seconds=86401").status == 400

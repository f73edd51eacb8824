"""What keeps strangers, foreign pages and people without the role from using the dashboard."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from plain_browser import HTML, Browser
from podium.domain.principal import Role
from podium.errors import Forbidden
from podium.server.browsers import IDLE_S, LONGEST_S, MOST, Browsers, foreign
from podium.web.app import found_pages
from podium.web.safety import address_within
from server import Server

pytestmark = pytest.mark.requirement("OPS-2", "OPS-8")
Keyed = tuple[Server, dict[str, str]]
PATHS = sorted({page.path for page in found_pages() if "{" not in page.path})


def signed_in(keyed: Keyed, role: str) -> Browser:
    server, keys = keyed
    browser = Browser(server)
    assert browser.submit("/sign-in", key=keys[role]).status == 303
    return browser


# ---------------------------------------------------------------- signing in


def test_without_a_session_every_page_leads_to_the_sign_in_page_and_back(keyed: Keyed) -> None:
    browser = Browser(keyed[0])
    for path in PATHS:
        sent = browser.get(path)
        assert sent.status == 303, path
        assert sent.headers["location"].startswith("/sign-in"), path
    assert browser.get("/health?a=b").headers["location"] == "/sign-in?next=/health%3Fa%3Db"
    page = browser.get("/sign-in?next=/health")
    assert page.status == 200
    assert 'name="next" value="/health"' in page.body.decode()
    done = browser.submit("/sign-in", key=keyed[1]["viewer"], next="/health")
    assert (done.status, done.headers["location"]) == (303, "/health")
    assert browser.get("/health").status == 200


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites_and_holds_no_key(keyed: Keyed) -> None:
    server, keys = keyed
    said = Browser(server).submit("/sign-in", key=keys["viewer"]).headers["set-cookie"]
    assert said.startswith(f"podium_session_{server.port}=")
    for word in ("HttpOnly", "SameSite=Strict", "Path=/"):
        assert word in said
    assert "Secure" not in said
    assert not any(key in said for key in keys.values())
    behind_tls = Browser(server).submit("/sign-in", {"x-forwarded-proto": "https"}, key=keys["viewer"])
    assert "; Secure" in behind_tls.headers["set-cookie"]


def test_a_key_that_is_not_known_is_refused_on_the_page(keyed: Keyed) -> None:
    browser = Browser(keyed[0])
    refused = browser.submit("/sign-in", key="pod_aaaaaaaa_nonsense")
    assert refused.status == 401
    assert "set-cookie" not in refused.headers
    assert "this key is not known" in refused.body.decode()
    assert b"pod_aaaaaaaa_nonsense" not in refused.body
    assert browser.submit("/sign-in").status == 401
    assert browser.get(f"/?key={keyed[1]['viewer']}").status in (303, 400)


def test_who_could_not_sign_in_is_in_the_audit_log_without_the_key(keyed: Keyed) -> None:
    server, keys = keyed
    browser = Browser(server)
    assert browser.submit("/sign-in", key="pod_bbbbbbbb_guessed").status == 401
    (row,) = server.ok("GET", "/api/v1/audit?limit=1", None, {"authorization": f"Bearer {keys['admin']}"})["actions"]
    assert (row["what"], row["by"]["id"], row["by"]["name"]) == ("POST /sign-in", "unknown", "says key bbbbbbbb")
    assert (row["outcome"], row["status"], row["origin"]) == ("invalid_api_key", 401, "127.0.0.1")
    assert "guessed" not in str(row)


def test_signing_in_leads_to_no_other_site(keyed: Keyed) -> None:
    for given in ("//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/a\nb"):
        assert address_within(given) == "/"
        sent = Browser(keyed[0]).submit("/sign-in", key=keyed[1]["viewer"], next=given)
        assert sent.headers["location"] == "/", given


def test_a_foreign_page_can_neither_sign_anybody_in_nor_out(keyed: Keyed) -> None:
    browser = signed_in(keyed, "viewer")
    for headers in ({"origin": "http://127.0.0.1:1"}, {"origin": "null"}, {"origin": "https://evil.example"}):
        assert Browser(keyed[0]).submit("/sign-in", headers, key=keyed[1]["viewer"]).status == 403
        assert browser.submit("/sign-out", headers, csrf=browser.token()).status == 403
    assert browser.submit("/sign-out", csrf="guessed").status == 403
    assert browser.get("/health").status == 200
    cookie = browser.cookie
    assert browser.submit("/sign-out", csrf=browser.token()).status == 303
    browser.cookie = cookie
    assert browser.get("/health").status == 303


def test_a_session_ends_at_once_when_its_key_is_revoked_also_what_is_live(keyed: Keyed) -> None:
    server, keys = keyed
    admin = {"authorization": f"Bearer {keys['admin']}"}
    made = server.ok("POST", "/api/v1/keys", {"role": "viewer", "name": "short"}, admin)
    browser = Browser(server)
    browser.submit("/sign-in", key=made["key"])
    assert browser.get("/").status == 200
    live = browser.live("/")
    assert next(live)[0] == "figures"
    server.ok("DELETE", f"/api/v1/keys/{made['id']}", None, admin)
    name, said = next(event for event in live if event[0] == "ended")
    assert (name, "was revoked" in said) == ("ended", True)
    assert next(live, None) is None
    assert browser.get("/").status == 303
    assert browser.send("GET", "/api/v1/tasks").status == 401


# ---------------------------------------------------------------- what a session may


def test_the_cookie_reads_the_api_and_changes_nothing_without_its_token(keyed: Keyed) -> None:
    browser = signed_in(keyed, "operator")
    assert browser.send("GET", "/api/v1/tasks").status == 200
    body = {"strategy": "balanced"}
    refused = browser.send("PUT", "/api/v1/tasks/t", body)
    assert (refused.status, refused.error["code"]) == (403, "csrf")
    token = {"x-podium-csrf": browser.token()}
    assert browser.send("PUT", "/api/v1/tasks/t", body, token).status == 200
    for more in ({"origin": "http://127.0.0.1:1"}, {"origin": "null"}):
        assert browser.send("PUT", "/api/v1/tasks/t", body, {**token, **more}).status == 403
    other = signed_in(keyed, "operator")
    assert browser.send("PUT", "/api/v1/tasks/t", body, {"x-podium-csrf": other.token()}).status == 403


def test_models_answer_a_session_only_with_its_token(keyed: Keyed) -> None:
    browser = signed_in(keyed, "user")
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    assert browser.send("POST", "/v1/chat/completions", body).status == 403
    token = {"x-podium-csrf": browser.token()}
    assert browser.send("POST", "/v1/chat/completions", body, token).status == 200
    assert browser.send("POST", "/v1/chat/completions", body, {**token, "origin": "http://localhost:1"}).status == 403


def test_a_viewer_sees_pages_but_no_button_works_and_the_server_refuses_the_call(keyed: Keyed) -> None:
    user = signed_in(keyed, "user")
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    asked = user.send("POST", "/v1/chat/completions", body, {"x-podium-csrf": user.token()})
    request_id = asked.headers["x-request-id"]
    viewer = signed_in(keyed, "viewer")
    for path in PATHS:
        assert viewer.get(path).status == 200, path
    page = viewer.get(f"/decisions/{request_id}").body.decode()
    assert page.count('data-call="POST /api/v1/feedback"') == page.count(
        'disabled title="Needs a key with the role user"'
    )
    assert "disabled title=" not in user.get(f"/decisions/{request_id}").body.decode()
    given = {"request_id": request_id, "score": 1}
    token = {"x-podium-csrf": viewer.token()}
    assert viewer.send("POST", "/api/v1/feedback", given, token).status == 403
    assert user.send("POST", "/api/v1/feedback", given, {"x-podium-csrf": user.token()}).status == 201


def test_a_key_for_some_tasks_sees_no_page_about_the_others(keyed: Keyed) -> None:
    server, keys = keyed
    order = {"role": "user", "scopes": ["task:code"]}
    made = server.ok("POST", "/api/v1/keys", order, {"authorization": f"Bearer {keys['admin']}"})
    browser = Browser(server)
    browser.submit("/sign-in", key=made["key"])
    closed = {page.path for page in found_pages() if not page.for_limited and "{" not in page.path}
    for path in closed:
        refused = browser.get(path)
        assert (refused.status, "for some tasks or models only" in refused.body.decode()) == (403, True), path


# ---------------------------------------------------------------- hosts, origins, headers


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:7636"])
def test_pages_are_not_served_under_the_name_of_another_site(plain: Browser, host: str) -> None:
    assert plain.get("/", host=host).status == 403
    assert plain.get("/", host="localhost").status == 200


def test_without_any_key_a_page_of_another_origin_still_changes_nothing(plain: Browser) -> None:
    body, call = {"strategy": "balanced"}, plain.server.call
    for headers in (
        {"origin": "http://localhost:1"},  # another program's page on this machine
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ):
        assert call("PUT", "/api/v1/tasks/t", body, headers).status == 403, headers
    assert plain.send("PUT", "/api/v1/tasks/t", body).status == 200
    assert call("PUT", "/api/v1/tasks/t", body).status == 200, "programs send no origin"


def test_an_origin_is_ours_by_host_and_port_or_by_configuration() -> None:
    def said(origin: bytes, host: bytes = b"box:7636", allowed: frozenset[str] = frozenset()) -> bool:
        return foreign({b"origin": origin, b"host": host}, allowed) is None

    assert said(b"http://box:7636")
    assert said(b"HTTP://Box:7636")
    assert said(b"https://box", b"box:443")
    assert said(b"https://podium.example", b"127.0.0.1:7636", frozenset({"podium.example"}))
    assert not said(b"http://box:7637")
    assert not said(b"http://box")
    assert not said(b"null")
    assert not said(b"")
    assert isinstance(foreign({b"sec-fetch-site": b"same-site"}), Forbidden)
    assert foreign({b"sec-fetch-site": b"same-origin"}) is None
    assert foreign({}) is None


class _Inline(HTMLParser):
    """Collects what the policy forbids, and addresses outside of this server."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "style" or (tag == "script" and "src" not in given and given.get("type") != "application/json"):
            self.found.append(f"inline {tag}")
        self.found += [f"{tag} {name}" for name in given if name == "style" or name.startswith("on")]
        for name in ("src", "href", "action", "hx-get", "sse-connect"):
            address = given.get(name) or ""
            if "//" in address or address.startswith("javascript:"):
                self.found.append(f"{tag} {name}={address}")


def test_every_page_is_under_the_strict_policy_and_keeps_it(keyed: Keyed) -> None:
    browser = signed_in(keyed, "admin")
    for path in (*PATHS, "/sign-in", "/nothing-here"):
        page = browser.get(path)
        policy = page.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["referrer-policy"] == "same-origin"
        assert page.headers["cache-control"] == "no-store"
        parser = _Inline()
        parser.feed(page.body.decode())
        assert parser.found == [], path


def test_the_dashboard_itself_takes_no_orders(keyed: Keyed) -> None:
    browser = signed_in(keyed, "admin")
    for path in PATHS:
        assert browser.send("POST", path, {}, HTML).status in (404, 405), path


# ---------------------------------------------------------------- the table of sessions


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    monotonic = now


def cookie(value: str) -> dict[bytes, bytes]:
    return {b"cookie": f"other=1; podium_session_1={value}".encode()}


def test_sessions_end_unused_and_in_any_case_after_a_week() -> None:
    clock = Clock()
    table = Browsers(clock)
    value = table.open("key")
    clock.time += IDLE_S - 1
    assert table.find(cookie(value)) == (value, "key")
    clock.time += IDLE_S + 1
    assert table.find(cookie(value)) is None
    value = table.open("key")
    for _ in range(int(LONGEST_S / (IDLE_S / 2)) + 1):
        clock.time += IDLE_S / 2
        found = table.find(cookie(value))
    assert found is None


def test_the_table_is_bounded_and_a_cookie_of_another_server_hides_none() -> None:
    table = Browsers(Clock())
    first = table.open("key")
    values = [table.open("key") for _ in range(MOST)]
    assert table.find(cookie(first)) is None
    assert len(set(values)) == MOST
    assert all(len(value) >= 43 for value in values)
    both = {b"cookie": f"podium_session_9=elsewhere; podium_session_1={values[-1]}".encode()}
    assert table.find(both) == (values[-1], "key")
    assert not table.proven(values[0], table.token(values[1]).encode())
    assert not table.proven(values[0], b"")
    assert table.proven(values[0], table.token(values[0]).encode())


def test_every_page_names_a_role_and_none_asks_for_less_than_a_viewer() -> None:
    assert all(page.role.rank >= Role.VIEWER.rank for page in found_pages())

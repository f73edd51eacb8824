"""A browser without a screen: keeps a cookie, submits forms, follows what is live."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from urllib.parse import urlencode

from server import Reply, Server

HTML = {"accept": "text/html,application/xhtml+xml"}


class Browser:
    """Keeps one cookie; sends what a browser sends of itself when it is on a page of ours."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.cookie = ""

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def get(self, path: str, **headers: str) -> Reply:
        return self.send("GET", path, None, {**HTML, **{name.replace("_", "-"): v for name, v in headers.items()}})

    def send(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Reply:
        own = {"cookie": self.cookie} if self.cookie else {}
        if method != "GET":
            own |= {"origin": self.origin, "sec-fetch-site": "same-origin"}
        return self.server.call(method, path, body, {**own, **(headers or {})})

    def submit(self, path: str, headers: dict[str, str] | None = None, **fields: str) -> Reply:
        form = {"content-type": "application/x-www-form-urlencoded", **HTML, **(headers or {})}
        reply = self.send("POST", path, urlencode(fields).encode(), form)
        if "set-cookie" in reply.headers:
            self.cookie = reply.headers["set-cookie"].partition(";")[0]
        return reply

    def token(self) -> str:
        page = self.get("/").body.decode()
        return page.partition('name="podium-csrf" content="')[2].partition('"')[0]

    def live(self, path: str, seconds: float = 30) -> Iterator[tuple[str, str]]:
        """(event, data) of a live page, until its end."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=seconds)
        try:
            connection.request("GET", f"/live{path}", headers={"cookie": self.cookie} if self.cookie else {})
            reply = connection.getresponse()
            assert reply.status == 200, reply.read()
            name, lines = "", []
            for raw in reply:
                line = raw.decode().rstrip("\n")
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data:"):
                    lines.append(line[5:].removeprefix(" "))
                elif not line and name:
                    yield name, "\n".join(lines)
                    name, lines = "", []
        finally:
            connection.close()

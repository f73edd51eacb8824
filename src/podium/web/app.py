"""Puts the pages in front of the control plane: what a browser asks for goes here, everything else there.

Reads alone, but for signing in and out. Whatever a button does is a call of the control API from the browser.
"""

from __future__ import annotations

import gzip
import importlib
import pkgutil
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Match, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from podium.domain.principal import Principal
from podium.errors import InternalError, NotFound, Overloaded, PodiumError, Unauthenticated
from podium.server.control.events import LiveResponse
from podium.server.doorman import Doorman
from podium.services.plane import Services
from podium.web import pages
from podium.web.admitting import SIGN_IN, SIGN_OUT, admit, session_of, signed_in, signed_out, to_sign_in
from podium.web.assets import PREFIX, Assets
from podium.web.live import MOST_STREAMS, rounds
from podium.web.page import Look, Page
from podium.web.rendering import Drawing
from podium.web.safety import FOR_EVER, UNCACHED

_PACK_FROM = 1024
_MACHINES = ("/api", "/v1", "/openapi.json", "/metrics", "/livez", "/readyz")
"""Addresses that are never pages, whatever a browser says it would like."""
Answer = Callable[[Request], Awaitable[Response]]


def found_pages() -> Iterator[Page]:
    """Every page there is: ``PAGE`` or ``PAGES`` of each module of ``pages``."""
    for module in pkgutil.iter_modules(pages.__path__):
        loaded = importlib.import_module(f"{pages.__name__}.{module.name}")
        yield from getattr(loaded, "PAGES", None) or (loaded.PAGE,)


class Front:
    """An ASGI application: pages, and ``control`` behind them."""

    def __init__(self, control: ASGIApp, services: Services, doorman: Doorman) -> None:
        self._control = control
        self._services = services
        self._doorman = doorman
        self._assets = Assets()
        self._drawing = Drawing(self._assets)
        self._streams = 0
        routes = [
            Route(SIGN_IN, self._sign_in, methods=["GET", "POST"]),
            Route(SIGN_OUT, self._sign_out, methods=["POST"]),
            Route(PREFIX + "{path:path}", self._asset),
            Route("/favicon.ico", self._icon),
        ]
        for page in found_pages():
            routes.append(Route(page.path, self._page(page)))
            if page.live:
                routes.append(Route(f"/live{page.path}", self._live(page)))
        self._router = Router(routes, redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or not self._ours(scope):
            await self._control(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except PodiumError as error:
            response = self._failed(request, error)
        except Exception as error:
            response = self._failed(request, InternalError(f"{type(error).__name__} in this page; please report it"))
            await response(scope, receive, send)
            raise
        await response(scope, receive, send)

    def _ours(self, scope: Scope) -> bool:
        path = scope["path"]
        if path.startswith(_MACHINES):
            return False
        html = b"text/html" in dict(scope["headers"]).get(b"accept", b"")
        if path == "/":
            return html
        return html or any(route.matches(scope)[0] is not Match.NONE for route in self._router.routes)

    async def _answer(self, request: Request) -> Response:
        for route in self._router.routes:
            matched, child = route.matches(request.scope)
            if matched is Match.FULL and isinstance(route, Route):
                request.scope.update(child)
                return await route.endpoint(request)  # type: ignore[no-any-return] # all are ours
        admit(self._doorman, request)
        raise NotFound(f"there is no page {request.url.path[:100]}")

    # ------------------------------------------------------------ pages

    def _page(self, page: Page) -> Answer:
        async def show(request: Request) -> Response:
            try:
                principal = admit(self._doorman, request, page)
            except Unauthenticated:
                return to_sign_in(request)
            grant = self._doorman.grant(principal)
            if grant is None:
                return await draw(request, principal)
            grant.enter()
            try:
                return await draw(request, principal)
            finally:
                grant.leave()

        async def draw(request: Request, principal: Principal) -> Response:
            look = self._look(request, principal)
            values = {**self._context(request, principal, page), **await page.data(look)}
            block = request.headers.get("hx-target", "")
            if request.headers.get("hx-request") and block in self._drawing.blocks(page.template):
                return _html(request, self._drawing.block(page.template, block, values))
            return _html(request, self._drawing.page(page.template, values))

        return show

    def _live(self, page: Page) -> Answer:
        async def follow(request: Request) -> Response:
            try:
                principal = admit(self._doorman, request, page)
            except Unauthenticated:
                return to_sign_in(request)
            if self._streams >= MOST_STREAMS:
                raise Overloaded(f"{MOST_STREAMS} live pages are open; close one", retry_after_s=5)

            def context() -> dict[str, object]:
                return self._context(request, admit(self._doorman, request, page), page)

            async def counted() -> AsyncGenerator[bytes, None]:
                self._streams += 1
                try:
                    async for piece in source:
                        yield piece
                finally:
                    self._streams -= 1
                    await source.aclose()

            source = rounds(page, self._look(request, principal), self._drawing, context)
            return LiveResponse(counted(), headers=UNCACHED)

        return follow

    def _look(self, request: Request, principal: Principal) -> Look:
        return Look(
            services=self._services,
            principal=principal,
            query=dict(request.query_params),
            path={name: str(value) for name, value in request.path_params.items()},
        )

    def _context(self, request: Request, principal: Principal | None, page: Page | None) -> dict[str, object]:
        """What every template gets beside its own data."""
        session = session_of(self._doorman, request)
        query = f"?{request.url.query}" if request.url.query else ""
        path = request.url.path
        return {
            "title": page.title if page is not None else "",
            "tab": page.tab if page is not None else "",
            "live_url": f"/live{path}{query}" if page is not None and page.live else None,
            "principal": principal,
            "may": Look(services=self._services, principal=principal).may if principal is not None else _nobody_may,
            "signed_in": session is not None,
            "csrf": self._doorman.browsers.token(session) if session is not None else "",
            "version": self._services.version,
            "query": dict(request.query_params),
            "now": time.time(),
        }

    def _failed(self, request: Request, error: PodiumError) -> Response:
        try:
            principal: Principal | None = admit(self._doorman, request)
        except PodiumError:
            principal = None
        if isinstance(error, Unauthenticated) and request.method == "GET":
            return to_sign_in(request)
        values = {**self._context(request, principal, None), "error": error, "id": f"req_{secrets.token_hex(8)}"}
        return _html(request, self._drawing.page("error.html", values), error.status)

    # ------------------------------------------------------------ the rest

    async def _sign_in(self, request: Request) -> Response:
        if not self._doorman.required:
            return RedirectResponse("/", 303, headers=UNCACHED)
        problem, status = None, 200
        if request.method == "POST":
            try:
                return await signed_in(self._doorman, self._services.audit, request)
            except PodiumError as error:
                problem, status = error.message, error.status
        values = {
            **self._context(request, None, None),
            "problem": problem,
            "next": request.query_params.get("next", "/"),
        }
        return _html(request, self._drawing.page("sign_in.html", values), status)

    async def _sign_out(self, request: Request) -> Response:
        return await signed_out(self._doorman, request)

    async def _asset(self, request: Request) -> Response:
        found = self._assets.find(request.url.path)
        if found is None:
            return Response("there is no such file in this version\n", 404, UNCACHED, "text/plain")
        packed = found.packed if "gzip" in request.headers.get("accept-encoding", "") else None
        headers = {**FOR_EVER, "content-type": found.content_type, "vary": "accept-encoding"}
        if packed is not None:
            headers["content-encoding"] = "gzip"
        return Response(packed or found.plain, headers=headers)

    async def _icon(self, request: Request) -> Response:
        return RedirectResponse(self._assets.url("icon.svg"), 302, headers=UNCACHED)


def _html(request: Request, text: str, status: int = 200) -> Response:
    body, headers = text.encode(), {**UNCACHED, "vary": "accept-encoding, cookie, hx-request"}
    if len(body) >= _PACK_FROM and "gzip" in request.headers.get("accept-encoding", ""):
        body, headers = gzip.compress(body, 5), {**headers, "content-encoding": "gzip"}
    return Response(body, status, headers, "text/html; charset=utf-8")


def _nobody_may(role: str) -> bool:
    return False

"""Who looks at a page: the doorman's answer, asked for a browser; and how somebody signs in and out."""

from __future__ import annotations

from urllib.parse import parse_qs, quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from podium.core.access import check
from podium.domain.principal import Principal
from podium.errors import Forbidden, InvalidRequest, PodiumError, Unauthenticated
from podium.server.browsers import foreign
from podium.server.control.auditing import NOT_LET_IN, stranger
from podium.server.doorman import OWNER, Doorman
from podium.services.auditing import Audit, Order
from podium.web.page import Page
from podium.web.safety import UNCACHED, address_within, cookie

SIGN_IN, SIGN_OUT = "/sign-in", "/sign-out"
_MOST_FORM = 8192


def admit(doorman: Doorman, request: Request, page: Page | None = None) -> Principal:
    """Who looks. Raises ``Unauthenticated``; for one who may not see ``page``, ``Forbidden``."""
    private = not isinstance(request.scope.get("server"), tuple | list)
    headers = dict(request.scope["headers"])
    found = doorman.admit(headers, request.scope["query_string"], private=private, method="GET") or OWNER
    if page is not None:
        check(found, page.role, f"the page {page.title}")
        if found.limited and not page.for_limited:
            raise Forbidden(
                f"the key {found.name!r} is for some tasks or models only, and sees no pages about the others"
            )
    return found


def session_of(doorman: Doorman, request: Request) -> str | None:
    """The cookie of a session in force, for pages that show who is signed in."""
    found = doorman.browsers.find(dict(request.scope["headers"])) if doorman.required else None
    return None if found is None else found[0]


def to_sign_in(request: Request) -> Response:
    """Send a browser there, and back afterwards. What a script asked for goes there as a whole page."""
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    target = SIGN_IN if wanted == "/" else f"{SIGN_IN}?next={quote(wanted, safe='/')}"
    if request.headers.get("hx-request") or request.url.path.startswith("/live"):
        return Response(status_code=401, headers={**UNCACHED, "hx-redirect": SIGN_IN})
    return RedirectResponse(target, 303, headers=UNCACHED)


async def signed_in(doorman: Doorman, audit: Audit, request: Request) -> Response:
    """The form with a key was sent. Raises ``Unauthenticated``, ``Forbidden``, ``InvalidRequest``; who was not let in is
    in the audit log.
    """
    key = ""
    try:
        form = await _form(doorman, request)
        key = form.get("key", "").strip()
        if not key:
            raise Unauthenticated("paste a key; whoever runs the server makes one with `podium keys create`")
        value, _ = doorman.sign_in(key)
    except PodiumError as error:
        if error.status in NOT_LET_IN:
            order = Order(author=stranger(request.scope, key), what=f"POST {SIGN_IN}")
            await audit.refused(order, error.code, error.status)
        raise
    return RedirectResponse(address_within(form.get("next", "/")), 303, headers=_with_cookie(request, value))


async def signed_out(doorman: Doorman, request: Request) -> Response:
    """End the session that asks for it. Raises ``Forbidden`` for a page that is not ours."""
    form = await _form(doorman, request)
    value = session_of(doorman, request)
    if value is not None:
        if not doorman.browsers.proven(value, form.get("csrf", "").encode()):
            raise Forbidden("sign out on a page of Podium; reload it if it is old", code="csrf")
        doorman.browsers.close(value)
    return RedirectResponse(SIGN_IN, 303, headers=_with_cookie(request, ""))


async def _form(doorman: Doorman, request: Request) -> dict[str, str]:
    refused = foreign(dict(request.scope["headers"]), doorman.hosts)
    if refused is not None:
        raise refused
    body = await request.body()
    if len(body) > _MOST_FORM:
        raise InvalidRequest("this is too long for a form", status=413)
    return {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace"), max_num_fields=10).items()}


def _with_cookie(request: Request, value: str) -> dict[str, str]:
    server = request.scope.get("server")
    port = server[1] if isinstance(server, tuple | list) else 0
    tls = "https" in (request.scope["scheme"], request.headers.get("x-forwarded-proto", ""))
    return {**UNCACHED, "set-cookie": cookie(value, port, tls=tls)}

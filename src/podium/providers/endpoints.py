"""URLs of servers that somebody else runs, taken apart. Pure; whether an address may be called is ``Reach``'s to say."""

from __future__ import annotations

import ssl
from functools import cache
from urllib.parse import urlsplit

from podium.errors import InvalidRequest
from podium.transport.client import Origin

BASE = "/v1"


def parse_url(url: str) -> tuple[Origin, str]:
    """Origin and base path of an endpoint; a URL without a path gets ``/v1``. Raises ``InvalidRequest``."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidRequest(f"{url[:200]!r} is no URL; write http://HOST:PORT/v1", param="source.location") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not parts.path.isprintable():
        raise InvalidRequest(f"{url[:200]!r} is no URL; write http://HOST:PORT/v1", param="source.location")
    if parts.username or parts.password:
        raise InvalidRequest(
            "put no key into a URL; seal it with `podium secrets set NAME` and say api_key=secret:NAME",
            param="source.location",
        )
    if parts.query or parts.fragment:
        raise InvalidRequest(f"{url[:200]!r} ends in a query; write http://HOST:PORT/v1", param="source.location")
    tls = _trust() if parts.scheme == "https" else None
    origin = Origin(host=parts.hostname, port=port or (443 if tls else 80), tls=tls)
    return origin, parts.path.rstrip("/") or BASE


def root_of(base: str) -> str:
    """The path beside which a server's own routes lie."""
    return base.removesuffix(BASE)


@cache
def _trust() -> ssl.SSLContext:
    """The system's authorities; ``SSL_CERT_FILE`` adds to them. Reading them takes 20 ms."""
    return ssl.create_default_context()

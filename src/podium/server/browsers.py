"""Sessions of browsers: a random cookie stands for a key, so that the key itself is typed once and kept nowhere.

In memory alone: a restart ends them all. A session is held against its key at every use, so that it ends with the key.
Knows no pages; what a cookie is good for beside them is the doorman's business.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from podium.errors import Forbidden, PodiumError
from podium.ports import Clock
from podium.server.admittance import host_name

COOKIE = "podium_session"
CSRF = b"x-podium-csrf"
"""The header that a page sends with what changes something; no page of another origin knows its value."""
IDLE_S = 12 * 3600.0
LONGEST_S = 7 * 86400.0
MOST = 1000
"""Sessions at a time; the one that was used longest ago goes first."""
_TRIED = 4
"""Cookies of one request that are looked at: servers on other ports of this machine leave theirs."""
_PORTS = {"http": ":80", "https": ":443"}


@dataclass(slots=True)
class _Session:
    key_id: str | None
    """``None``: the owner, who came with this start's local key."""
    since: float
    used: float


class Browsers:
    """The sessions of one gateway, by the digest of their cookie."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()
        self._secret = secrets.token_bytes(32)

    def open(self, key_id: str | None) -> str:
        """A new session for whoever holds the key; returns the cookie's value."""
        value = secrets.token_urlsafe(32)
        now = self._clock.monotonic()
        self._sessions[_digest(value)] = _Session(key_id, now, now)
        while len(self._sessions) > MOST:
            self._sessions.popitem(last=False)
        return value

    def find(self, headers: Mapping[bytes, bytes]) -> tuple[str, str | None] | None:
        """(cookie's value, id of its key) of a session that is in force."""
        now = self._clock.monotonic()
        for value in _cookies(headers):
            digest = _digest(value)
            session = self._sessions.get(digest)
            if session is None:
                continue
            if now - session.used > IDLE_S or now - session.since > LONGEST_S:
                del self._sessions[digest]
                continue
            session.used = now
            self._sessions.move_to_end(digest)
            return value, session.key_id
        return None

    def close(self, value: str) -> None:
        """End a session; one that is not there has ended."""
        self._sessions.pop(_digest(value), None)

    def token(self, value: str) -> str:
        """What the pages of a session send in ``x-podium-csrf``."""
        return hmac.new(self._secret, value.encode(), hashlib.sha256).hexdigest()

    def proven(self, value: str, given: bytes) -> bool:
        """Whether ``given`` is the session's token."""
        return hmac.compare_digest(self.token(value).encode(), given)


def foreign(headers: Mapping[bytes, bytes], allowed: frozenset[str] = frozenset()) -> PodiumError | None:
    """Why a request that changes something may not: another origin's page sent it. ``None``: ours, or no page at all.

    An origin is host and port: a page on another port of this machine is another origin. ``allowed`` are host names
    that the configuration serves. Browsers set ``Origin`` and ``Sec-Fetch-Site`` and let no page change them.
    """
    site = headers.get(b"sec-fetch-site")
    origin = headers.get(b"origin")
    if origin is not None:
        scheme, _, authority = origin.decode("latin-1").lower().partition("://")
        own = headers.get(b"host", b"").decode("latin-1").lower()
        port = _PORTS.get(scheme, "")
        if authority.removesuffix(port) == own.removesuffix(port) and authority:
            return None
        if host_name(authority.encode("latin-1")) in allowed:
            return None
        return Forbidden(f"pages of {origin.decode('latin-1')[:200]!r} may not change anything here")
    if site in (b"cross-site", b"same-site"):
        return Forbidden("a page of another origin may not change anything here")
    return None


def _cookies(headers: Mapping[bytes, bytes]) -> Iterator[str]:
    tried = 0
    for part in headers.get(b"cookie", b"").split(b";"):
        name, mark, value = part.strip().partition(b"=")
        if mark and name.startswith(COOKIE.encode()) and tried < _TRIED:
            tried += 1
            yield value.decode("latin-1")


def _digest(value: str) -> bytes:
    return hashlib.sha256(value.encode()).digest()

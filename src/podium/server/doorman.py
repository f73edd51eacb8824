"""Who is asking: reads the key of a request and says for whom it acts. The one place where keys are taken from headers.

Without any key on record a loopback server trusts whoever can reach it, as before keys existed. From the first key on
every request needs one. Connections on a private unix socket, and whoever can read this start's local key in the home
directory, act for the owner of the installation. A browser that signed in sends a cookie in the place of a key: it is
good for reading, and with the session's token, from a page of our own, for the rest.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping

from podium.domain.principal import Principal, Role
from podium.errors import Forbidden, InvalidRequest, Unauthenticated
from podium.server.browsers import CSRF, Browsers, foreign
from podium.services.keys import PREFIX, Keys
from podium.services.limiting import Grant, Limiter

OWNER = Principal(id="owner", name="owner", role=Role.ADMIN)
"""Whoever runs the installation."""
AUTO, REQUIRED, OFF = "auto", "required", "off"
MODES = (AUTO, REQUIRED, OFF)
_BEARER = b"bearer "
_MISSING = (
    "this server needs a key: send it as `Authorization: Bearer KEY` or `x-api-key: KEY`; "
    "whoever runs the server makes one with `podium keys create`"
)


class Doorman:
    """Knows whether keys are needed, and whose a key is."""

    def __init__(self, keys: Keys, browsers: Browsers, mode: str = AUTO, hosts: frozenset[str] = frozenset()) -> None:
        self._keys = keys
        self._mode = mode
        self.limiter: Limiter | None = None
        self.browsers = browsers
        self.hosts = hosts
        """Names that the configuration serves beside the address itself."""
        self.local_key = f"{PREFIX}local_{secrets.token_urlsafe(32)}"
        """For programs of the same user on this machine; another one at every start."""
        self._local = self.local_key.encode()

    @property
    def required(self) -> bool:
        """Whether a request without a key is refused."""
        return self._mode == REQUIRED or (self._mode == AUTO and self._keys.exist)

    def admit(
        self, headers: Mapping[bytes, bytes], query: bytes, *, private: bool, method: str = "POST"
    ) -> Principal | None:
        """Whoever acts, ``None`` for somebody unnamed where nobody needs a key. ``private``: came by the unix socket.

        Raises ``Unauthenticated``, ``InvalidRequest`` for a key in the URL, which logs and histories keep, and
        ``Forbidden`` for a cookie that comes without its token or from another origin's page.
        """
        if query and PREFIX.encode() in query:
            raise InvalidRequest(
                "a key stands in the URL, where logs and histories keep it: revoke that key, and send the new one as "
                "`Authorization: Bearer KEY`",
                code="key_in_url",
            )
        given = key_of(headers)
        if b"x-api-key" in headers and self.required and given != headers[b"x-api-key"].strip():
            raise InvalidRequest(
                "the headers Authorization and x-api-key hold different keys; send one of them", code="two_keys"
            )
        if given is not None and hmac.compare_digest(given, self._local):
            return OWNER
        if not self.required:
            return OWNER if private else None
        if given is None:
            if private:
                return OWNER
            if b"cookie" in headers and (found := self._signed_in(headers, method)) is not None:
                return found
            raise Unauthenticated(_MISSING)
        return self._keys.principal(given.decode("utf-8", "surrogateescape"))

    def sign_in(self, key: str) -> tuple[str, Principal]:
        """A session for the holder of ``key``: the cookie's value, and who acts. Raises ``Unauthenticated``."""
        if hmac.compare_digest(key.encode("utf-8", "surrogateescape"), self._local):
            return self.browsers.open(None), OWNER
        principal = self._keys.principal(key)
        return self.browsers.open(principal.id), principal

    def _signed_in(self, headers: Mapping[bytes, bytes], method: str) -> Principal | None:
        session = self.browsers.find(headers)
        if session is None:
            return None
        value, key_id = session
        if method not in ("GET", "HEAD"):
            refused = foreign(headers, self.hosts)
            if refused is not None:
                raise refused
            if not self.browsers.proven(value, headers.get(CSRF, b"")):
                raise Forbidden("a browser's call needs the token of its session; reload the page", code="csrf")
        try:
            return OWNER if key_id is None else self._keys.holder(key_id)
        except Unauthenticated:
            self.browsers.close(value)
            raise

    def grant(self, principal: Principal | None) -> Grant | None:
        """The limits of whoever acts, where there are any. The owner has none."""
        return None if self.limiter is None or principal is OWNER else self.limiter.grant(principal)


def key_of(headers: Mapping[bytes, bytes]) -> bytes | None:
    """The key as OpenAI's clients or Anthropic's send it, without its scheme."""
    given = headers.get(b"authorization")
    if given is not None:
        return given[len(_BEARER) :].strip() if given[: len(_BEARER)].lower() == _BEARER else given.strip()
    given = headers.get(b"x-api-key")
    return given.strip() if given is not None else None

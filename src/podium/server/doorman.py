"""Who is asking: reads the key of a request and says for whom it acts. The one place where keys are taken from headers.

Without any key on record a loopback server trusts whoever can reach it, as before keys existed. From the first key on
every request needs one. Connections on a private unix socket, and whoever can read this start's local key in the home
directory, act for the owner of the installation.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping

from podium.domain.principal import Principal, Role
from podium.errors import InvalidRequest, Unauthenticated
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

    def __init__(self, keys: Keys, mode: str = AUTO) -> None:
        self._keys = keys
        self._mode = mode
        self.limiter: Limiter | None = None
        self.local_key = f"{PREFIX}local_{secrets.token_urlsafe(32)}"
        """For programs of the same user on this machine; another one at every start."""
        self._local = self.local_key.encode()

    @property
    def required(self) -> bool:
        """Whether a request without a key is refused."""
        return self._mode == REQUIRED or (self._mode == AUTO and self._keys.exist)

    def admit(self, headers: Mapping[bytes, bytes], query: bytes, *, private: bool) -> Principal | None:
        """Whoever acts, ``None`` for somebody unnamed where nobody needs a key. ``private``: came by the unix socket.

        Raises ``Unauthenticated``, and ``InvalidRequest`` for a key in the URL, which logs and histories keep.
        """
        if query and PREFIX.encode() in query:
            raise InvalidRequest(
                "a key stands in the URL, where logs and histories keep it: revoke that key, and send the new one as "
                "`Authorization: Bearer KEY`",
                code="key_in_url",
            )
        given = key_of(headers)
        if given is not None and hmac.compare_digest(given, self._local):
            return OWNER
        if not self.required:
            return OWNER if private else None
        if given is None:
            if private:
                return OWNER
            raise Unauthenticated(_MISSING)
        return self._keys.principal(given.decode("utf-8", "surrogateescape"))

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

"""Which hosts and origins a request may name: the guard against DNS rebinding and foreign web pages.

Reads headers only; keys and roles are somebody else's business.
"""

from __future__ import annotations

from podium.errors import Forbidden, InvalidRequest, PodiumError

_REMEMBERED = 256


def host_name(authority: bytes) -> str:
    """``b"[::1]:80"`` → ``"::1"``, ``b"Example.org:80"`` → ``"example.org"``."""
    text = authority.decode("latin-1").strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    name, _, port = text.rpartition(":")
    return name if name and port.isdigit() else text.rstrip(".")


class Admittance:
    """``allowed_hosts`` are host names without port, ``allowed_origins`` host names or whole origins.

    ``None`` allows all. A request without an ``Origin`` does not come from a page and is not checked for it.
    """

    def __init__(
        self, allowed_hosts: frozenset[str] | None = None, allowed_origins: frozenset[str] | None = None
    ) -> None:
        self._hosts = allowed_hosts
        self._origins = allowed_origins
        self._good_hosts: set[bytes] = set()

    def check(self, headers: dict[bytes, bytes], url: bytes, version: str) -> PodiumError | None:
        """The reason to refuse, or ``None``."""
        host = headers.get(b"host")
        if host is None and version != "1.0":
            return InvalidRequest("an HTTP/1.1 request needs a Host header", code="bad_http")
        if url[:1] != b"/":
            scheme, mark, rest = url.partition(b"://")
            if mark and scheme.lower() in (b"http", b"https"):
                host = rest.partition(b"/")[0].partition(b"?")[0]  # RFC 9112, 3.2.2: it overrides Host
            elif url != b"*":
                return InvalidRequest("the request target must be a path", code="bad_http")
        if self._hosts is not None and host is not None and host not in self._good_hosts:
            if host_name(host) not in self._hosts:
                return Forbidden(
                    f"the host {host.decode('latin-1')!r} is not served here; "
                    "use the address the server printed, or allow the name in the configuration"
                )
            if len(self._good_hosts) < _REMEMBERED:
                self._good_hosts.add(host)
        origin = headers.get(b"origin")
        if origin is not None and self._origins is not None and not self._known(origin):
            return Forbidden(
                f"pages of {origin.decode('latin-1')!r} may not use this server; allow the origin in the configuration"
            )
        return None

    def _known(self, origin: bytes) -> bool:
        assert self._origins is not None
        text = origin.decode("latin-1").lower()
        return text in self._origins or host_name(origin.partition(b"://")[2]) in self._origins

    @staticmethod
    def origin_form(path: bytes) -> bytes:
        """The path alone, also of ``http://host/path``."""
        if path[:1] == b"/" or b"://" not in path:
            return path
        return b"/" + path.partition(b"://")[2].partition(b"/")[2]

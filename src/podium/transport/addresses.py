"""URLs that are called for somebody, and which IP addresses they may lead to. Pure; resolves nothing.

Refused is what only machines of a cloud or of this network segment should be asked: link-local addresses (the metadata
services of clouds answer there and hand out credentials), the other well-known metadata addresses, and addresses that
name no machine. Loopback and private networks are allowed: that is where the services of a local-first user run.
``Reach`` is what the owner of this installation set for the servers of models.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from podium.errors import InvalidRequest

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
METADATA = frozenset(
    ipaddress.ip_address(text) for text in ("169.254.169.254", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200")
)
LOOPBACK = ("127.0.0.1", "::1")
SAFE = "/?#[]@!$&'()*+,;=:%~"
"""What a path and query hold as they are; the rest is percent-encoded."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, taken apart; as text it is its origin."""

    scheme: str
    host: str
    port: int
    path: str
    """With the query."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        return f"{self.scheme}://{host}" + ("" if self.port == default else f":{self.port}")


def target(url: str) -> Target:
    """Raises ``InvalidRequest``, without the URL in it, for what is no http or https URL."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidRequest("the url is not one that can be called") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidRequest("the url must start with http:// or https:// and name a host")
    if parts.username is not None or parts.password is not None:
        raise InvalidRequest("the url must not hold a user or a password; the signature says who calls")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80), quote(path, SAFE))


def check_target(url: str, *, allow_link_local: bool = False) -> None:
    """What can be said of a URL without resolving it. Raises ``InvalidRequest``."""
    host = target(url).host
    try:
        reason = refusal(host, allow_link_local=allow_link_local)
    except ValueError:
        return  # a name
    if reason is not None:
        raise InvalidRequest(f"the url is not called: {reason}")


def refusal(text: str, *, allow_link_local: bool = False) -> str | None:
    """Why an address is not called; ``None`` when it may be. What an IPv6 address stands for counts."""
    address = _meant(ipaddress.ip_address(text.partition("%")[0]))
    if address in METADATA or address.is_link_local:
        return None if allow_link_local else f"{address} is link-local or a cloud's metadata service"
    if address.is_unspecified or address.is_multicast or (address.is_reserved and not address.is_loopback):
        return f"{address} names no machine"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far connections to models may go. Looked at for every address that is connected to, names included."""

    allow_link_local: bool = False
    offline: bool = False
    """Nothing outside this machine."""

    def refusal(self, text: str) -> str | None:
        """Why an address is not connected to; ``None`` when it may be. Raises ``ValueError`` for what is no address."""
        why = refusal(text, allow_link_local=self.allow_link_local)
        if why is not None:
            return why
        if self.offline and not _meant(ipaddress.ip_address(text.partition("%")[0])).is_loopback:
            return f"{text} is another machine, and `[network] offline` is on"
        return None

    def known(self, name: str) -> tuple[str, ...]:
        """Addresses of a name that needs no looking up: offline, asking a name server is a message to elsewhere."""
        return LOOPBACK if self.offline and _own_name(name) else ()

    def refusal_of_name(self, name: str) -> str | None:
        """Why a name is not even looked up; ``None`` when it may be."""
        if self.offline and not _own_name(name):
            return f"{name} would have to be looked up, and `[network] offline` is on; write the loopback address"
        return None


CAUTIOUS = Reach()
"""What holds while nobody set anything."""
EVERYWHERE = Reach(allow_link_local=True)
"""For servers of our own, whose address we chose."""


def _own_name(name: str) -> bool:
    """RFC 6761, 6.3: these are this machine, and nobody is asked."""
    bare = name.rstrip(".").lower()
    return bare == "localhost" or bare.endswith(".localhost")


def _meant(address: IPAddress) -> IPAddress:
    """The IPv4 address inside an IPv6 one that maps, tunnels or translates it."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address

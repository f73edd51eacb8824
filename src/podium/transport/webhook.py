"""Sends the calls of webhooks: one connection per call, to an address that was looked at before it is dialled.

Owns name resolution, so that the address that was checked is the one that is called. Follows no redirect, reads no
body, and names no more of a URL than its origin: the path may be somebody's secret.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

from podium.domain.webhook import Posted
from podium.errors import Forbidden, ProviderError, ProviderTimeout, ProviderUnreachable
from podium.transport.addresses import Reach, Target, target
from podium.transport.client import HttpClient, Origin

CONNECT_S = 5.0
_RESOLVERS = 8
"""Names that are slow to resolve hold up others only when there are as many."""
_ADDRESSES_TRIED = 4


class WebhookPoster:
    """Implements ``ports.Poster``."""

    def __init__(self, *, offline: bool = False) -> None:
        self._offline = offline
        self._resolvers = ThreadPoolExecutor(max_workers=_RESOLVERS, thread_name_prefix="podium-resolver")

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """The system's authorities; ``SSL_CERT_FILE`` adds to them."""
        return ssl.create_default_context()

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float, allow_link_local: bool
    ) -> Posted:
        """See ``ports.Poster``."""
        origin = target(url)
        try:
            async with asyncio.timeout(timeout_s):
                addresses = await self._addresses(origin, allow_link_local)
                return await self._first(origin, addresses, headers, body, timeout_s)
        except TimeoutError:
            raise ProviderTimeout(f"{origin} did not answer within {timeout_s:g} s") from None

    async def close(self) -> None:
        """Let go of the threads; names still being resolved are not waited for."""
        self._resolvers.shutdown(wait=False, cancel_futures=True)

    async def _addresses(self, origin: Target, allow_link_local: bool) -> list[str]:
        loop = asyncio.get_running_loop()
        reach = Reach(allow_link_local=allow_link_local, offline=self._offline)
        try:
            ipaddress.ip_address(origin.host.partition("%")[0])
        except ValueError:
            why = reach.refusal_of_name(origin.host)
            if why is not None:
                raise Forbidden(f"{origin} is not called: {why}") from None
            if known := reach.known(origin.host):
                return list(known)
        try:
            found = await loop.run_in_executor(
                self._resolvers, lambda: socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
            )
        except (OSError, UnicodeError) as error:
            raise ProviderUnreachable(f"the name in {origin} does not resolve: {error}") from None
        every = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        reasons = {address: reach.refusal(address) for address in every}
        allowed = [address for address in every if reasons[address] is None]
        if not allowed:
            raise Forbidden(f"{origin} is not called: {next(iter(reasons.values()), 'it has no address')}")
        return allowed[:_ADDRESSES_TRIED]

    async def _first(
        self, origin: Target, addresses: list[str], headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> Posted:
        """The answer of the first address that takes a connection."""
        for left, address in zip(range(len(addresses) - 1, -1, -1), addresses, strict=True):
            try:
                return await self._call(origin, address, headers, body, timeout_s)
            except ProviderError as error:
                connected = error.__cause__ is None
                if connected or not left:
                    raise
        raise AssertionError("there was no address")

    async def _call(
        self, origin: Target, address: str, headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> Posted:
        tls = self._tls if origin.scheme == "https" else None
        client = HttpClient(Origin(host=origin.host, port=origin.port, tls=tls, address=address), max_idle=0)
        try:
            reply = await client.request(
                b"POST",
                origin.path.encode(),
                headers=[(name.encode(), value.encode()) for name, value in headers.items()],
                body=body,
                connect_s=min(CONNECT_S, timeout_s),
                first_byte_s=timeout_s,
                total_s=timeout_s,
            )
            found = dict(reply.headers)
            after = found.get(b"retry-after")
            reply.close()
            return Posted(status=reply.status, retry_after=None if after is None else after.decode("latin-1"))
        finally:
            await client.aclose()

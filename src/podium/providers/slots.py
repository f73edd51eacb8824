"""How many requests a server really works on in parallel, asked of it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from podium.errors import ProviderError
from podium.transport.client import HttpClient

_LIMIT_S = 5.0
_MOST = 4096


async def slots_of(client: HttpClient, base: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> int | None:
    """``total_slots`` of llama-server's ``GET /props``, which lies beside ``/v1``; ``None`` for any other server.

    Source: tools/server/README.md of llama.cpp.
    """
    path = f"{base.removesuffix('/v1')}/props"
    try:
        reply = await client.request(
            b"GET", path.encode(), headers=headers, connect_s=_LIMIT_S, first_byte_s=_LIMIT_S, total_s=_LIMIT_S
        )
        body = await reply.read()
        slots = msgspec.json.decode(body)["total_slots"] if reply.status == 200 else None
    except (ProviderError, msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return None
    return slots if isinstance(slots, int) and not isinstance(slots, bool) and 0 < slots <= _MOST else None

"""The data plane without policy: read the head of the body, forward, pass the answer on.

    python forwarder.py PORT UPSTREAM_PORT

What this costs is the floor under everything the gateway adds.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys

import msgspec
import uvloop

from podium.server.exchange import Exchange
from podium.server.http import HttpServer
from podium.transport.client import HttpClient, Origin


class Head(msgspec.Struct):
    """The two fields a forwarder needs; the rest is skipped, not built."""

    model: str
    stream: bool = False


HEADERS = ((b"content-type", b"application/json"),)


async def main(port: int, upstream: int) -> None:
    client = HttpClient(Origin(host="127.0.0.1", port=upstream), max_idle=512)
    decode = msgspec.json.Decoder(Head).decode

    async def forward(exchange: Exchange) -> None:
        head = decode(exchange.body)
        reply = await client.request(
            b"POST",
            b"/v1/chat/completions",
            headers=HEADERS,
            body=exchange.body,
            connect_s=5.0,
            first_byte_s=60.0,
            total_s=600.0,
        )
        headers = ((b"content-type", reply.content_type.encode()),)
        if not head.stream:
            exchange.respond(reply.status, headers, await reply.read())
            return
        exchange.on_pause = reply.pause
        exchange.on_resume = reply.resume
        exchange.start_stream(reply.status, headers)
        await reply.relay(exchange.write)
        exchange.finish()

    server = HttpServer()
    await server.start("127.0.0.1", port, data_handler=forward)
    gc.freeze()
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    await stop.wait()
    await server.stop(1.0)
    await client.aclose()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))

"""A day offline, as a program: a gateway that was told of servers and webhooks elsewhere does all it can do without them.

Prints one JSON document: what worked, what was refused, and every connection, datagram and name that any code of this
process asked the system for beyond the loopback interface. Run by ``test_offline.py``, also where there is no network.
"""

from __future__ import annotations

import asyncio
import fcntl
import ipaddress
import json
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

_SIOCSIFFLAGS, _IFF_UP, _IFF_RUNNING = 0x8914, 0x1, 0x40
ELSEWHERE: list[str] = []
"""What left, or would have."""


def _local(host: object) -> bool:
    text = str(host).partition("%")[0]
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:
        return text in ("localhost", "None", "")


def _address(host: object) -> bool:
    """Nobody is asked about an address."""
    try:
        ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return False
    return True


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        if isinstance(address, tuple) and not _local(address[0]):
            ELSEWHERE.append(f"{event} {address}")
    elif event.startswith("socket.get") and arguments and not _local(arguments[0]) and not _address(arguments[0]):
        ELSEWHERE.append(f"{event} {arguments[0]}")


CONFIG = """
[network]
offline = true
[pool]
memory_budget_mb = 2048
[webhooks.address]
url = "http://198.51.100.7/hook"
secret = "env:HOOK"
retry_first_s = 0.05
retry_most_s = 0.1
[webhooks.name]
url = "https://hooks.example/hook"
secret = "env:HOOK"
retry_first_s = 0.05
retry_most_s = 0.1
[budgets.cloud]
scope = "provider"
subject = "*"
unit = "tokens"
limit = 1000000
[models.address]
url = "http://198.51.100.8:8000/v1"
remote = "m"
[models.name]
url = "http://models.example/v1"
remote = "m"
[models.claude]
provider = "anthropic"
location = "https://api.anthropic.com"
remote = "claude-haiku-4-5"
"""


async def day(home: Path) -> dict[str, Any]:
    """Everything a gateway does in a day."""
    from podium.client import Podium
    from podium.config import load
    from podium.errors import PodiumError
    from podium.runtime import Gateway

    (home / "podium.toml").write_text(CONFIG)
    (home / "m.json").write_text('{"text": "hello"}')
    refused: dict[str, str] = {}
    done: list[str] = []
    async with Gateway.open(load(home=home)) as gateway:
        url = await gateway.serve(port=0)
        async with Podium.connect(url) as podium:
            command = f"{sys.executable} -m podium.providers.scripted_server {home / 'm.json'} --port ${{PORT}}"
            places = {"here@1": ("scripted", str(home / "m.json")), "child@1": ("command", command)}
            for ref, (provider, location) in places.items():
                name, _, version = ref.partition("@")
                source = {"provider": provider, "location": location, "settings": {}}
                if provider == "command":
                    source["settings"] = {"remote": "m", "memory_mb": 64}
                body = {"name": name, "version": version, "source": source, "activate": True}
                made = await podium.call("POST", "/api/v1/models", body)
                assert made["problem"] is None, made
                assert (await podium.execute("hi", model=ref)).text == "hello"
                done.append(f"answered by {ref}")
            await podium.call("POST", "/api/v1/tasks/t/swap", {"to": "here@1"})
            await podium.call("POST", "/api/v1/tasks/t/swap", {"to": "child@1"})
            assert (await podium.execute("hi", task="t")).version == "child@1"
            done.append("swapped")
            await podium.call("PUT", "/api/v1/secrets/one", {"value": "a-sealed-secret"})
            problems = await podium.reload()
            done.append("reloaded")
            for location in ("http://198.51.100.8:8000/v1", "http://models.example/v1", "https://api.openai.com/v1"):
                source = {"provider": "openai", "location": location, "settings": {"remote": "m"}}
                try:
                    await podium.call("POST", "/api/v1/models", {"name": "far", "source": source})
                except PodiumError as error:
                    refused[location] = error.message
            refused |= {str(number): text for number, text in enumerate(problems["problems"])}
            deadline = time.monotonic() + 30
            hooks: list[dict[str, Any]] = []
            while len(hooks) < 2 and time.monotonic() < deadline:
                found = (await podium.call("GET", "/api/v1/webhooks"))["webhooks"]
                hooks = [one for one in found if one["last_error"]]
                await asyncio.sleep(0.02)
            refused |= {one["name"]: one["last_error"] for one in hooks}
            for path in ("doctor", "stats", "costs", "decisions", "events?limit=5", "export"):
                await podium.call("GET", f"/api/v1/{path}") if path != "export" else None
            done.append("looked at")
    return {"done": done, "refused": refused}


def loopback_up() -> None:
    """A new network namespace has a loopback interface that is down. As ``ip link set lo up``, netdevice(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP | _IFF_RUNNING))


def main() -> None:
    """Nothing of Podium is imported before what is watched is watched."""
    if sys.argv[1] == "--up":
        loopback_up()
        return
    home = Path(sys.argv[1])
    sys.addaudithook(_watch)
    found = asyncio.run(day(home))
    print(json.dumps({**found, "elsewhere": ELSEWHERE}))


if __name__ == "__main__":
    main()

"""Swaps while streams run: nothing may fail, be cut, or come from another version than the one it names.

    python benchmarks/swap_under_load.py --swaps 200 --streams 32 --json

A real ``podium serve`` with two scripted versions whose every word is their own name. Each client streams again
and again; swaps alternate between the versions. After each order is answered, one more request checks that new
traffic really goes to the new version. Loads are not part of it: both versions are warm.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORDS = 20
NAMES = {"m@a": "alpha", "m@b": "beta"}


async def call(port: int, method: str, path: str, body: object) -> dict:
    """One control request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    raw = json.dumps(body).encode()
    writer.write(
        f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n"
        f"content-length: {len(raw)}\r\n\r\n".encode()
        + raw
    )
    head = await reader.readuntil(b"\r\n\r\n")
    text = await reader.read()
    writer.close()
    if b" 20" not in head[:14]:
        raise RuntimeError(text.decode())
    return json.loads(text)


async def stream(port: int) -> tuple[str, bool, bool]:
    """(version named in the header, whole, every word is that version's)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    raw = json.dumps({"model": "task:jobs", "stream": True, "messages": [{"role": "user", "content": "go"}]}).encode()
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n"
        b"content-length: " + str(len(raw)).encode() + b"\r\n\r\n" + raw
    )
    data = await reader.read()
    writer.close()
    head, _, rest = data.partition(b"\r\n\r\n")
    served = next((ln[16:].decode() for ln in head.split(b"\r\n") if ln.lower().startswith(b"x-podium-model: ")), "")
    text = "".join(
        json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
        for line in rest.split(b"\n")
        if line.startswith(b"data: {") and b'"delta"' in line
    )
    return served, b"data: [DONE]" in rest, text.split() == [NAMES.get(served, "?")] * WORDS


async def run(port: int, folder: Path, swaps: int, streams: int) -> dict:
    for ref, word in NAMES.items():
        script = folder / f"{word}.json"
        script.write_text(json.dumps({"text": " ".join([word] * WORDS), "ttft_ms": 2, "chunk_gap_ms": 2}))
        name, version = ref.split("@")
        source = {"provider": "scripted", "location": str(script)}
        await call(
            port, "POST", "/api/v1/models", {"name": name, "version": version, "source": source, "activate": True}
        )
    await call(port, "POST", "/api/v1/tasks/jobs/swap", {"to": "m@a"})
    ended = asyncio.Event()
    results: list[tuple[str, bool, bool]] = []
    failures: list[str] = []

    async def client() -> None:
        while not ended.is_set():
            try:
                results.append(await stream(port))
            except (OSError, asyncio.IncompleteReadError) as error:
                failures.append(repr(error))

    clients = [asyncio.create_task(client()) for _ in range(streams)]
    taken, order_ms, late = [], [], 0
    for number in range(swaps):
        began = time.perf_counter()
        done = await call(port, "POST", "/api/v1/tasks/jobs/swap", {"to": "m@b" if number % 2 == 0 else "m@a"})
        order_ms.append((time.perf_counter() - began) * 1000)
        if not done["ok"]:
            failures.append(done["error"])
        taken.append(done["swap_ms"])
        late += (await stream(port))[0] != done["after"]
    ended.set()
    await asyncio.gather(*clients)
    taken.sort()
    return {
        "swaps": swaps,
        "streams": streams,
        "requests": len(results),
        "failed": len(failures) + sum(1 for served, _, _ in results if not served),
        "cut": sum(1 for served, whole, _ in results if served and not whole),
        "wrong_model": late + sum(1 for served, whole, right in results if served and whole and not right),
        "swap_ms_p50": round(statistics.median(taken), 2),
        "swap_ms_p99": round(taken[int(len(taken) * 0.99) - 1], 2),
        "swap_ms_max": round(taken[-1], 2),
        "order_ms_p50": round(statistics.median(order_ms), 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swaps", type=int, default=200)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="podium-swap-") as name:
        folder = Path(name)
        server = subprocess.Popen(
            [sys.executable, "-m", "podium", "serve", "--port", "0"],
            env={**os.environ, "PODIUM_HOME": str(folder / "home")},
            stdout=subprocess.DEVNULL,
        )
        try:
            record = folder / "home" / "run" / "server.json"
            while not record.exists():
                if server.poll() is not None:
                    return 1
                time.sleep(0.05)
            port = int(json.loads(record.read_text())["url"].rsplit(":", 1)[1])
            found = asyncio.run(run(port, folder, options.swaps, options.streams))
        finally:
            server.terminate()
            server.wait(20)
    print(json.dumps(found) if options.json else "\n".join(f"{key:14} {value}" for key, value in found.items()))
    return 1 if found["failed"] or found["cut"] or found["wrong_model"] else 0


if __name__ == "__main__":
    sys.exit(main())

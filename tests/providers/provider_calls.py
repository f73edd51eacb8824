"""Calls to providers as the gateway makes them, and scripted servers that somebody else runs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from urllib.request import urlopen

import msgspec

from podium.domain.model import Facts, ModelVersion, Source
from podium.domain.request import Endpoint
from podium.ports import Call, Deadlines


def stats_at(url: str) -> dict[str, int]:
    with urlopen(f"{url.removesuffix('/v1')}/stats", timeout=5) as answer:
        return json.load(answer)


class Running:
    """A scripted server as a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "podium.providers.scripted_server", *arguments], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        first = self.process.stdout.readline()
        assert first.startswith("listening on"), first
        self.port = int(first.rsplit(":", 1)[1])
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def stats(self) -> dict[str, int]:
        return stats_at(self.url)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()


def version_of(source: Source, facts: Facts) -> ModelVersion:
    return ModelVersion(name="m", version="1", source=source, facts=facts)


def chat(model: str, text: str = "hi", *, stream: bool = False, first_token_s: float = 20, **more: object) -> Call:
    body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream, **more}
    return Call(
        endpoint=Endpoint.CHAT,
        body=msgspec.json.encode(body),
        stream=stream,
        request_id="r",
        deadlines=Deadlines(connect_s=2, first_token_s=first_token_s, total_s=60),
    )


def said(raw: bytes) -> str:
    """The text of a whole answer or of all events of a stream."""
    if not raw.startswith(b"data:"):
        return json.loads(raw)["choices"][0]["message"]["content"]
    events = [line[6:] for line in raw.decode().splitlines() if line.startswith("data: ")]
    assert events.pop() == "[DONE]"
    chunks = [json.loads(event)["choices"] for event in events]
    return "".join(choice[0]["delta"].get("content") or "" for choice in chunks if choice)

"""What the tests of the pool look at: instances, queues, events, processes; and models that misbehave on demand."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil

from bad_server import Switch
from server import Server


def wait_for(condition: Callable[[], object], timeout_s: float = 15) -> None:
    """Poll until it is true; the test fails when it is not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def bad(server: Server, ref: str, *, slots: int = 4, hold_mb: int = 0, **state: Any) -> Switch:
    """Register a model behind a server that can misbehave; ``hold_mb``: memory it really takes."""
    switch = Switch(server.home.parent, ref.replace("@", "-"), **state)
    reserve = {"memory_mb": hold_mb + 10} if hold_mb else {}
    command = switch.command("--hold-mb", str(hold_mb))
    added = server.add(ref, "command", command, concurrency=slots, stop_timeout_s=0.5, **reserve)
    assert added["problem"] is None, added
    return switch


def instances(server: Server, ref: str) -> list[dict[str, Any]]:
    """Its rows in ``podium ps``."""
    return [item for item in server.ok("GET", "/api/v1/instances")["instances"] if item["ref"] == ref]


def running(server: Server, ref: str) -> list[dict[str, Any]]:
    """Its ready copies."""
    return [item for item in instances(server, ref) if item["state"] == "ready"]


def ready(server: Server, ref: str) -> dict[str, Any]:
    """Its only ready copy."""
    (only,) = running(server, ref)
    return only


def waiting(server: Server) -> int:
    """Requests in all queues."""
    return sum(queue["waiting"] for queue in server.ok("GET", "/api/v1/queue")["queues"])


def events(server: Server, ref: str) -> list[dict[str, Any]]:
    """What happened to a version, oldest first."""
    found = server.ok("GET", "/api/v1/events?limit=1000")["events"]
    return [event for event in found if event["subject"] == ref]


def kinds(server: Server, ref: str) -> list[str]:
    """The names of what happened to a version."""
    return [event["kind"] for event in events(server, ref)]


def read(server: Server, model: str, text: str = "hi") -> tuple[dict[str, Any], list[bytes]]:
    """(head, events) of a stream read to its end."""
    lines = server.stream(model, text)
    return json.loads(next(lines)), split(lines)


def split(lines: Iterator[bytes]) -> list[bytes]:
    """The events that are left in a stream."""
    return [event for event in b"".join(lines).strip(b"\n").split(b"\n\n") if event]


def error_of(event: bytes) -> dict[str, Any]:
    """The error an SSE ``error`` event carries."""
    name, _, data = event.partition(b"\n")
    assert name == b"event: error", event
    error: dict[str, Any] = json.loads(data.removeprefix(b"data: "))["error"]
    return error


def gone(pid: int) -> bool:
    """True for a process that ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True

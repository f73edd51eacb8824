"""Offline nothing leaves the machine: every connection a gateway tries is recorded, and it works where there is no network."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import offline_day

pytestmark = pytest.mark.requirement("OPS-5")
IN_AN_EMPTY_NETWORK = ("unshare", "--map-root-user", "--net", "sh", "-c")
UP = f"{sys.executable} {offline_day.__file__} --up || exit 77; "


def spend(home: Path, *before: str, after: str = "") -> dict[str, Any]:
    """The day as a child process. ``before`` runs it."""
    home.mkdir()
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PODIUM_", "OTEL_"))}
    env = {
        **own,
        "PODIUM_HOME": str(home),
        "HOOK": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "ANTHROPIC_API_KEY": "x" * 9,
    }
    words = [sys.executable, offline_day.__file__, str(home)]
    command = [*before, after + " ".join(words)] if before else words
    ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=110, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return json.loads(ran.stdout.splitlines()[-1])


def unavailable() -> str | None:
    """Why no network can be cut here; ``None`` when it can."""
    if shutil.which("unshare") is None:
        return "unshare (util-linux) is not installed"
    tried = subprocess.run([*IN_AN_EMPTY_NETWORK, UP + "true"], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"no network namespace: {tried.stderr.strip()[:200]}"


@dataclass(frozen=True)
class Spent:
    found: dict[str, Any]
    uncut: str | None
    """Why the network could not be cut; then the day was spent with it."""
    traced: str | None
    """What the system was asked for by all processes of the day, where that can be recorded."""


@pytest.fixture(scope="module")
def spent(tmp_path_factory: pytest.TempPathFactory) -> Spent:
    folder = tmp_path_factory.mktemp("offline")
    why = unavailable()
    if why is not None:
        return Spent(spend(folder / "home"), why, None)
    trace = folder / "connections"
    strace = f"strace -f -qq --seccomp-bpf -e trace=connect,sendto,sendmsg,sendmmsg -e signal=none -o {trace} "
    works = subprocess.run([*IN_AN_EMPTY_NETWORK, UP + strace + "true"], capture_output=True, check=False)
    found = spend(folder / "home", *IN_AN_EMPTY_NETWORK, after=UP + (strace if works.returncode == 0 else ""))
    return Spent(found, None, trace.read_text() if works.returncode == 0 else None)


def test_offline_everything_on_this_machine_goes_on_and_the_rest_says_why_not(spent: Spent) -> None:
    assert spent.found["done"] == ["answered by here@1", "answered by child@1", "swapped", "reloaded", "looked at"]
    refused = spent.found["refused"]
    for place in ("http://198.51.100.8:8000/v1", "http://models.example/v1", "address", "name"):
        assert "offline" in refused[place], (place, refused[place])
    assert sum("offline" in text for text in refused.values()) >= 5


def test_offline_no_connection_is_tried_and_no_name_looked_up(spent: Spent) -> None:
    assert spent.found["elsewhere"] == []
    if spent.traced is not None:  # what C code and the processes of models did, too
        addresses = set(re.findall(r'(?:inet_addr\("|AF_INET6, ")([^"]+)"', spent.traced))
        assert addresses
        assert addresses <= {"127.0.0.1", "::1"}


def test_the_network_was_really_cut(spent: Spent) -> None:
    if spent.uncut is not None:
        assert os.environ.get("PODIUM_NETNS") != "required", spent.uncut
        pytest.skip(spent.uncut)
    cut = subprocess.run([*IN_AN_EMPTY_NETWORK, UP + "cat /proc/net/route"], capture_output=True, text=True, check=True)
    assert len(cut.stdout.splitlines()) <= 1, "there is a way out"


def test_what_watches_the_connections_sees_them() -> None:
    before = len(offline_day.ELSEWHERE)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        offline_day._watch("socket.connect", (probe, ("127.0.0.1", 9)))
        offline_day._watch("socket.getaddrinfo", ("localhost", 9))
        assert len(offline_day.ELSEWHERE) == before
        offline_day._watch("socket.connect", (probe, ("203.0.113.9", 9)))
        offline_day._watch("socket.getaddrinfo", ("models.example", 80))
    assert offline_day.ELSEWHERE[before:] == ["socket.connect ('203.0.113.9', 9)", "socket.getaddrinfo models.example"]
    del offline_day.ELSEWHERE[before:]

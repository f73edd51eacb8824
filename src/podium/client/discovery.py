"""Finds the server a command or a program should talk to. Reads the environment and ``run/server.json`` only."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from podium.home import default_home


def find_server(home: Path | None = None, environ: Mapping[str, str] | None = None) -> str | None:
    """URL of the running server: ``PODIUM_URL``, else the one this home's ``run/server.json`` names.

    ``None`` when there is none. A file left behind by a process that is gone is ignored.
    """
    environ = os.environ if environ is None else environ
    return environ.get("PODIUM_URL") or own_server(home, environ)


def own_server(home: Path | None = None, environ: Mapping[str, str] | None = None) -> str | None:
    """URL of the server that runs in this home, ``None`` when there is none."""
    environ = os.environ if environ is None else environ
    file = (home or default_home(environ)) / "run" / "server.json"
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        pid, url = int(record["pid"]), str(record["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return url if _alive(pid) else None


def local_key(home: Path | None = None, environ: Mapping[str, str] | None = None) -> str | None:
    """The key that the server of this home made for this user's own programs; ``None`` where it cannot be read."""
    environ = os.environ if environ is None else environ
    try:
        return ((home or default_home(environ)) / "run" / "local.key").read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError):
        return None


def _alive(pid: int) -> bool:
    """Whether a process with this id exists and is not a zombie."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] != "Z"

"""Finds the process in which an Ollama on this machine runs a file of weights, so that it can be measured.

Ollama starts one process per loaded model with the path of the weights on its command line (``--model
…/blobs/sha256-…``, source: Ollama's ``llm/llama_server.go``) and does not tell its id. Reads only; ends nothing.
"""

from __future__ import annotations

import os

import psutil


def runner_pid(weights: str) -> int | None:
    """The process that names ``sha256-<weights>``; ``None`` without one, or when several could be meant. Blocking."""
    needle = f"sha256-{weights}"
    found: dict[int, int] = {}
    for process in psutil.process_iter(["ppid", "cmdline"]):
        if process.pid != os.getpid() and any(needle in word for word in process.info["cmdline"] or ()):
            found[process.pid] = process.info["ppid"]
    roots = [pid for pid, parent in found.items() if parent not in found]
    return roots[0] if len(roots) == 1 else None

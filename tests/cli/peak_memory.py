"""Runs a command in a process of its own and says how much memory it took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


def peak(arguments: list[str], limit_s: float = 110) -> dict[str, Any]:
    """Run the command in a process of its own; its result and its peak memory, as the kernel counts this program's.

    (``ru_maxrss`` would do elsewhere, but on Linux a child starts with its parent's.)
    """
    code = (
        "import pathlib, resource, sys\n"
        "from podium.cli.main import main\n"
        f"sys.argv = ['podium', *{arguments!r}]\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as done:\n"
        "    assert not done.code, done.code\n"
        "status = pathlib.Path('/proc/self/status')\n"
        "if status.exists():\n"
        "    peak = int(status.read_text().split('VmHWM:')[1].split()[0]) * 1024\n"
        "else:\n"
        "    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)\n"
        "print(peak, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env={**os.environ}, timeout=limit_s
    )
    assert done.returncode == 0, done.stderr
    return {"result": json.loads(done.stdout), "peak_bytes": int(done.stderr.splitlines()[-1])}

"""A process that has imported Podium and forks: ``python tests/fork_server.py FD``. Started by ``forking``.

Importing is two seconds of a gateway's start and half a second of a command's; what comes after is the same program in
a process of its own. Has one thread and opens nothing, so that a fork is as good as a new interpreter. Each order on the
socket FD is one message: the words after ``python``, the environment and the folder as JSON, and four descriptors: standard input, output and
error, and a pipe that is told the process id and then how it ended.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
import types
import warnings
from pathlib import Path
from typing import Any

from podium.cli.tree import ENTRIES

LOADED = (
    "podium.cli.main",
    *(f"podium.cli.{place}" for place in sorted({entry.place.partition(":")[0] for entry in ENTRIES.values()})),
    "podium.config",
    "podium.client",
    "podium.runtime",
    "podium.runtime.exposure",
    "podium.server.control.app",
    "podium.telemetry.logs",
    "podium.web.app",
    "podium.web.pages",
    "uvloop",
)
"""What ``podium serve`` imports sooner or later, beginning with what every command does."""
LARGEST_ORDER = 1 << 20


def main() -> None:
    """Carry out orders until the other end of the socket is closed. Returns in no process but a child."""
    orders = socket.socket(fileno=int(sys.argv[1]))
    sys.path.pop(0)  # the folder of the tests, which no command sees
    for name in LOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    assert threading.active_count() == 1
    woken, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    told: dict[int, int] = {}
    while True:
        ready = select.select([orders.fileno(), woken], [], [])[0]
        if woken in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(woken, 4096)
            _reap(told)
        if orders.fileno() not in ready:
            continue
        content, descriptors, _, _ = socket.recv_fds(orders, LARGEST_ORDER, 4, socket.MSG_CMSG_CLOEXEC)
        if not content:
            os._exit(0)
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            orders.close()
            for descriptor in (woken, wakes, *told.values()):
                os.close(descriptor)
            _become(json.loads(content), descriptors)
            return
        for descriptor in descriptors[:3]:
            os.close(descriptor)
        told[pid] = descriptors[3]
        _tell(told[pid], pid)


def _reap(told: dict[int, int]) -> None:
    """Tell of every child that ended how it did."""
    for pid in tuple(told):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            pipe = told.pop(pid)
            _tell(pipe, os.waitstatus_to_exitcode(status))
            os.close(pipe)


def _tell(pipe: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # who asked may be gone
        os.write(pipe, b"%d\n" % number)


def _become(order: dict[str, Any], descriptors: list[int]) -> None:
    """Take over the words, the environment, the folder and the three streams of an order."""
    for standard, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, standard)
    for descriptor in descriptors:
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    sys.argv = order["words"]
    unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    for number, name in ((1, "stdout"), (2, "stderr")):
        # Text as the interpreter opens it at its start: by the line on a terminal and for errors.
        stream = open(  # noqa: SIM115 - it lives as long as the process
            number, "w", encoding="utf-8", errors="strict" if number == 1 else "backslashreplace", closefd=False,
            buffering=1 if number == 2 or os.isatty(1) else -1,
        )  # fmt: skip
        stream.reconfigure(write_through=unbuffered)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _run() -> None:
    """Be what ``python`` would with these words: ``-m podium …``, ``-c CODE`` or a file; ``-W error`` may precede them.

    Ends as that would, but without taking every module apart, a tenth of a second.
    """
    words = sys.argv
    code: int | str | None = 0
    try:
        if words[:2] == ["-W", "error"]:
            warnings.simplefilter("error")
            words = words[2:]
        if words[:2] == ["-m", "podium"]:
            sys.argv = words[1:]
            runpy.run_module("podium", run_name="__main__", alter_sys=True)
        elif words[0] == "-c":
            sys.argv = ["-c", *words[2:]]
            sys.path.insert(0, "")
            sys.modules["__main__"] = itself = types.ModuleType("__main__")
            exec(compile(words[1], "<string>", "exec"), itself.__dict__)
        else:
            sys.argv = words
            sys.path.insert(0, str(Path(words[0]).resolve().parent))
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as ended:
        code = ended.code
    except BaseException:  # noqa: BLE001 - as the interpreter does at its end
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        sys.stderr.write(code + "\n")
        code = 1
    threading._shutdown()  # type: ignore[attr-defined] # threads that are no daemons end first, as in any process
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    main()
    _run()
